"""best.yaml: what a sweep found against the published setting, as a suite for `eqbench run`, on seeds not yet seen."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.plots.text import cleaned
from eqbench.sweep.standings import Standings, number, setting_text, short_names

if TYPE_CHECKING:
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.record import Results, Trial

SEEDS = 5
MOST_SETTINGS = 5
"""Of a Pareto front: its ends, and others evenly between them."""
LARGEST_SEED = 2**31
WIDTH = 118


def write_best(results: Results, sweep: Sweep, path: Path) -> Path | None:
    """Write the suite; None, and no file, as long as no finished setting keeps the constraints.

    Its losses are the baseline, the swept loss as the sweep's file has it, and what was found to be best: one setting,
    or at most five of a Pareto front. What a setting changes beside the loss is a column of its own.
    """
    from eqbench.suite_yaml import parse

    standings = Standings(results)
    chosen = spread(standings.front, MOST_SETTINGS)
    if not chosen:
        path.unlink(missing_ok=True)
        return None
    found = [trial for trial in chosen if trial.kind == "proposed"]
    suite = sweep.setting_file([trial.values for trial in found], unseen_seeds(results.seeds))
    data, _ = parse(suite, str(path))
    lines = _header(standings, sweep, path, chosen, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "", suite.rstrip("\n"), ""]), encoding="utf-8")
    return path


def unseen_seeds(seen: Sequence[int]) -> list[int]:
    """The five whole numbers after the largest seed of the search; the smallest unused ones where these end.

    >>> unseen_seeds([0, 3])
    [4, 5, 6, 7, 8]
    """
    after = list(range(max(seen) + 1, min(max(seen) + 1 + SEEDS, LARGEST_SEED + 1)))
    return after if len(after) == SEEDS else [seed for seed in range(SEEDS + len(seen)) if seed not in seen][:SEEDS]


def spread(trials: Sequence[Trial], most: int) -> list[Trial]:
    """At most so many, first and last among them."""
    if len(trials) <= most:
        return list(trials)
    return [trials[round(at * (len(trials) - 1) / (most - 1))] for at in range(most)]


def _header(standings: Standings, sweep: Sweep, path: Path, chosen: Sequence[Trial], data: dict[str, Any]) -> list[str]:
    results = standings.results
    section = results.section
    finished = standings.counts().get("finished", 0)
    seeds = ", ".join(map(str, results.seeds))
    how = (
        f"Found by eqbench sweep {_shown(sweep.file)}: {section.objective.describe()}, {section.search.name} search, "
        f"{len(results.trials)} trials of which {finished} finished, seed {seeds}. "
    )
    how += (
        "The numbers below are those that it was chosen on, so part of any lead is luck; the seeds here are others. "
        "They are judged on the evaluation images that the search has chosen on: a part may still be luck with these."
    )
    question = "is what the sweep found better than the published setting, on seeds that the search did not see?"
    lines = [f"# Question: {question}", f"# Runs: {_runs(data)}", f"# Command: eqbench run {_shown(path)}", "#"]
    lines += _wrapped(how)
    lines += [line for trial in _compared(standings, chosen) for line in _wrapped(_numbers(standings, trial), "- ")]
    if all(trial.kind == "default" for trial in chosen):
        lines += _wrapped("No finished setting is better than the published one: this only repeats it on other seeds.")
    if any(trial.schedule for trial in chosen):
        lines += _wrapped(
            "Values changed while it trained (pbt), and weights were taken from other members: these are the last "
            "values. A run that has them from its beginning is another recipe, whose numbers may be others."
        )
    if len(standings.front) > len(chosen):
        lines += _wrapped(f"These are {len(chosen)} of {len(standings.front)} settings on the Pareto front.")
    if len(data["tasks"]) > 1:
        own, *others = (task["name"] for task in data["tasks"])
        lines += _wrapped(
            "What was found changes more than the loss. So that the losses can be compared, baseline and default are "
            f"trained with these changes too in {', '.join(others)}; {own} keeps what the sweep's file has."
        )
        lines += _wrapped(
            f"What to compare: the published setting is row {sweep.swept}, column {own}; what was found is "
            f"{_cells(sweep, data)}. The leaderboard tests differences within a column, not this one between columns."
        )
    return lines


def _cells(sweep: Sweep, data: dict[str, Any]) -> str:
    """Row and column of everything that was found: `row softmax_eql(tau=2), column digits_best`."""
    references = {name for _, name in sweep.references}
    own, *others = data["tasks"]
    shared = {loss["label"] for task in others for loss in task["losses"]}
    found = [(loss["label"], own["name"]) for loss in data["losses"] if loss["label"] not in references | shared]
    for task in others:
        labels = [loss["label"] for loss in task["losses"] if loss["label"] not in references]
        found += [(label, task["name"]) for label in labels or [sweep.swept]]
    return "; ".join(f"row {label}, column {column}" for label, column in found)


def _compared(standings: Standings, chosen: Sequence[Trial]) -> list[Trial]:
    references = (standings.results.baseline, standings.results.default)
    return [*(trial for trial in references if trial and trial not in chosen), *chosen]


def _numbers(standings: Standings, trial: Trial) -> str:
    """`trial 12 (tau=1.5): val/few 41.20, val/many 93.00`."""
    setting = setting_text(trial.values, short_names(standings.results.section.space)) or cleaned(trial.label)
    metrics = standings.objective.metrics
    numbers = ", ".join(f"{metric} {number(metric, trial.metrics.get(metric, math.nan))}" for metric in metrics)
    state = "" if trial.status == "finished" else f" ({trial.status})"
    return f"{trial.name} ({setting}): {numbers}{state}"


def _runs(data: dict[str, Any]) -> str:
    """`15 (1 task × 3 losses × 5 seeds)`, as in the suites."""
    parts = [(len(task.get("losses", data["losses"])), len(task.get("seeds", data["seeds"]))) for task in data["tasks"]]
    counted = [f"1 task × {losses} loss{'es' if losses > 1 else ''} × {seeds} seeds" for losses, seeds in parts]
    return f"{sum(losses * seeds for losses, seeds in parts)} ({' + '.join(counted)})"


def _wrapped(text: str, bullet: str = "") -> list[str]:
    indent = "# " + " " * len(bullet)
    return textwrap.wrap(text, WIDTH, initial_indent=f"# {bullet}", subsequent_indent=indent, break_on_hyphens=False)


def _shown(path: Path) -> str:
    here = Path.cwd()
    return cleaned(str(path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path))
