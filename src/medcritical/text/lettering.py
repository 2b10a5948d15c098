"""Option letters named in running text, and the same text when the options have other letters.

A letter is rewritten only where the words around it make it the name of an option: "选项B", "A、C项", "（C对）", "故选D",
"option B", "the answer is (c)", "B is incorrect". Letters of words stay: vitamin B, 维生素A, B超, hepatitis A, D-dimer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

_L = "[A-ZＡ-Ｚ]"
_ALONE_BEFORE = r"(?<![A-Za-z0-9Ａ-Ｚａ-ｚα-ω_\-'’])"
_ALONE_AFTER = r"(?![A-Za-z0-9Ａ-Ｚａ-ｚ_₀-₉⁰-⁹]|[-'’][A-Za-z0-9])"
_RUN = rf"{_ALONE_BEFORE}{_L}{{1,10}}{_ALONE_AFTER}"
_SEPARATOR = r"(?:\s?[、,，/&+＋]\s?|\s?[和与及或]\s?|\s?,?\s(?:and|or|nor)\s)"
_OPENING, _CLOSING = r"[(（\[【\"“'‘*]{0,3}", r"[)）\]】\"”'’*]{0,3}"
# A, A、B, ABD, (A) and (C): one or more runs of letters, the brackets around each included.
_LIST = rf"{_OPENING}{_RUN}{_CLOSING}(?:{_SEPARATOR}(?:选项|(?:option|choice)s?\s)?{_OPENING}{_RUN}{_CLOSING}){{0,9}}"

# Before a judged letter: nothing, a sign, or a word that may introduce an option. "维生素A正确" is not about option A.
_INTRODUCED = (
    r"(?:(?<![\u4e00-\u9fffA-Za-z0-9Ａ-Ｚ])|(?<=[项选和与及或而但且故即由则除对错只有中]))(?<!抗)"
    rf"(?=[(（\[\"“'‘*]{{0,3}}{_L})"
)
_THIS = "[为是](?:本|此|该)题"
_MARK = "[对错√×✓✔✗✘✕]"
_MARK_END = rf"(?=[)）\]】、,，。;；:：.!！\s]|\Z|误|{_THIS}|{_L}{{1,10}}{_MARK}|[(（])"
_VERDICT = (
    r"\s?(?:选?项)?[均都皆也则全\s]{0,2}"
    rf"(?:(?:是|为)?不?(?:正确|错误|符合(?:题意)?|成立|恰当)的?|{_THIS}|为干扰|{_MARK}{_MARK_END})"
)
_ENDS_CLAUSE = (
    r"(?=\s{0,2}(?:[)(（）\]】、,，。;；:：.!！?？*\"”'’\n]|\Z|项|选项|对|错|两|三|四|与|而|因|是)"
    r"|\s(?:because|since|as|for|due|which|while|not|but|and|i\.e)\b)"
)

_NAMED = re.compile(
    r"(?:选项|(?<![A-Za-z])(?:[Oo]ption|[Cc]hoice)s?\s)\s?(?:[为是:：]\s?)?"
    rf"(?P<letters>{_LIST})"
)
_NAMED_AFTER = re.compile(
    rf"(?<![素型类组级族期链])(?P<letters>{_LIST})\s?(?:[两二三四五]\s?个?)?(?:选项|项(?![目链圈]))"
)
_JUDGED = re.compile(rf"{_INTRODUCED}(?P<letters>{_LIST}){_VERDICT}")
_CHOSEN = re.compile(
    r"(?:答案(?:应该?)?(?:选择?|[为是])?|正确(?:的是|选项)"
    r"|(?:故|应|所以|因此|本题|该题|此题|可|只能|不|误|^|(?<=[，。；,;\s]))(?:选择?|答))"
    rf"\s?[:：]?\s?(?P<letters>{_LIST}){_ENDS_CLAUSE}"
)
_EXCLUDED = re.compile(rf"(?:排除|除了?|只有|唯有)\s?(?P<letters>{_LIST})(?=\s?(?:[、,，。;；)）]|\Z|[以之]?外|项))")
_ANSWERED = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Aa]ns|ANS)s?\b\s?[.:]?\s?(?:(?:is|are|was|were|would\sbe|must\sbe|:|=)\s){0,2}"
    rf"(?:option\s|choice\s)?(?P<letters>{_LIST}|[(\"'‘“][a-z][)\"'’”]){_ENDS_CLAUSE}"
)
_STATED = re.compile(
    r"(?:^|(?<=[.;:,!?\n(]\s)|(?<=\()|(?<=\b[Oo]nly\s)|(?<=\b[Bb]oth\s)|(?<=\b(?:and|but)\s)|(?<=\b(?:so|as)\s)"
    rf"|(?<=\b(?:hence|since)\s))(?P<letters>{_LIST})\s(?:is|are|was|were|seems?)\s"
    r"(?:(?:also|both|all|therefore|clearly)\s)?(?:in)?"
    r"(?:correct|right|wrong|false|true|the\s(?:in)?(?:correct|right|best|wrong))",
    re.MULTILINE,
)
_HEAD = re.compile(
    rf"^[ \t]*(?:[-*]\s)?[(（\[]?(?P<letters>{_L})(?:[)）\]][.．、:：]?|[.．、:：])[ \t]?(?![a-z])", re.MULTILINE
)
_LETTERS = re.compile(r"(?<![A-Za-z])(?:[A-ZＡ-Ｚ]+|[a-z])(?![A-Za-z])")
_RULES = (_NAMED, _NAMED_AFTER, _JUDGED, _CHOSEN, _EXCLUDED, _ANSWERED, _STATED)

_COMBINATION = re.compile(
    rf"(?:(?:[Bb]oth|[Aa]ll\sof|[Oo]nly|[Nn]either|[Ee]ither)\s)?(?P<letters>{_L}(?:{_SEPARATOR}{_L}){{0,9}})"
    r"(?:\s(?:only|both|are\s(?:both\s|all\s)?(?:correct|true|right)|is\s(?:correct|true|right))|[均都]?(?:对|正确|是))?[.。]?"
)


def rewrite_letters(text: str, letters: Mapping[str, str], options: Mapping[str, str]) -> str:
    """`text` with every option that it names by letter named by its new letter.

    `letters` maps old to new letters, `options` the old letters to their texts: a letter in brackets right behind its
    own text ("甘油明胶（B）"), and one that heads a line, are names too. Width and case stay. A run such as ABD is sorted anew.
    """
    return _rewrite(text, letters, [*_named_in(text), *_beside_own_text(text, options)])


def rewrite_explicit(text: str, letters: Mapping[str, str]) -> str:
    """As `rewrite_letters`, for stems and options: "option B" and "选项B" alone, since A and B may be patients or groups."""
    return _rewrite(text, letters, [match.span("letters") for match in _NAMED.finditer(text)])


def rewrite_combinations(options: Mapping[str, str], letters: Mapping[str, str]) -> dict[str, str]:
    """Options with "A＋B" or "Both B and C" rewritten, under their old letters.

    Where the options named so are letters themselves (A: "A, B"; B: "A, C"), they name something in the stem and stay.
    """
    combinations = {letter: match for letter, text in options.items() if (match := _COMBINATION.fullmatch(text))}
    rewritten = dict(options)
    for letter, match in combinations.items():
        named = {_plain(sign) for sign in re.findall(_L, match["letters"])}
        if len(named) > 1 and named <= options.keys() - combinations.keys():
            rewritten[letter] = _rewrite(options[letter], letters, [match.span("letters")])
    return rewritten


def _named_in(text: str) -> Iterator[tuple[int, int]]:
    for rule in _RULES:
        yield from (match.span("letters") for match in rule.finditer(text))


def _beside_own_text(text: str, options: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Letters in brackets behind their own text, and letters that head lines: beside their text, or several of them."""
    for letter, own in options.items():
        pattern = rf"{re.escape(own)}\s?[(（](?:选项)?(?P<letters>{_both_widths(letter)})[)）]"
        yield from (match.span("letters") for match in re.finditer(pattern, text))
    heads = list(_HEAD.finditer(text))
    is_listing = len({_plain(head["letters"]) for head in heads} & options.keys()) > 1
    for head in heads:
        letter = _plain(head["letters"])
        if letter in options and (is_listing or text.startswith(options[letter], head.end())):
            yield head.span("letters")


def _rewrite(text: str, letters: Mapping[str, str], spans: Iterable[tuple[int, int]]) -> str:
    """`text` with the letters inside the spans replaced, each place once. A run with a letter of no option stays."""
    places = {run.span() for start, end in spans for run in _LETTERS.finditer(text, start, end)}
    pieces, done = [], 0
    for start, end in sorted(places):
        run = text[start:end]
        if all(_plain(sign) in letters for sign in run):
            pieces += [text[done:start], "".join(sorted(_as_written(letters[_plain(sign)], sign) for sign in run))]
            done = end
    return "".join([*pieces, text[done:]])


def _plain(sign: str) -> str:
    """The capital of normal width."""
    return unicodedata.normalize("NFKC", sign).upper()


def _as_written(letter: str, sign: str) -> str:
    """`letter` in the width and case of `sign`."""
    if sign.isascii():
        return letter.lower() if sign.islower() else letter
    return chr(ord(letter) - ord("A") + ord("Ａ"))


def _both_widths(letter: str) -> str:
    return f"[{letter}{_as_written(letter, 'Ａ')}]"
