"""Judgements of single options: "option C is right", "A项正确，D项错误", "（C对）…（A错）", "√ A", "only E remains"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medcritical.text.extraction.passage import Passage

_TICK, _CROSS = "√✓✔✅☑", "×✗✘❌✕✖☒"
_ADVERB = (
    "(?:clearly|definitely|indeed|both|all|also|therefore|thus|actually|really|probably|obviously|still|now|certainly"
    "|then|each)"
)
_BE = (
    r"(?:is|are|was|were|seems?(?:\sto\sbe)?|looks?|appears?(?:\sto\sbe)?"
    r"|(?:must|would|should|has\sto|have\sto|will)\sbe)"
)
# "C √", "C. √", "C: true", "C - correct", "C (correct)"
_MARKED = r"[{0}]|[.][ \t]{{0,2}}[{0}]|[.:=→-]>?\s{{0,2}}(?:{1})(?=\s?[.;,\n]|\s?\Z)|\((?:{1})\)"
_RIGHT = rf"""
    {_BE}(?:\s{_ADVERB}){{0,2}}\s(?:
        (?:the|my|our|your)\s(?:\w{{1,16}}\s){{0,4}}(?:answer|choice|option|pick|selection|one(?:\sleft)?|fit|match)s?
        |(?:the\s)?(?:single\s|only\s|one\s)?(?:correct|right|best|better(?!\sthan)|preferable|preferred|true|accurate|fitting|most\s\w{{1,16}})|left
        |the\s(?:\w{{1,16}}\s){{0,3}}of\schoice
        |the\sonly\s(?:\w{{1,16}}\s){{0,4}}(?:left|remaining|that\s(?:fits|matches|works))
        |what\si\s(?:would\s)?(?:choose|pick|select|answer|say|go\swith))(?![a-z])(?!\s(?:if|only|when|about|that))
    |(?:alone\s)?(?:remains|stands|fits|matches|wins|holds|it\sis|best\s(?:fits|explains|matches|describes)|gets\smy\svote
        |(?:explains|fits)\s(?:\w{{1,16}}\s){{0,4}}best|makes\s(?:the\smost\s)?sense)(?![a-z])(?!\s(?:if|only|when))
    |(?:完全)?正确|最?符合(?:题意|题干|要求|条件)?|对(?=的?(?:[)\]、,。;:\s]|\Z)|[a-z]|不)|成立|当选|入选|为佳
    |可能性最[大高]|最佳|[最更]为?(?:合适|恰当|合理|准确|可能|适合|贴切)
    |{_MARKED.format(_TICK, "correct|true|right|yes")}"""
_WRONG = rf"""
    {_BE}(?:\s{_ADVERB}){{0,2}}\s(?:incorrect|wrong|false|not|excluded|eliminated|ruled\sout|unlikely|implausible|out)(?![a-z])
    |(?:can|could|may|must|should)\sbe\s(?:excluded|eliminated|ruled\sout|discarded|rejected)|(?:is|are|was|were|do|does|can)n't
    |不(?:完全|太|大|甚)?(?:正确|对|符合?|成立|选|恰当|合适|合题意)|错误?|有误|[均都全]?可?以?(?:被)?排除
    |{_MARKED.format(_CROSS, "incorrect|false|wrong|no")}"""
# The first characters of all of these: a search leaves most places after one look instead of sixty.
_FIRST = rf"[abcdefghilmrsw完正最符对成当入为更不错有均都全可以被排.:=→\-({_TICK}{_CROSS}]"
_JUDGEMENT = re.compile(rf"(?={_FIRST})(?:(?P<wrong>{_WRONG})|(?P<right>{_RIGHT}))", re.VERBOSE)
_UNSURE = re.compile(r"\s?(?:吗|\?|与否|的可能)|\s(?:if|when|only\sif|about)\s")

# What is judged stands right before the judgement: letters, perhaps "选项" or "的说法", perhaps a copula.
_COPULA = (
    r"(?:[ \t]{0,2}(?:才是|才|是|为|均为|均|都|全部?|也|唯一|最|则|完全|显然|明显|更|外|以外|之外|:|-{1,2}>?|=|→|\(|\["
    r"|(?:both|all|each|alone|also|therefore)(?![a-z]))){0,4}[ \t]{0,2}\Z"
)
_SUBJECT = re.compile(
    r"""(?P<open>["'(\[*]{0,3})(?P<letters>(?<![A-Za-z0-9_\-])[A-Z]{1,10}
        (?:(?:\s?[,、/&]\s?|\s?(?:,\s)?and\s|\s?[和与及]\s?)(?:(?:option|choice)s?\s|选项)?[A-Z](?![A-Za-z])){0,9})
    ["')\]*]{0,4}(?P<named>\s?选?项)?(?:\s?(?:的?(?:说法|描述|叙述|表述|内容|答案)|这一?项|[两二三四五][项者])){0,2}"""
    + _COPULA,
    re.VERBOSE,
)
_TEXT_TAIL = re.compile(r"""["')\]*]{0,4}(?P<apart>\s?,)?""" + _COPULA, re.VERBOSE)
_CLAUSE_END = re.compile(r"的?\s?(?:[.。;\n]|\Z)")
# "excluding A, B and C, D is left": the list ended, and what is judged comes after it.
_AFTER_LIST = re.compile(r"(?:\band|[和与及])\s?[A-Z]\s?,\s?([A-Z])\Z")
# "compared with B, C is the better one" speaks of C.
_CONTRAST = re.compile(
    r"\b(?:compared\s(?:with|to)|unlike|instead\sof|rather\sthan|as\sopposed\sto)\s(?:options?\s|choices?\s)?[\"'(\[*]{0,3}\Z"
)
_CONJUNCTION = re.compile(r"\b(?:and|options?|choices?)\b")
# Words that may stand before an option letter. Any other word makes it part of a name: "vitamin B", "维生素C".
_INTRODUCES = re.compile(
    r"(?:\A|[^a-z\u4e00-\u9fff])(?:options?|choices?|letters?|answers?|statements?|alternatives?|items?|only|and|or|both|that|so|but|while|thus"
    r"|whereas|therefore|think|believe|since|hence|then|as|because|just|except|for|than|from)?\s?\Z"
    r"|(?:项|只有|唯有|仅|故|即|对|错|误|和|与|及|而|所以|因此|只剩|确|只|有|则|但|其中|可知|意|认为|显然|排除|除了?)\s?\Z"
)
_EXCEPT = re.compile(
    r"(?:\b(?:except(?:\sfor)?|(?:all|any|every|each|everything|anything|nothing|none|one|options?|choices?|others?)\sbut|other\sthan|apart\sfrom)\s(?:options?\s|choices?\s)?|除了?(?:选项)?)[\"'(\[*]{0,3}\Z"
    r"|\b(?:neither|nor)\s\Z"
)

_MARK_FIRST = re.compile(
    rf"(?:\A|[\s,;、])\s{{0,3}}(?:[-*]\s)?[(\[]?([{_TICK}{_CROSS}])[)\]]?[ \t:]{{0,3}}(?:选项|[Oo]ption\s)?"
    rf"([A-Z](?:[ \t]?[,、]?[ \t]?[A-Z](?![A-Za-z])){{0,9}})(?![A-Za-z0-9])"
)
_STARTS_WITH_MARK = re.compile(rf"(?:\A|\n)\s{{0,3}}(?:[-*]\s)?[(\[]?[{_TICK}{_CROSS}]")
_ALL_BUT = re.compile(
    r"除了?(?:选项)?\s?([A-Z])\s?(?:选?项)?(?:[以之]?外[^。\n]{0,14}|,?(?:其[余他它]|别的)[^。,\n]{0,8})(?:错|不正确|不对|不符|不成立|排除)"
)
# "（A错，为本题正确答案）": under a negative stem the mark judges the statement, and these words name the answer.
_NAMED_ANSWER = re.compile(
    rf"([A-Z]{{1,5}})(?:选?项)?[对错{_TICK}{_CROSS}]?\s?,?\s?(?:故|所以)?[为是即](?:本|此|该)题的?(?:正确|最佳)?答案"
)
_CONTEXT = 60
MAX_JUDGEMENTS = 100


def judge_options(passage: Passage) -> str | None:
    """Returns the sorted letters judged right, "" if one of them is not this item's, None if none is judged right.

    Several options judged right are several answers; of two judgements of one option the later counts.
    """
    named = _NAMED_ANSWER.findall(passage.text) if "答案" in passage.text else []
    if named:
        right = "".join(sorted(set("".join(named))))
        return right if set(right) <= set(passage.options.texts) else ""
    verdicts: dict[str, bool] = {}
    for letters, is_right in _find_mark_first(passage) or _find_judgements(passage):
        verdicts |= dict.fromkeys(letters, is_right)
    right = "".join(sorted(letter for letter, is_right in verdicts.items() if is_right))
    if not right:
        return None
    return right if set(right) <= set(passage.options.texts) else ""


def _find_mark_first(passage: Passage) -> list[tuple[str, bool]]:
    """Returns (letters, is right) for marks that stand before their letter, as in "√ A"."""
    if not _STARTS_WITH_MARK.search(passage.text):
        return []
    marks = _MARK_FIRST.findall(passage.text)
    return [("".join(filter(str.isalpha, letters)), mark in _TICK) for mark, letters in marks]


def _find_judgements(passage: Passage) -> Iterator[tuple[str, bool]]:
    """Yields (letters, is right) for judgements that stand after what they judge."""
    yield from ((found[1], True) for found in _ALL_BUT.finditer(passage.text))
    for judgement in list(_JUDGEMENT.finditer(passage.lowered))[-MAX_JUDGEMENTS:]:
        if passage.options.exact(judgement[0].lstrip(" .:=->")) is not None:  # an option "true", "no"
            continue
        is_right = judgement["right"] is not None
        if is_right and _UNSURE.match(passage.lowered, judgement.end()):
            continue
        found = _read_subject(passage, judgement)
        if found is not None:
            letters, is_exception = found
            yield letters, is_right != is_exception


def _read_subject(passage: Passage, judgement: re.Match[str]) -> tuple[str, bool] | None:
    """Returns (letters, whether they are the exception) of what the judgement speaks of, which stands before it."""
    end = judgement.start()
    start = max(0, end - _CONTEXT)
    found = _SUBJECT.search(passage.text, start, end)
    if found is not None and (
        found["open"] or found["named"] or _INTRODUCES.search(passage.lowered, start, found.start("letters"))
    ):
        after_list = _AFTER_LIST.search(found["letters"])
        named = after_list[1] if after_list else found["letters"]
        if "," in named and _CONTRAST.search(passage.lowered, start, found.start("letters")):
            named = named.rpartition(",")[2]
        letters = _join_runs(named, passage)
        first = found.start()
    else:
        tail = _TEXT_TAIL.search(passage.lowered, start, end)
        if tail and tail["apart"] and not _CLAUSE_END.match(passage.lowered, judgement.end()):
            return None
        text_end = tail.start() if tail else end
        letters, first = _read_texts(passage, text_end)
    if not letters or passage.text[:first].endswith("比"):  # "A比B更合适" speaks of A
        return None
    return letters, _EXCEPT.search(passage.lowered, max(0, first - 24), first) is not None


def _read_texts(passage: Passage, end: int) -> tuple[str, int]:
    """Returns (letters, start) of the options whose texts end at `end`: of "A发热、B咳嗽" both, else of one text."""
    letters, first = "", end
    for _ in passage.options.letters:
        letter = passage.options.text_before(passage.lowered, end)
        if not letter:
            break
        letters, first = letters + letter, end - len(passage.options.texts[letter])
        listed = re.compile(rf"、\s?{letter.lower()}[.、:\s]?\Z").search(passage.lowered, max(0, first - 4), first)
        if not listed:
            break
        end = listed.start()
    return letters, first


def _join_runs(named: str, passage: Passage) -> str:
    """Returns the letters of "A, B and D" or "ABD"; "" for words such as "DIC" that only look like letters."""
    runs = re.findall(r"[A-Za-z]+", _CONJUNCTION.sub(" ", named))
    is_sound = all(
        run.isupper() and len(set(run)) == len(run) and (len(run) == 1 or set(run) <= set(passage.options.texts))
        for run in runs
    )
    return "".join(runs) if is_sound else ""
