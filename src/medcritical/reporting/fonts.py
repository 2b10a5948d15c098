"""Fonts for labels: matplotlib's own has no Chinese, Japanese or Korean characters and would draw boxes for them."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Collection, Iterable
from functools import cache

LATIN = "DejaVu Sans"  # comes with matplotlib, so labels without CJK look alike everywhere
CJK = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # Debian's collection shows under this name and holds the Chinese characters too
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
)

_log = logging.getLogger(__name__)


def has_cjk(text: str) -> bool:
    """True when the text has a character that only an East Asian font draws."""
    return any(unicodedata.east_asian_width(char) in "WF" for char in text)


def choose_families(labels: Iterable[str], installed: Collection[str]) -> list[str]:
    """Font families for the labels, in the order in which a character is looked up.

    When labels hold CJK characters and no font in `installed` has them, says once what to install.
    """
    if not any(has_cjk(label) for label in labels):
        return [LATIN]
    for family in CJK:
        if family in installed:
            return [LATIN, family]
    _warn_missing()
    return [LATIN]


@cache
def _warn_missing() -> None:
    _log.warning(
        "Chinese labels show as boxes in the figures, since no font for them is installed: install Noto Sans CJK "
        "(package fonts-noto-cjk) or WenQuanYi Micro Hei (fonts-wqy-microhei), and remove matplotlib's font cache."
    )
