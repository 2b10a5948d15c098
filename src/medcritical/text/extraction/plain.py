"""Answers without a cue: a letter alone, a letter that opens or closes the response, one option's text."""

from __future__ import annotations

import re

from medcritical.text.extraction.mentions import Mention, read_mention
from medcritical.text.extraction.passage import Passage

_LONGEST_WHOLE = 2_000
_EDGE = " \t\n\r.。!;,、:\"'`*_()[]{}<>$~#-\0\1|"
# A label of a list, on its own line ("A Foo") or in the text ("Option B: foo").
_LABEL = re.compile(
    r"(?:\A|\n)[ \t]{0,3}(?:[-*•]\s)?(?:[Oo]ption\s|[Cc]hoice\s|选项)?[\"'(\[*_]{0,4}([A-Za-z])(?=[\s.:,、)\]*\-;。|]|\Z)"
    r"|[.。;]\s{0,2}(?:[Oo]ption\s|[Cc]hoice\s|选项)?[\"'(\[*_]{0,4}([A-Z])(?=[.:、)\]]\s)"
)
_LETTER_OPENS = re.compile(r"(?:[Oo]ption\s|[Cc]hoice\s|选项)?[\"'(\[]?[A-Za-z](?![A-Za-z])")
_AFTER_LETTER = re.compile(
    r"[\"')\]*_`]{0,4}[ \t]?"
    r"(?:\Z|[\n:。;!,)]|\.(?=\s{1,2}[A-Z\u4e00-\u9fff\"']|[\u4e00-\u9fff])|\.\Z|-\s|--|、(?=[\u4e00-\u9fff]))"
)
_LABEL_END = re.compile(r"[\"')\]*_`.:、-]{0,4}\s{0,2}")
_IS = re.compile(r"\s(?:is|are|was|were)\s(?!not\b|un|in|wrong|false|less)")
_PROSE_I = re.compile(r"i[\s,']", re.IGNORECASE)
_CLOSING = re.compile(
    r"(?:(?:-{1,2}>?|=>|→|:|\.|。|…|\n)\s{1,2}|;\s(?=[A-Z]\.)|->|=>|→|--|:)[\"'(\[*]{0,3}[A-Z][\"')\]*]{0,3}[.。!]?\s{0,3}\Z"
)
# The last words are "… is E." or "…的是E。": the question's own words, perhaps, and the answer.
_LAST_WORDS = re.compile(
    r"(?P<copula>\b(?:is|be)|的是|[,:](?=\s(?:[Oo]ption|[Cc]hoice)\s))\s?(?P<noun>[Oo]ption\s|[Cc]hoice\s)?(?P<letter>[\"'(\[*]{0,3}[A-Z][\"')\]*]{0,3}(?:选?项)?[.。!]\s{0,3}\Z)"
)
_LETTERED_NOUN = re.compile(
    r"\b(?:vitamin|hepatitis|blood|group|type|class|grade|stage|antigen|factor|plan|protein|score|virus|strain)s?\b"
)
_BECAUSE = re.compile(r"\s?,?\s?(?:because|since|as\s|due\sto|given|因为|因|由于)")
_TAIL = 24
_LONGEST_SENTENCE = 200
_OWN_LETTER = re.compile(r"\s?\((?:option\s|choice\s|选项)?([a-z])(?:项)?\Z")
_LABELLED = re.compile(r"(?<![a-z])[a-z][.)]\s{0,3}\Z")
_CUT_SENTENCE = re.compile(r"[.!?] [AI]\Z")
_SENTENCE_END = re.compile(r"[.!?。;](?=\s|\Z|[\u4e00-\u9fff])|[\n!?。;\0]")
_FRAMED = re.compile(
    r"\b(?:not|no|never|cannot|can't|n't|rule[sd]?\sout|exclud\w*|unlikely|consider\w*|could|may|might|whether|if|either|or|neither|nor|versus|vs|perhaps|possibly|possible|think\sabout|look\sat|first|unless|instead|than|wrong|incorrect|against|with(?=\sa\shistory)|differential|including|like|about|sorry|torn|between)\b"
    r"|不|非(?!常)|无|没|排除|除外|(?<!最)可能|是否|还是|或|先|错|如果|若|鉴别|以及|吗|例如|讨论|分析|关于|试|曾|考虑过|对于|题干|选项|之间"
)


def read_whole_text(passage: Passage) -> tuple[str, str] | None:
    """Returns (letter, "text") when the passage is one option's text and nothing else."""
    text = passage.lowered.strip().strip("*_`\"'")
    letter = passage.options.exact(text) if 1 < len(text) <= _LONGEST_WHOLE else None
    return None if letter is None else (letter, "text")


def read_whole_letters(passage: Passage) -> tuple[str, str] | None:
    """Returns (letters, rule) when the passage is nothing but letters or a number ("" if they are not this item's)."""
    lowered = passage.lowered.strip(_EDGE)
    if not lowered or len(lowered) > _LONGEST_WHOLE:
        return None
    if lowered.isdecimal():
        return _read_number(passage, lowered)
    start = len(passage.lowered) - len(passage.lowered.lstrip(_EDGE))
    mention = read_mention(passage, start)
    if mention is None or passage.lowered[mention.end :].strip(_EDGE + "选项"):
        return None
    is_list_of_all = len(mention.letters) == len(passage.options.letters) and not lowered.isalpha()
    return ("" if is_list_of_all else mention.letters), "letter"


