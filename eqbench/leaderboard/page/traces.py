"""What the page draws of runs: curves over training, gradient ratios of class groups, the result of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eqbench import gradient_ratio
from eqbench.errors import InputError
from eqbench.evaluation import tables
from eqbench.plots.gradients import history
from eqbench.plots.series import Series, geometric_mean
from eqbench.plots.stored import Classes, Floats, StoredRun

POINTS = 40
"""Of a curve, at most: more are not told apart at the width of a page."""
NOT_A_RESULT = {"class_id", "class_name", "group", "count", "images", "num_eval"}
RATIO = "gradient/ratio_"
AGREEMENT = 0.02
"""Relative difference, up to which an event's ratio is that of the stored totals; older runs recorded another one."""

Points = list[tuple[int, Mapping[str, Any]]]


def curves(run: StoredRun, metrics: Sequence[str]) -> dict[str, Any] | None:
    """Training loss and results over epochs; None where nothing is stored.

    Returns:
        `train` with `loss`, and `val` with each of the `metrics` that has been recorded; `x` are epochs.
    """
    points = _events(run)
    recorded = [name for name in metrics if any(f"val/{name}" in each for _, each in points)]
    evaluated = [(at, each) for at, each in points if any(f"val/{name}" in each for name in recorded)]
    training = [(at, each) for at, each in points if brief(each.get("train/loss")) is not None]
    if not training and not evaluated:
        return None
    kept = _last_of_bins(evaluated, run.spec.budget.iterations)
    x, loss = _averaged(training, run.spec.budget.iterations)
    results = {
        name if name != "x" else "x ": [brief(each.get(f"val/{name}"), 4) for _, each in kept] for name in recorded
    }
    return {
        "train": {"x": _epochs(run, x), "loss": loss},
        "val": {"x": _epochs(run, [at for at, _ in kept]), **results},
    }


def _events(run: StoredRun) -> Points:
    """Iterations and what was recorded there; none of a file that cannot be read."""
    try:
        events = run.folder.read_events()
    except OSError:
        return []
    return [
        (event["iteration"], event["metrics"])
        for event in events
        if isinstance(event["metrics"], dict) and type(event["iteration"]) is int
    ]


def _epochs(run: StoredRun, iterations: Sequence[float]) -> list[float | int | None]:
    return [brief(at / run.spec.budget.iterations_per_epoch, 4) for at in iterations]


def _bin(iteration: int, bins: int, total: int) -> int:
    return min(max(math.ceil(iteration * bins / max(total, 1)), 1), bins)


def _last_of_bins(points: Points, total: int) -> Points:
    """All, or where they are many the last one of each of `POINTS` parts of training, the same in all seeds."""
    if len(points) <= POINTS:
        return points
    return list({_bin(point[0], POINTS, total): point for point in points}.values())


