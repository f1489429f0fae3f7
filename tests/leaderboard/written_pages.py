"""Pages of suites that tests have written, and what is inside them."""

from __future__ import annotations

import html as html_module
import json
import re
from typing import Any

from eqbench import leaderboard
from eqbench.leaderboard import page
from eqbench.run_folder import SuiteFolder

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


def write_curves(folder: SuiteFolder, points: int = 20) -> None:
    """Events and a table of classes for every run of a suite; of one class there is no result."""
    import pandas as pd

    table = {"class_id": [2, 0, 1], "class_name": ["<b>emu", "cat", "dog"], "group": ["few", "many", "many"]}
    classes = pd.DataFrame({**table, "count": [5, 90, 30], "num_eval": [0, 9, 9], "accuracy": [None, 80.0, 60.0]})
    for run in folder.runs():
        for step in range(1, points + 1):
            ratios = {"gradient/ratio_many": 1.0, "gradient/ratio_few": step / points}
            run.append_event(step, step * 8, {"train/loss": 2.0 / step, **ratios})
            run.append_event(step, step * 8, {"val/top1": 100 * step / points})
        run.evaluation.mkdir(exist_ok=True)
        classes.to_parquet(run.evaluation / "per_class.parquet")
