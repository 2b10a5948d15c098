"""Read which options are named at a place: letters, option texts, and lists of both ("A, C and E", "A（…）、C（…）").

A letter counts only where it stands alone: not in "vitamin B", "D-dimer", "B超", "E. coli", nor as the article or the
pronoun. After a letter something must follow that can follow an answer: an end, punctuation, its own text, "because".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medcritical.text.extraction.passage import Passage

# What may stand between "the answer is" and the letter.
_LEAD = re.compile(
    r"""(?:[\s*_`"'(\[\]{$:=>\#~^]|\\[a-z(\[]{1,8}|-(?=[\s>])
    |(?:therefore|thus|clearly|definitely|indeed|actually|really|likely|probably|most|simply|still|now|hence|then|certainly
       |obviously|undoubtedly|only|just|us|me|with|that|is|be|to|given|by|under|number|letter|options?|choices?|answers?|either|both|the)(?![a-z])
    |(?:选项|字母|应当|应该|必然|显然|当然|确实|可能|仍然|的|应|就|只|能|仍|是|为|即|也|便|则|选|还|了|项|有|包括)){0,16}""",
    re.VERBOSE,
)
_ARTICLE = re.compile(r"(?:an?|the)\s")
_LETTERS = re.compile(r"[A-Za-z]{1,12}(?![A-Za-z0-9])")
_OWN_TEXT = re.compile(r"""[\s.:,、)\]\-*_("'>=]{0,8}""")
_OWN_TEXT_END = re.compile(r"""["')\]*_.]{0,4}""")
_CLOSERS = re.compile(r"""["')\]}*_`$]{0,6}(?:\s?选?项)?""")
_SEPARATOR = re.compile(
    r"""[ \t]{0,2}(?:[,、;/&+]|,?\s(?:and|as\swell\sas|plus)(?![a-z])|以及|还有|和|与|及
        |\.(?=[a-z](?![a-z]))|(?=[(\[]\s?[a-z]\s?[)\]])|\s)\s?(?:[-•]\s)?
    (?:(?:and|&|以及|和|与|及)(?![a-z])\s?)?(?:(?:options?|choices?|also|选项)\s?)?["'(\[*]{0,3}""",
    re.VERBOSE,
)
_TIE = re.compile(r"""["')\]}*_`]{0,4}\s{0,2},?\s?(?:and/or|or|versus|vs\.?|或者?是?|还是|抑或)(?![a-z])""")
_TIE_OBJECT = re.compile(
    r"""\s{0,2}(?:(?:an?|the|options?|choices?|maybe|perhaps|even|possibly|选项|选|答案是|是)\s{0,2}){0,2}["'(\[*]{0,3}[a-z](?![a-z])"""
)

_REASON = (
    r"(?:because|since|as|for|due|given|based|which|where|with|here|but|not|rather|instead|over|by|according|from|when|while|so"
    r"|that(?=\s(?:is|best|fits))|the\s(?:correct|right|best|most)|thanks|owing|in|alone|only|overall|then|though|indeed|too|after|on|and\s(?:not|the|it|this|none|no)|again|per|of\scourse)(?![a-z])"
)
_CLEAN = re.compile(
    rf"""["')\]}}*_`$]{{0,6}}[ \t]{{0,3}}(?:\Z|[\n。!;,、)\]}}`|~$\\…(#←]|:|["'](?![a-z])|[*_]
    |\.(?![a-z0-9])|<(?=\s?[/|a-z\\]|\Z)|\[/|-(?![a-z0-9])|->|=>|→
    |(?<=[\s"')\]}}*_`$]){_REASON}
    |选?项|因|由于|为|是|正确|符合|对(?!应|于)|最|成立|吧|啦|了|这|那|更|即|而|才|的|可|能|均|都|没问题|无误|没错|[一二两三四五]项|作为|所|当选|入选|与?题)""",
    re.VERBOSE,
)
# "A、B、C、D中的一项": what there is to choose from.
_CHOICE_AMONG = re.compile(r"[a-z](?:[、,/][a-z]){0,9}\s?(?:[之当]?中|里)")
_SUBJECT_ENDS = re.compile(
    r"[a-z](?:\s?[,、]\s?(?:and\s)?[a-z](?![a-z])){0,9}\s(?:are|were|have|can|could|may)\s(?!wrong|incorrect|not|false|n't)"
)
# "D, A and B are wrong": behind a comma begins another clause, which speaks of the others.
_OTHER_CLAUSE = re.compile(
    r"""["')\]}*_`]{0,4}\s?(?:选?项)?(?:\s?(?:均|都|皆|全都?)?(?:不|错|有误|可?以?排除)|\s(?:are|is|do|does)(?:n't|\snot|\swrong|\sincorrect)(?![a-z]))"""
)
_GENUS = re.compile(rf"\.\s(?!{_REASON})[a-z]{{2}}")
_QUESTIONED = re.compile(r"""["')\]}*_`\s.]{0,6}(?:\?|吗|么|呢\?|,?\s(?:or\snot|maybe)\?|对吗|对不对|是否)""")


@dataclass(frozen=True, slots=True)
class Mention:
    """Options named together. `letters` is sorted; it is "" for a tie, a letter that is no option, or a shared text.

    `letter_end` is where a letter ends that its own text follows.
    """

    letters: str
    end: int
    letter_end: int | None = None


def read_mention(passage: Passage, start: int, *, allow_text: bool = True) -> Mention | None:
    """Returns what is named right after `start`, past fillers such as "option" or "(", or None if nothing is.

    None also for a question ("A?", "是A吗"), which commits to nothing.
    """
    lead = _LEAD.match(passage.lowered, start)
    position = lead.end() if lead else start
    if allow_text and position > start and passage.options.text_at(passage.lowered, start):
        position = start  # an option that begins with a sign, "> 5 mmol/L"
    found = _read_list(passage, position, allow_text, depth=0)
    if found is None and allow_text and (article := _ARTICLE.match(passage.lowered, position)):
        found = _read_text(passage, article.end())
    if found is None or _QUESTIONED.match(passage.lowered, found.end):
        return None
    has_slash = "/" in passage.text[position : found.end]  # "A/B" leaves it open; so does a list of all
    is_open = has_slash and len(found.letters) in (2, len(passage.options.letters))
    return Mention("", found.end) if is_open or _is_tie(passage, found.end) else found


def _read_list(passage: Passage, start: int, allow_text: bool, depth: int) -> Mention | None:
    """Returns the longest clean list at `start`; an item that is not clean ends the list before it."""
    item = (_read_text(passage, start) if allow_text else None) or _read_letters(passage, start)
    if item is None:
        return None
    found, is_closed = item, _is_clean(passage, item.end)
    if not is_closed and item.letter_end is not None:  # "B. Warfarin needs …": the text begins the next sentence
        found, is_closed = Mention(item.letters, item.letter_end), _is_clean(passage, item.letter_end)
    separator = _SEPARATOR.match(passage.lowered, _CLOSERS.match(passage.lowered, item.end).end())  # type: ignore[union-attr]
    if separator and _CHOICE_AMONG.match(passage.lowered, separator.end()):
        return None
    if separator and depth < 25:
        rest = _read_list(passage, separator.end(), allow_text, depth + 1)
        if rest is not None:
            if is_closed and separator[0].lstrip()[:1] == "," and _OTHER_CLAUSE.match(passage.lowered, rest.end):
                return found
            if not item.letters or not rest.letters or set(item.letters) & set(rest.letters):
                return Mention("", rest.end)
            return Mention("".join(sorted(set(item.letters + rest.letters))), rest.end)
        if _SUBJECT_ENDS.match(passage.lowered, separator.end()):  # "A, B, C are features": no answer, nor is "A, B"
            return None
    return found if is_closed or _is_tie(passage, item.end) else None


def _is_clean(passage: Passage, end: int) -> bool:
    return _CLEAN.match(passage.lowered, end) is not None and _GENUS.match(passage.text, end) is None


def _is_tie(passage: Passage, end: int) -> bool:
    tie = _TIE.match(passage.lowered, end)
    if not tie:
        return False
    if _TIE_OBJECT.match(passage.lowered, tie.end()):
        return True
    after = passage.lowered[tie.end() : tie.end() + 8]
    return passage.options.text_at(passage.lowered, tie.end() + len(after) - len(after.lstrip())) is not None


def _read_text(passage: Passage, start: int) -> Mention | None:
    found = passage.options.text_at(passage.lowered, start)
    if found is None:
        return None
    letter, end = found
    after = _letter_in_brackets(passage, end)
    return Mention(letter, end) if after is None else after


_BRACKETED = re.compile(r"""["'*]{0,3}\s?[(\[]\s?(?:option\s|选项)?([A-Za-z])\s?(?:项)?[)\]]""")


def _letter_in_brackets(passage: Passage, end: int) -> Mention | None:
    """Returns the letter in brackets behind its text, "thyroid gland (B)": it settles texts that options share."""
    found = _BRACKETED.match(passage.text, end)
    if not found or found[1].upper() not in passage.options.texts:
        return None
    return Mention(found[1].upper(), found.end())


def _read_letters(passage: Passage, start: int) -> Mention | None:
    """Returns one letter or a run of letters ("ABD"), with the option's own text where it follows the letter."""
    found = _LETTERS.match(passage.text, start)
    if not found:
        return None
    run, options = found[0], passage.options
    if (
        run == "a"
        and found.end() == len(passage.text)
        and passage.text[:start].endswith(" ")
        and not passage.text[:start].endswith(": ")
    ):
        return None  # the article of a sentence that was cut
    if len(run) > 1:
        is_set = run.isupper() and len(set(run)) == len(run) and all(letter in options.texts for letter in run)
        return Mention("".join(sorted(run)), found.end()) if is_set else None
    letter = run.upper()
    if letter not in options.texts:
        return Mention("", found.end())
    own = options.texts[letter]
    text_start = _OWN_TEXT.match(passage.lowered, found.end()).end()  # type: ignore[union-attr]
    if own and (text_start > found.end() or not own[0].isascii()) and passage.lowered.startswith(own, text_start):
        closing = _OWN_TEXT_END.match(passage.lowered, text_start + len(own))
        return Mention(letter, closing.end() if closing else text_start + len(own), found.end())
    return Mention(letter, found.end())