def _averaged(points: Points, total: int) -> tuple[list[int], list[float | int | None]]:
    """The training loss in parts of training that have two records or more on average.

    A record is the mean over the iterations since the one before, and has as much weight.
    """
    bins = min(POINTS, max(8, len(points) // 2))
    sums: dict[int, tuple[int, float, float]] = {}
    before = 0
    for iteration, metrics in points:
        weight = max(iteration - before, 1)
        place = _bin(iteration, bins, total)
        _, weights, losses = sums.get(place, (0, 0.0, 0.0))
        sums[place] = iteration, weights + weight, losses + weight * float(metrics["train/loss"])
        before = iteration
    return [at for at, _, _ in sums.values()], [brief(losses / weights) for _, weights, losses in sums.values()]


def brief(value: Any, digits: int = 5) -> float | int | None:
    """A number to `digits` significant digits, without a fraction where it has none; None for what is no number.

    >>> brief(0.123456789), brief(12.0), brief(float("nan"))
    (0.12346, 12, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def group_ratios(runs: Sequence[StoredRun], classes: Classes) -> dict[str, list[Any]] | None:
    """Medians over the classes of each group of the ratios of accumulated totals, averaged over runs, over epochs."""
    kept = tuple(run for run in runs if run.ratios is not None)
    if not kept:
        return None
    epochs, values = history(Series("", 0, kept))
    last = len(epochs) - 1
    places = sorted({round(at * last / max(min(len(epochs), POINTS) - 1, 1)) for at in range(min(len(epochs), POINTS))})
    table: dict[str, list[Any]] = {"x": [brief(float(epochs[place]), 4) for place in places]}
    for group in classes.group_names:
        members = classes.members(group)
        table[_name(group)] = [brief(gradient_ratio.of_group(values[place, members]), 4) for place in places]
    return table


def recorded_ratios(runs: Sequence[StoredRun], classes: Classes) -> dict[str, list[Any]] | None:
    """The same from the events of runs, without reading all totals; None where they recorded something else."""
    names = [f"{RATIO}{group}" for group in classes.group_names]
    found: dict[float | int | None, list[list[float]]] = {}
    for run in runs:
        points = [(at, each) for at, each in _events(run) if any(name in each for name in names)]
        if not points or not _agrees(run, points[-1][1], classes):
            return None
        kept = _last_of_bins(points, run.spec.budget.iterations)
        for at, (_, each) in zip(_epochs(run, [at for at, _ in kept]), kept, strict=True):
            row = [math.nan if (value := brief(each.get(name))) is None else float(value) for name in names]
            found.setdefault(at, []).append(row)
    table: dict[str, list[Any]] = {"x": sorted(found, key=lambda at: at or 0)}
    means = {at: geometric_mean(np.array(rows)) for at, rows in found.items()}
    for place, group in enumerate(classes.group_names):
        table[_name(group)] = [brief(float(means[at][place]), 4) for at in table["x"]]
    return table


def _name(group: str) -> str:
    return f"{group} " if group == "x" else group


def _agrees(run: StoredRun, recorded: Mapping[str, Any], classes: Classes) -> bool:
    """Whether the last ratios that were recorded are those of the last totals."""
    ratios = _last_ratios(run, len(classes.names))
    if ratios is None:
        return False
    for group in classes.group_names:
        own = gradient_ratio.of_group(ratios[classes.members(group)])
        value = brief(recorded.get(f"{RATIO}{group}"))
        if math.isfinite(own) and (value is None or not math.isclose(own, value, rel_tol=AGREEMENT)):
            return False
    return True


def _last_ratios(run: StoredRun, number: int) -> Floats | None:
    """(C,) of the newest totals alone."""
    parts = [part for part in run.folder.gradients.glob("*.parquet") if part.stem.isdecimal()]
    try:
        newest = max(parts, key=lambda part: int(part.stem))
        table = tables.read(newest, ("class_id", "positive", "negative"))
        totals = np.zeros((2, number))
        for place, name in enumerate(("positive", "negative")):
            np.add.at(totals[place], table["class_id"].to_numpy(), table[name].to_numpy())
    except (InputError, ValueError, IndexError, TypeError):  # none, cut off, of other classes
        return None
    return gradient_ratio.of_totals(*totals)


def per_class(runs: Sequence[StoredRun], bins: int) -> dict[str, Any] | None:
    """The result of each class, averaged over the runs that have stored one, most frequent class first.

    Args:
        bins: more classes than this are averaged within as many bins of equal size.

    Returns:
        `count`, `name`, `group` and `value` of each class or bin; the number of all `classes` and of `runs`; what was
        measured, `metric`. None where no run has stored a table.
    """
    found = [table for run in runs if (table := _class_table(run)) is not None]
    if not found:
        return None
    first = found[0]
    same = [table for table in found if len(table) == len(first)]
    metric = next((name for name in first.columns if name not in NOT_A_RESULT), None)
    if metric is None or not {"class_id", "class_name", "group", "count"} <= set(first.columns):
        return None
    import pandas as pd

    values = pd.concat([pd.to_numeric(table[metric], errors="coerce") for table in same if metric in table], axis=1)
    whole = first.assign(value=values.mean(axis=1)).sort_values(["count", "class_id"], ascending=[False, True])
    number = len(whole)
    rows = whole.groupby([position * min(number, bins) // number for position in range(number)], sort=True)
    ends = rows["class_name"].agg(["first", "last", "size"])
    return {
        "metric": metric,
        "classes": number,
        "runs": len(same),
        "count": [brief(count, 4) for count in rows["count"].mean().tolist()],
        "name": [_bin_name(*row) for row in ends.itertuples(index=False)],
        "group": [str(group) for group in rows["group"].first()],
        "value": [brief(value, 4) for value in rows["value"].mean().tolist()],
    }


def _class_table(run: StoredRun) -> Any:
    """The table of a run as a frame by class id; None where there is none that can be read."""
    import pandas as pd

    try:
        table = pd.read_parquet(run.folder.evaluation / "per_class.parquet")
        return table.sort_values("class_id").reset_index(drop=True) if len(table) else None
    except (OSError, ValueError, KeyError):  # deleted, cut off, not Parquet, another table
        return None


def _bin_name(first: Any, last: Any, size: int) -> str:
    return str(first) if size == 1 else f"{size} classes, {first} to {last}"


def classes_of(runs: Sequence[StoredRun]) -> Classes | None:
    """Those of the first run whose description can be read."""
    for run in runs:
        try:
            if run.classes is not None:
                return run.classes
        except InputError:
            continue
    return None
