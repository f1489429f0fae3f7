"""What the page draws of a run: curves over training from its events, the result of each class from its table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from eqbench.run_folder import RunFolder

POINTS = 48
"""Of a curve, at most: more are not told apart at the width of a page."""
BINS = 160
"""Of classes in the order of their frequency, at most; more classes are averaged within bins of equal size."""
NOT_A_RESULT = {"class_id", "class_name", "group", "count", "images", "num_eval"}
RATIO = "gradient/ratio_"


def curves(run: RunFolder, main: str) -> dict[str, Any] | None:
    """Training loss, gradient ratio of each class group and the metric `main`, thinned; None where nothing is stored.

    Returns:
        `train` and `val`, each with the iterations `x` and a list for each name; None stands for a missing value.
    """
    try:
        events = run.read_events()
    except OSError:
        return None
    named = [(event["iteration"], event["metrics"]) for event in events if isinstance(event["metrics"], dict)]
    training = [(iteration, metrics) for iteration, metrics in named if "train/loss" in metrics]
    evaluated = [(iteration, metrics) for iteration, metrics in named if f"val/{main}" in metrics]
    groups = [name for name in dict.fromkeys(name for _, metrics in training for name in metrics) if _is_ratio(name)]
    found = {
        "train": _thinned(training, {"train/loss": "loss", **{name: name.removeprefix(RATIO) for name in groups}}),
        "val": _thinned(evaluated, {f"val/{main}": main}),
    }
    return found if training or evaluated else None


def _is_ratio(name: str) -> bool:
    return name.startswith(RATIO)


def _thinned(points: Sequence[tuple[int, dict[str, Any]]], names: dict[str, str]) -> dict[str, list[Any]]:
    """At most `POINTS` of them, evenly spaced, the last one included."""
    count = min(len(points), POINTS)
    step = (len(points) - 1) / max(count - 1, 1)
    kept = [points[len(points) - 1 - round(position * step)] for position in range(count)][::-1]
    table: dict[str, list[Any]] = {"x": [iteration for iteration, _ in kept]}
    for name, short in names.items():
        table[short if short != "x" else "x "] = [brief(metrics.get(name)) for _, metrics in kept]
    return table


def brief(value: Any, digits: int = 5) -> float | int | None:
    """A number to `digits` significant digits, without a fraction where it has none; None for what is no number.

    >>> brief(0.123456789), brief(12.0), brief(float("nan"))
    (0.12346, 12, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def per_class(runs: Sequence[RunFolder]) -> dict[str, Any] | None:
    """The result of each class, averaged over the runs that have stored one, most frequent class first.

    Returns:
        `count`, `name`, `group` and `value` of each class or bin; the number of all `classes` and of `runs`; what was
        measured, `metric`. None where no run has stored a table.
    """
    tables = [table for run in runs if (table := _class_table(run)) is not None]
    if not tables:
        return None
    first = tables[0]
    same = [table for table in tables if len(table) == len(first)]
    metric = next((name for name in first.columns if name not in NOT_A_RESULT), None)
    if metric is None or not {"class_id", "class_name", "group", "count"} <= set(first.columns):
        return None
    import pandas as pd

    values = pd.concat([pd.to_numeric(table[metric], errors="coerce") for table in same if metric in table], axis=1)
    whole = first.assign(value=values.mean(axis=1)).sort_values(["count", "class_id"], ascending=[False, True])
    whole["bin"] = [position * min(len(whole), BINS) // len(whole) for position in range(len(whole))]
    rows = [rows for _, rows in whole.groupby("bin", sort=True)]
    return {
        "metric": metric,
        "classes": len(whole),
        "runs": len(same),
        "count": [brief(float(bin_["count"].mean()), 4) for bin_ in rows],
        "name": [_bin_name(bin_["class_name"].tolist()) for bin_ in rows],
        "group": [str(bin_["group"].iloc[0]) for bin_ in rows],
        "value": [brief(float(bin_["value"].mean()), 4) for bin_ in rows],
    }


def _class_table(run: RunFolder) -> Any:
    """The table of a run as a frame by class id; None where there is none that can be read."""
    import pandas as pd

    try:
        table = pd.read_parquet(run.evaluation / "per_class.parquet")
        return table.sort_values("class_id").reset_index(drop=True) if len(table) else None
    except (OSError, ValueError, KeyError):  # deleted, cut off, not Parquet, another table
        return None


def _bin_name(names: Sequence[Any]) -> str:
    return str(names[0]) if len(names) == 1 else f"{len(names)} classes, {names[0]} to {names[-1]}"
