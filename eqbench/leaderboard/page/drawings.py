"""Drawn figures made small, and such as a page allows that lets no element have a style of its own."""

from __future__ import annotations

import itertools
import re

from matplotlib.figure import Figure

from eqbench.plots import svg
from eqbench.plots.canvas import Picture

AS_ATTRIBUTES = {
    *("fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-dashoffset"),
    *("stroke-linecap", "stroke-miterlimit", "opacity", "font-size", "font-weight", "font-style", "text-anchor"),
    *("clip-path", "image-rendering"),
}
"""Properties that SVG knows as attributes; of the others, joins and fonts are in the page's style sheet."""
FALLBACK = re.compile(r"var\((--[tg]\d), #[0-9a-f]{6}\)")
"""Colours where a page declares none; this one does."""
MARKS = re.compile(r'(?:<use x="[^"]*" y="[^"]*"[^>]*></use>){2,}')
MARK = re.compile(r'<use( x="[^"]*" y="[^"]*")([^>]*?)( href="[^"]*")></use>')
STYLE = re.compile(r' style="([^"]*)"')
PLACES = re.compile(r' (d|x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|width|height|points|transform|viewBox)="([^"]*)"')
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def inline(picture: Picture, figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element, without the title that stands above it."""
    titles = [text for text in figure.texts if text.get_text() and text.get_text() == figure.get_suptitle()]
    whole = [text.get_text() for text in titles]
    for text in titles:
        below = text.get_text().partition("\n")[2]
        text.set_text(below)
        text.set_in_layout(bool(below))
    said = ". ".join([picture.title, *(words.partition("\n")[2] for words in whole), picture.caption])
    return compact(svg.inline(figure, name, said, picture.tips))


def compact(drawing: str) -> str:
    """The same drawing in fewer characters: places to a tenth of a point, styles as attributes, no empty groups.

    >>> compact('<g><g></g><path d="M 1.23456 2  L 34.567 8  z " style="fill: none; font: 8px serif"></path></g>')
    '<g><path d="M1.235 2L34.6 8z" fill="none" font-size="8px"></path></g>'
    """
    drawing = re.sub(r' transform="rotate\(-?0 [^"]*\)"| version="1.1"| xmlns="[^"]*"', "", drawing)
    drawing = PLACES.sub(lambda found: f' {found[1]}="{_places(found[1], found[2])}"', drawing)
    drawing = STYLE.sub(lambda found: _attributes(found[1]), drawing)
    drawing = re.sub(r">\s*\n\s*<", "><", FALLBACK.sub(r"var(\1)", drawing))
    drawing = MARKS.sub(lambda found: _grouped(found[0]), drawing)
    before = ""
    while before != drawing:
        before, drawing = drawing, re.sub(r"<(g|defs)></\1>", "", drawing)
    return drawing


def _grouped(marks: str) -> str:
    """Marks that follow each other, those that look the same in a group that says how."""
    looks = itertools.groupby(MARK.findall(marks), key=lambda mark: mark[1])
    return "".join(
        f"<g{look}>{''.join(f'<use{place}{target}></use>' for place, _, target in same)}</g>" for look, same in looks
    )


def _places(name: str, value: str) -> str:
    value = NUMBER.sub(lambda found: _rounded(float(found[0])), value)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", value).strip() if name == "d" else value


def _rounded(value: float) -> str:
    text = f"{value:.{1 if abs(value) >= 10 else 3}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _attributes(style: str) -> str:
    found = dict(each.strip().split(": ", 1) for each in style.split(";") if ": " in each)
    if "max-width" in found:
        return f' width="{found["max-width"].removesuffix("px")}"'
    if (font := found.get("font")) and (size := re.search(r"[\d.]+px", font)):
        found["font-size"] = size[0]
    return "".join(f' {name}="{value}"' for name, value in found.items() if name in AS_ATTRIBUTES)
