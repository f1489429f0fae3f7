"""Fonts of pictures: those of other scripts, where this machine has any, after the one that matplotlib brings."""

from __future__ import annotations

import functools
from collections.abc import Iterable

OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


@functools.cache
def families() -> list[str]:
    """What `font.family` is while a figure is made."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["sans-serif", *(name for name in OTHER_SCRIPTS if name in installed)]


def lacking(texts: Iterable[str]) -> bool:
    """Whether no font of this machine has some character: it becomes a box.

    >>> lacking(["many", "naïve Σ"]), lacking(["𒀀"])
    (False, True)
    """
    return not {ord(character) for text in texts for character in text if character.isprintable()} <= _known()


@functools.cache
def _known() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = {findfont(FontProperties(family=[name])) for name in families()}
    return frozenset(code for file in files for code in get_font(file).get_charmap())