def _read_number(passage: Passage, digits: str) -> tuple[str, str] | None:
    """A bare number is an option's place in the order, unless the options are about numbers themselves."""
    if len(digits) > 2 or any(any(c.isdecimal() for c in text) for text in passage.options.texts.values()):
        return None
    letter = passage.options.order(int(digits))
    return (letter, "ordinal") if letter else None


def read_edges(passage: Passage) -> tuple[str, str] | None:
    """Returns (letters, rule) when one letter opens the response ("B, because …") or closes it ("… → C")."""
    labels = {(on_line or in_text).upper() for on_line, in_text in _LABEL.findall(passage.text)}
    if len(labels) > 1:  # options are gone through one by one
        return None
    opening = _read_opening(passage)
    if opening is not None:
        return opening.letters, "opening"
    tail = max(0, len(passage.text) - _TAIL)
    closing = _CLOSING.search(passage.text, tail)
    if closing is not None and not _CUT_SENTENCE.search(passage.text, tail):
        mention = read_mention(passage, closing.start() + 1, allow_text=False)
        if mention is not None:
            return mention.letters, "closing"
    return _read_last_words(passage)


def _read_last_words(passage: Passage) -> tuple[str, str] | None:
    found = _LAST_WORDS.search(passage.text, max(0, len(passage.text) - _TAIL))
    if found is None:
        return None
    if found["copula"] != "的是":
        before = passage.lowered[max(0, found.start() - _LONGEST_SENTENCE) : found.start()]
        frame = before[max(before.rfind(end) for end in ".!?;:\n") + 1 :]
        if frame.strip() == "so" or _FRAMED.search(frame) or (not found["noun"] and _LETTERED_NOUN.search(frame)):
            return None
    mention = read_mention(passage, found.start("letter"), allow_text=False)
    return None if mention is None else (mention.letters, "closing")


def _read_opening(passage: Passage) -> Mention | None:
    text = passage.text
    start = len(text) - len(text.lstrip(" \t\n\"'([*_`>#-"))
    mention = read_mention(passage, start, allow_text=False)
    if mention is None or not _LETTER_OPENS.match(text, start):
        return None
    named = text[start : mention.end]
    if len(named) > 1 and mention.letters and len(mention.letters) == 1:
        return mention  # the letter with its own text
    if text[start] in "aiI" and _PROSE_I.match(text, start) and "\n" not in text[mention.end : mention.end + 2]:
        return None
    if _AFTER_LETTER.match(text, mention.end):
        return mention
    own = passage.options.text_at(passage.lowered, _LABEL_END.match(text, mention.end).end())  # type: ignore[union-attr]
    tells_of_it = own is not None and own[0] == mention.letters and _IS.match(passage.lowered, own[1])
    return mention if tells_of_it else None


def read_option_text(passage: Passage) -> tuple[str, str] | None:
    """Returns (letter, "text") when the first or last line or sentence is one option's text, or the end asserts one."""
    lowered = passage.lowered.strip()
    body_end = len(lowered.rstrip(_EDGE))
    ends = [found.end() for found in _SENTENCE_END.finditer(lowered)]
    first = lowered[: ends[0]] if ends else lowered
    last_start = next((end for end in reversed(ends) if end < body_end), 0)
    last = lowered[last_start:].strip()
    # "B. Some text" at the end of a list that broke off is no answer, nor is the first word of a cut sentence.
    if not _LABELLED.search(lowered[:last_start]) and (ends[-1:] == [len(lowered)] or last_start == 0):
        letter = passage.options.exact(last.strip(_EDGE))
        if letter:
            return letter, "text"
    for sentence in (lowered[lowered.rfind("\n") + 1 :], first, lowered.partition("\n")[0]):
        letter = passage.options.exact(sentence.strip(_EDGE))
        if letter:
            return letter, "text"
    opening = passage.options.text_at(lowered, 0)
    if opening is not None and opening[0] and _BECAUSE.match(lowered, opening[1]):
        return opening[0], "text"
    return _read_asserted(passage, last)


def _read_asserted(passage: Passage, sentence: str) -> tuple[str, str] | None:
    """A finished last sentence that ends with an option's text asserts it, if no other option is spoken of."""
    body = sentence.rstrip(_EDGE)
    options = passage.options
    named = _OWN_LETTER.search(body)
    text_end = named.start() if named else len(body)
    letter = options.text_before(body, text_end)
    if named and letter != named[1].upper():
        return None
    if not letter:
        return None
    frame = body[: text_end - len(options.texts[letter])]
    is_finished = sentence.rstrip("*_`").endswith((".", "。", "!", '"', ")")) or frame.rstrip().endswith(":")
    if not is_finished or (_FRAMED.search(frame) and not frame.endswith("的是")):  # what the question asks for
        return None
    spoken = _spoken_of(passage)
    return (letter, "text") if spoken == {letter} else None


def _spoken_of(passage: Passage) -> set[str]:
    """Letters of the options whose text occurs outside the text of a longer option."""
    lowered, spoken = passage.lowered, set()
    for text, letter in passage.options.by_length:
        if text in lowered:
            spoken.add(letter)
            lowered = lowered.replace(text, "\0")
    return spoken
