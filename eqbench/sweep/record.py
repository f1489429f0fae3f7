"""What a sweep has tried and what came of it. A trial's state is that of its runs; nothing of it is kept twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from eqbench import value_schedule
from eqbench.run_folder import RunFolder, is_evaluation

if TYPE_CHECKING:
    from eqbench.sweep.schema import Section
    from eqbench.sweep.space import Value

BASELINE, DEFAULT = -2, -1
"""Numbers of the trials that are not proposed: the first loss of the file, and the swept one as the file has it."""

Schedule = tuple[tuple[float, dict[str, Any], str | None], ...]
Kind = Literal["baseline", "default", "proposed"]
Status = Literal["waiting", "running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Entry:
    """A line of trials.jsonl. `failure`: why the setting could not be built; then it has no runs."""

    sweep: str
    number: int
    kind: Kind
    values: dict[str, Value]
    label: str
    run_ids: list[str] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class Trial:
    """One setting and what has become of its runs.

    `run_ids` by seed; `metrics` are means over the runs, of their last evaluation; `curve` holds the evaluations of the
    first run, each with its epoch; `epochs` and `seconds` of training are sums over the runs. A member of a
    population has a `schedule`: epoch, values from then on, and donor of the weights, if any; `values` are the last.
    """

    number: int
    kind: Kind
    values: dict[str, Value]
    run_ids: tuple[str, ...]
    status: Status
    detail: str
    label: str
    metrics: dict[str, float]
    curve: tuple[tuple[float, dict[str, float]], ...]
    epochs: float
    seconds: float
    schedule: Schedule = ()

    @property
    def name(self) -> str:
        """For people: `trial 3`, `default`, `baseline`."""
        return f"trial {self.number}" if self.kind == "proposed" else self.kind


@dataclass(frozen=True)
class Results:
    """A sweep and its trials so far: baseline and default first, then by number. `epochs`: of a run nobody stops."""

    name: str
    task: str
    loss: str
    section: Section
    trials: tuple[Trial, ...]
    epochs: float
    seeds: tuple[int, ...]

    @property
    def baseline(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.kind == "baseline"), None)

    @property
    def default(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.kind == "default"), None)


def trial_of(entry: Entry, runs: Sequence[RunFolder]) -> Trial:
    """A trial, from the folders of its runs."""
    standings = [_Standing.of(run) for run in runs]
    status, detail = _status(standings, entry.failure)
    schedule = standings[0].schedule if standings else ()
    return Trial(
        number=entry.number,
        kind=entry.kind,
        values=schedule[-1][1] if schedule else entry.values,
        run_ids=tuple(entry.run_ids),
        status=status,
        detail=detail,
        label=entry.label,
        metrics=means([standing.metrics for standing in standings]),
        curve=standings[0].curve if standings else (),
        epochs=sum(standing.epochs for standing in standings),
        seconds=sum(standing.seconds for standing in standings),
        schedule=schedule,
    )


@dataclass(frozen=True)
class _Standing:
    """Where one run stands."""

    status: str
    detail: str
    curve: tuple[tuple[float, dict[str, float]], ...]
    epochs: float
    seconds: float
    schedule: Schedule = ()

    @classmethod
    def of(cls, run: RunFolder) -> _Standing:
        if not run.spec_file.exists():
            return cls("waiting", "", (), 0.0, 0.0)
        per_epoch = run.read_spec().budget.iterations_per_epoch
        events = run.read_events()
        result = run.read_result() or {}
        status = str(result.get("status", "running" if run.attempts else "waiting"))
        return cls(
            status="waiting" if status == "killed" else status,
            detail=str(result.get("status_detail", "")),
            curve=tuple((each["iteration"] / per_epoch, each["metrics"]) for each in evaluations(events)),
            epochs=max((event["iteration"] for event in events), default=0) / per_epoch,
            seconds=_seconds(events, result),
            schedule=tuple((each.iteration / per_epoch, each.values, each.donor) for each in value_schedule.read(run)),
        )

    @property
    def metrics(self) -> dict[str, float]:
        return self.curve[-1][1] if self.curve else {}


def evaluations(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`iteration` and all `metrics` recorded so far of each evaluation, oldest first; repetitions once."""
    latest: dict[str, float] = {}
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        latest = {**latest, **event["metrics"]}
        if is_evaluation(event):
            numbers = {key: value for key, value in latest.items() if key.startswith(("val/", "train/"))}
            found[event["iteration"]] = {"iteration": event["iteration"], "metrics": numbers}
            latest = {key: value for key, value in latest.items() if not key.startswith("val/")}
    return list(found.values())


def means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric that all have.

    >>> means([{"val/top1": 80.0, "val/few": 10.0}, {"val/top1": 82.0}])
    {'val/top1': 81.0}
    """
    if not metrics:
        return {}
    shared = [name for name in metrics[0] if all(name in other for other in metrics)]
    return {name: math.fsum(other[name] for other in metrics) / len(metrics) for name in shared}


def _status(standings: Sequence[_Standing], failure: str) -> tuple[Status, str]:
    """A trial has failed, or was stopped, when one of its runs has; it is finished when all are."""
    if failure:
        return "failed", failure
    for name in ("failed", "stopped"):
        for standing in standings:
            if standing.status == name:
                return name, standing.detail
    states = {standing.status for standing in standings}
    if states == {"finished"}:
        return "finished", ""
    return ("waiting" if states <= {"waiting"} else "running"), ""


def _seconds(events: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> float:
    known = (result.get("cost") or {}).get("train_seconds")
    if isinstance(known, int | float):
        return float(known)
    return (events[-1]["time_ms"] - events[0]["time_ms"]) / 1000 if events else 0.0
