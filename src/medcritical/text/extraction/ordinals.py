"""Rewrite places in the order ("the fourth option", "第三项", "option 2") as letters, so that every rule reads them."""

from __future__ import annotations

import re

from medcritical.text.extraction.passage import Options, Passage

_WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CHINESE = "一二三四五六七八九十"
_PLACE = r"(?:listed|in\sthe|on\sthe|above|given|is\s(?:correct|right|best|the|my|what)|of\s|,|\.|\Z)"
_THING = (
    r"(?:options?|items?|answers?|alternatives?|listed|entry|possibility|response|statement"
    rf"|of\s(?:the\s|these\s)?(?:\w{{1,6}}\s)?(?:options|choices)|(?:one|choice)(?=\s?{_PLACE}))"
)
_ENGLISH = re.compile(
    rf"(?<![A-Za-z])(?:[Tt]he\s)?({'|'.join(_WORDS)}|last|final|\d{{1,2}}(?:st|nd|rd|th))\s(?:listed\s|given\s|answer\s)?{_THING}(?:\slisted)?(?![A-Za-z])",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    rf"(?<![A-Za-z])(?:option|choice|answer|alternative|item)\s?(?:number\s|no\.?\s?|#)?(\d{{1,2}}|{'|'.join(_CARDINALS)})(?![\w%/-]|\.\d)|(?<![A-Za-z])(?:number|no\.|#)\s?(\d{{1,2}}|{'|'.join(_CARDINALS)})(?![\w%-]|\.\d)",
    re.IGNORECASE,
)
_ZH = re.compile(
    rf"(?:第\s?([{_CHINESE}]|\d{{1,2}})|(最后)一?)\s?(?:个选项|选项|个答案|项|个(?!月|周|小时|疗程|方面|问题|疑问|步骤)|种(?=选|说|正))"
)
_ZH_NUMBERED = re.compile(
    r"选(?:项\s?([一二三四五六七八九十]|\d{1,2})(?![\d.%])|([一二三四五六七八九十]|\d(?!\.\d))(?=[。.,\s]|\Z))"
)
_CHOSEN = re.compile(
    rf"(?<![A-Za-z])((?:choose|pick|select|(?:one|answer|choice|option)\sis)\sthe\s)({'|'.join(_WORDS)})(?=[.!]?\s{{0,3}}\Z)",
    re.IGNORECASE,
)
# Plain beginnings, which a search finds quickly; the patterns above decide.
_ENGLISH_HINT = re.compile("|".join((*_WORDS, "last", "final", r"\dst", r"\dnd", r"\drd", r"\dth")))
_NUMBERED_HINT = re.compile(
    "|".join(
        rf"{noun}\s?(?:number\s|no\.?\s?|#)?(?:\d|{'|'.join(_CARDINALS)})"
        for noun in ("option", "choice", "answer", "alternative", "item", "number", r"no\.", "#")
    )
)


def name_ordinals(passage: Passage) -> str:
    """Returns the text with places in the order of the options replaced by "option D" or "选项D"."""
    text, options = passage.text, passage.options
    if "第" in text or "最后" in text or "选" in text:
        text = _ZH.sub(lambda found: _zh_letter(found, options), text)
        text = _ZH_NUMBERED.sub(lambda found: _zh_letter(found, options), text)
    if _ENGLISH_HINT.search(passage.lowered):
        text = _ENGLISH.sub(lambda found: _english_letter(found, options), text)
        text = _CHOSEN.sub(lambda found: _chosen_letter(found, options), text)
    if _NUMBERED_HINT.search(passage.lowered):
        text = _NUMBERED.sub(lambda found: _numbered_letter(found, options), text)
    return text


def _zh_letter(found: re.Match[str], options: Options) -> str:
    word = found[1] or found[2]
    number = -1 if word in (None, "最后") else _CHINESE.index(word) + 1 if word in _CHINESE else int(word)
    letter = options.order(number)
    return f"选项{letter}" if letter else found[0]


def _english_letter(found: re.Match[str], options: Options) -> str:
    word = found[1].lower()
    number = -1 if word in ("last", "final") else _WORDS.index(word) + 1 if word in _WORDS else int(word[:-2])
    if word == "final" and not found[0].lower().startswith(("final option", "the final option", "final item")):
        return found[0]
    letter = options.order(number)
    return f"option {letter}" if letter else found[0]


def _chosen_letter(found: re.Match[str], options: Options) -> str:
    letter = options.order(_WORDS.index(found[2].lower()) + 1)
    return f"{found[1]}option {letter}" if letter else found[0]


def _numbered_letter(found: re.Match[str], options: Options) -> str:
    word = (found[1] or found[2]).lower()
    letter = options.order(_CARDINALS.index(word) + 1 if word in _CARDINALS else int(word))
    return f"option {letter}" if letter else found[0]
