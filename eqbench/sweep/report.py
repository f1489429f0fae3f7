"""What a sweep found, as tables for a terminal and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from eqbench.plots.text import cleaned
from eqbench.sweep.standings import Standings
from eqbench.sweep.trial_table import TrialTable, changes

if TYPE_CHECKING:
    from eqbench.sweep.record import Results, Trial

SHOWN = 10
"""Trials in the table; default and baseline are added to it."""
MOST_OF_A_FRONT = 20
CAUTION = (
    "The best of many is chosen on these very numbers, so part of its lead is luck: other seeds say how much. They are "
    "judged on the evaluation images that the search has chosen on, so a part may still be luck with these images."
)


def tables(results: Results, best_file: Path | None = None) -> list[RenderableType]:
    """What a terminal shows: the best trials, the front of several goals, the answer, what was stopped and failed.

    Args:
        best_file: the best setting as a suite, which is advised to be run if it is there.
    """
    standings = Standings(results)
    shown: list[RenderableType] = [Text(title(results), style="bold"), Text(subtitle(results), style="dim"), ""]
    if not results.trials:
        return [*shown, Text("No trial has started.")]
    if results.section.objective.several:
        shown += [Text(f"Pareto front: {_settings(len(standings.front))}", style="bold"), ""]
    shown += [TrialTable(standings, _chosen(standings)), ""]
    verdict = standings.verdict()
    style = {"yes": "bold green", "no": "bold", "open": "bold yellow"}[verdict.answer]
    shown.append(Text("Better than the published setting? ").append(verdict.sentence, style=style))
    if verdict.answer == "yes":
        there = best_file is not None and best_file.exists()
        advice = f" Confirm it on seeds that the search did not see: eqbench run {best_file}" if there else ""
        shown.append(Text(f"{CAUTION}{advice}", style="dim"))
    shown += [Text(line) for line in summary(standings)]
    return shown + _failures(results.trials)


def title(results: Results) -> str:
    """`Sweep quickstart: softmax_eql on digits`."""
    return f"Sweep {results.name}: {results.loss} on {results.task}"


def subtitle(results: Results) -> str:
    """Objective, search, scheduler and seeds on one line."""
    section = results.section
    seeds = f"seed{'s' if len(results.seeds) != 1 else ''} {', '.join(map(str, results.seeds))}"
    scheduler = "none" if section.scheduler.name == "none" else section.scheduler.name
    return f"{section.objective.describe()}; search {section.search.name}, scheduler {scheduler}, {seeds}"


def summary(standings: Standings) -> list[str]:
    """Trials by status, and what stopping has saved."""
    counts = standings.counts()
    total = len(standings.results.trials)
    lines = [f"{total} trial{'s' if total != 1 else ''}: " + ", ".join(f"{n} {name}" for name, n in counts.items())]
    savings = standings.savings()
    if savings.stopped:
        lines.append(
            f"{savings.stopped} stopped early: {savings.trained:,.4g} of {savings.whole:,.4g} epochs trained, "
            f"{100 * savings.share:.0f} % saved"
        )
    if exploits := [exploit for trial in standings.results.trials for exploit in trial.schedule if exploit[2]]:
        lines.append(
            f"values changed while members trained ({len(exploits)} times one went on from another's weights): "
            "those shown are the last ones"
        )
    return lines


def ending(results: Results, note: str) -> str:
    """Why fewer settings were tried than asked for; empty where that was all that the space has.

    Args:
        note: of the search.
    """
    section = results.section
    size = section.space.size
    tried = [trial for trial in results.trials if trial.kind == "proposed"]
    default = results.default
    in_space = default is not None and section.space.contains(default.values)
    if not note or (size is not None and len(tried) + in_space >= size):
        return "" if section.trials is None or not note else f"All {size} settings of the space were tried."
    return f"It ended early: {note}"


def describe(results: Results) -> dict[str, Any]:
    """Everything that the tables say as plain data; a number that does not exist is None."""
    standings = Standings(results)
    verdict, savings = standings.verdict(), standings.savings()
    return {
        "name": results.name,
        "task": results.task,
        "loss": results.loss,
        "objective": results.section.objective.describe(),
        "search": results.section.search.name,
        "scheduler": results.section.scheduler.name,
        "seeds": list(results.seeds),
        "epochs": results.epochs,
        "counts": standings.counts(),
        "best": None if standings.best is None else standings.best.number,
        "front": [trial.number for trial in standings.front],
        "better_than_default": {
            "answer": verdict.answer,
            "change": _finite(verdict.change),
            "sentence": verdict.sentence,
        },
        "epochs_trained": savings.trained,
        "epochs_without_stopping": savings.whole,
        "trials": [_trial_dict(standings, trial) for trial in standings.order],
    }


def _chosen(standings: Standings) -> list[Trial]:
    """The ten best, or the front of several goals, and the two that they are compared with."""
    begun = [trial for trial in standings.order if trial.status != "waiting"]
    shown = MOST_OF_A_FRONT if standings.objective.several else SHOWN
    kept = (standings.front or begun)[:shown] if standings.objective.several else begun[:shown]
    return kept + [trial for trial in begun if trial.kind != "proposed" and trial not in kept]


def _settings(count: int) -> str:
    return f"{count} setting{'' if count == 1 else 's'}"


def _failures(trials: Sequence[Trial]) -> list[RenderableType]:
    failed = [trial for trial in trials if trial.status == "failed"]
    if not failed:
        return []
    lines = [
        f"  {trial.name}: {cleaned(trial.detail.partition(chr(10))[0]) or 'no reason is known'}"
        for trial in failed[:SHOWN]
    ]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    return ["", Text("Failed", style="bold yellow"), *map(Text, lines)]


def _trial_dict(standings: Standings, trial: Trial) -> dict[str, Any]:
    compared: Mapping[str, Mapping[str, float]] = {
        goal.metric: changes(standings, trial, goal) for goal in standings.objective.goals
    }
    return {
        "number": trial.number,
        "kind": trial.kind,
        "label": trial.label,
        "values": dict(trial.values),
        "status": trial.status,
        "detail": trial.detail,
        "metrics": {name: _finite(value) for name, value in trial.metrics.items()},
        "changes": {metric: {name: _finite(value) for name, value in by.items()} for metric, by in compared.items()},
        "violation": _finite(standings.violation(trial)),
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "run_ids": list(trial.run_ids),
        "schedule": [{"epoch": epoch, "values": values, "from": donor} for epoch, values, donor in trial.schedule],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
