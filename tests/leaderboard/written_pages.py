"""Pages of suites that tests have written, and what is inside them."""

from __future__ import annotations

import html as html_module
import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

from eqbench import leaderboard
from eqbench.leaderboard import page
from eqbench.run_folder import RunFolder, SuiteFolder

HOSTILE = """</script><img src=x onerror="alert(1)">'&amp;`<!--"""


def page_of(*folders: SuiteFolder) -> str:
    return page.html(leaderboard.board(folders), folders)


def data_of(html: str) -> dict[str, Any]:
    """What a page has inside itself for its script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    assert html_module.unescape(found[1]) == found[1]
    content: dict[str, Any] = json.loads(found[1])
    return content


class _Text(HTMLParser):
    """The text of a page, a line for each row, item, heading and paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("style", "script", "title")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "script", "title")
        self.lines[-1] += " | " if tag in ("td", "th") else ""
        if tag in ("tr", "li", "h1", "h2", "h3", "p", "caption", "form", "summary"):
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += "" if self.hidden else data


def text_of(html: str) -> str:
    """What a page says without its script."""
    read = _Text()
    read.feed(html)
    lines = (" ".join(line.split()).removesuffix(" |") for line in read.lines)
    return "".join(f"{line}\n" for line in lines if line)


CLASSES = {"class_id": [0, 1, 2], "class_name": ["cat", "dog", "<b>emu"], "group": ["many", "many", "few"]}


def write_curves(folder: SuiteFolder, points: int = 20, counts: Sequence[int] = (90, 30, 5)) -> None:
    """Events of all of training and a table of classes for every run of a suite; of one class there is no result."""
    import pandas as pd

    classes = pd.DataFrame({**CLASSES, "count": counts, "num_eval": [9, 9, 0], "accuracy": [80.0, 60.0, None]})
    for run in folder.runs():
        iterations = run.read_spec().budget.iterations
        for step in range(1, points + 1):
            at = step * iterations // points
            run.append_event(at, at * 8, {"train/loss": 2.0 / step})
            run.append_event(at, at * 8, {"val/top1": 100 * step / points, "val/few": 50 * step / points})
        run.evaluation.mkdir(exist_ok=True)
        classes.to_parquet(run.evaluation / "per_class.parquet")


def write_totals(run: RunFolder, totals: Mapping[int, Sequence[tuple[float, float]]]) -> None:
    """Accumulated gradients (positive, negative) of cat, dog and emu by iteration, and what is said of the classes."""
    import pandas as pd

    described = {"class_names": CLASSES["class_name"], "groups": CLASSES["group"], "class_counts": [90, 30, 5]}
    (run.path / "dataset.json").write_text(json.dumps(described))
    run.gradients.mkdir(exist_ok=True)
    for iteration, of_classes in totals.items():
        columns = {"class_id": range(len(of_classes)), "positive": [], "negative": []}
        columns |= dict(zip(("positive", "negative"), zip(*of_classes, strict=True), strict=True))
        pd.DataFrame(columns).to_parquet(run.gradients / f"{iteration:09d}.parquet")
