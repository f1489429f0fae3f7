"""What a page has inside itself, byte for byte as in golden/page_drawn.json; figures are not part of it.

After a wanted change, `python tests/leaderboard/test_page_data.py` writes it anew; look at the difference.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from written_pages import HOSTILE, data_of, page_of, write_curves, write_totals
from written_suites import write_suite

from eqbench.leaderboard.page import pictures

GOLDEN = Path(__file__).with_name("golden") / "page_drawn.json"


def page_data(storage: Path) -> str:
    """Two tasks; a failed run, a metric that not all have, a hostile name; ratios that end at infinity."""
    outcomes: Any = {
        ("digits", "cross_entropy"): [
            {"top1": 90.0, "many": 99.0, "few": 40.0},
            {"top1": 92.0, "many": 98.0, "few": 44.5},
        ],
        ("digits", "efl"): [{"top1": 93.0, "many": 97.0, "few": 52.0}, "out of memory"],
        ("Größe", "cross_entropy"): [{"top1": 70.0}, {"top1": None}],
        ("Größe", HOSTILE): [{"top1": 71.25}, None],
    }
    folder = write_suite(storage, outcomes)
    write_curves(folder, points=3, counts=(90, 30, 0))
    for run in folder.runs():
        write_totals(run, {200: [(1, 2), (3, 2), (0, 0)], 400: [(1, 1), (2, 1), (1, 0)]})
    return json.dumps(data_of(page_of(folder)), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_data_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "NAMES", {})
    assert page_data(tmp_path) == GOLDEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    pictures.NAMES = {}
    with tempfile.TemporaryDirectory() as place:
        GOLDEN.write_text(page_data(Path(place)), encoding="utf-8")
