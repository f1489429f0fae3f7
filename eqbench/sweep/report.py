"""What a sweep found, as tables for a terminal and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from eqbench.sweep.objective import Goal
from eqbench.sweep.standings import Standings, cleaned, number, setting_text, short_names, signed

if TYPE_CHECKING:
    from eqbench.sweep.record import Results, Trial

SHOWN = 10
"""Trials in the table; default and baseline are added to it."""
MOST_OF_A_FRONT = 20
CAUTION = (
    "The best of many is chosen on these very numbers, so part of its lead is luck: "
    "confirm it with best.yaml, on seeds that the search did not see."
)


def tables(results: Results) -> list[RenderableType]:
    """What a terminal shows: the best trials, the front of several goals, the answer, what was stopped and failed."""
    standings = Standings(results)
    shown: list[RenderableType] = [Text(title(results), style="bold"), Text(subtitle(results), style="dim"), ""]
    if not results.trials:
        return [*shown, Text("No trial has started.")]
    if results.section.objective.several:
        shown += [Text(f"Pareto front: {_settings(len(standings.front))}", style="bold"), ""]
    shown += [_table(standings, _chosen(standings)), ""]
    verdict = standings.verdict()
    style = {"yes": "bold green", "no": "bold", "open": "bold yellow"}[verdict.answer]
    shown.append(Text("Better than the published setting? ").append(verdict.sentence, style=style))
    if verdict.answer == "yes":
        shown.append(Text(CAUTION, style="dim"))
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


def changes(standings: Standings, trial: Trial, goal: Goal) -> dict[str, float]:
    """The trial's change in a goal against the default and the baseline, where these have finished."""
    results = standings.results
    others = {"default": results.default, "baseline": results.baseline}
    return {
        name: standings.score(trial, goal) - standings.score(other, goal)
        for name, other in others.items()
        if other is not None and other.status == "finished" and other is not trial
    }


def remark(standings: Standings, trial: Trial) -> str:
    """The status of a trial, and what else a reader of its row should know."""
    if trial.status == "stopped":
        return f"stopped at epoch {trial.epochs / max(1, len(trial.run_ids)):.4g}"
    if trial.status != "finished":
        return trial.status
    if standings.objective.scores(trial.metrics) is None:
        return "finished without the metric"
    violation = standings.violation(trial)
    if math.isnan(violation):
        return "constraint: cannot be said"
    if violation > 0:
        return f"breaks the constraint by {violation:.3g}"
    if trial is standings.best and not standings.objective.several:
        return "best"
    return "on the front" if standings.objective.several and trial in standings.front else "finished"


def _chosen(standings: Standings) -> list[Trial]:
    """The ten best, or the front of several goals, and the two that they are compared with."""
    begun = [trial for trial in standings.order if trial.status != "waiting"]
    shown = MOST_OF_A_FRONT if standings.objective.several else SHOWN
    kept = (standings.front or begun)[:shown] if standings.objective.several else begun[:shown]
    return kept + [trial for trial in begun if trial.kind != "proposed" and trial not in kept]


def _settings(count: int) -> str:
    return f"{count} setting{'' if count == 1 else 's'}"


def _table(standings: Standings, trials: Sequence[Trial]) -> Table:
    names = short_names(standings.results.section.space)
    objective = standings.objective
    others = {"default": standings.results.default, "baseline": standings.results.baseline}
    compared = [name for name, other in others.items() if other]
    goals = {goal.metric: goal for goal in objective.goals}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", no_wrap=True)
    table.add_column("setting", overflow="fold", min_width=16)
    for metric in objective.metrics:
        below = f"\nvs {compared[0]}" if objective.several and compared and metric in goals else ""
        table.add_column(Text(f"{metric}{below}"), justify="right", no_wrap=True)
        if not objective.several and metric in goals:
            for name in compared:
                table.add_column(f"vs {name}", justify="right", no_wrap=True)
    table.add_column("epochs", justify="right")
    table.add_column("status", overflow="fold", min_width=8)
    for trial in trials:
        cells: list[Text] = []
        for metric in objective.metrics:
            cell = Text(number(metric, trial.metrics.get(metric, math.nan)))
            change = changes(standings, trial, goals[metric]) if metric in goals else {}
            texts = [_change(goals[metric], change.get(name, math.nan)) for name in compared if metric in goals]
            cells += [Text("\n").join([cell, *texts[:1]])] if objective.several else [cell, *texts]
        setting = cleaned(trial.label) if trial.kind == "baseline" else setting_text(trial.values, names)
        style = "bold" if trial in standings.front else "dim" if trial.status != "finished" else ""
        ends = (Text(f"{trial.epochs:.4g}"), Text(remark(standings, trial)))
        table.add_row(Text(trial.name), Text(setting), *cells, *ends, style=style)
    return table


def _change(goal: Goal, change: float) -> Text:
    text = signed(goal.metric, change)
    better = text[0] == ("+" if goal.maximize else "-")
    return Text("" if text == "–" else text, style="green" if better else "red" if text[0] in "+-" else "dim")


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
