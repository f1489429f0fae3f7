"""A figure as SVG inside a page: in the page's colours, with a description at each mark that has a name."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

from eqbench.plots.canvas import GRID, INK, MUTED, PAPER, drawing
from eqbench.plots.palette import by_variable

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"} | by_variable()
"""What stands for a colour in a page: losses and groups have others on dark ground, where the page declares them."""
PIXELS_PER_INCH = 112
"""At most, so that the text of all figures has one size."""
DROPPED = {f"{{{SVG}}}metadata", f"{{{SVG}}}style"}
NAMED = re.compile(r"(trial|loss|class):(-?\d+)")
"""Names (`gid`) of marks; in the page, `trial:3` is the attribute `data-trial="3"`."""


def inline(figure: Figure, name: str, title: str, tips: Mapping[str, str]) -> str:
    """The figure as an `<svg>` element.

    Args:
        name: unique in the page; the element's own names are derived from it.
        tips: what is shown at marks, by their names.
    """
    file = io.StringIO()
    with drawing(), rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(file.getvalue())
    _tidy(root, tips)
    _drop_unused_names(root)
    for size in ("width", "height"):
        root.attrib.pop(size)
    width = f"max-width: {figure.get_figwidth() * PIXELS_PER_INCH:.0f}px"
    root.attrib |= {"role": "img", "aria-label": title, "style": width}
    ET.register_namespace("", SVG)
    text = ET.tostring(root, encoding="unicode", short_empty_elements=False)
    return re.sub("|".join(COLOURS), lambda found: COLOURS[found[0]], text)


def _tidy(node: ET.Element, tips: Mapping[str, str]) -> None:
    for child in list(node):
        if child.tag in DROPPED:
            node.remove(child)
        else:
            _tidy(child, tips)
    if (target := node.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
        node.set("href", target)
    if match := NAMED.fullmatch(node.get("id", "")):
        node.set(f"data-{match[1]}", match[2])
        if match[0] in tips:
            tip = ET.Element(f"{{{SVG}}}title")
            tip.text = tips[match[0]]
            node.insert(0, tip)


def _drop_unused_names(root: ET.Element) -> None:
    """Names that nothing refers to would be there once per figure."""
    used = {name for node in root.iter() for value in node.attrib.values() for name in re.findall(r"#([\w:-]+)", value)}
    for node in root.iter():
        if node.get("id") not in used:
            node.attrib.pop("id", None)
