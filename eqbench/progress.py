"""Progress of a suite: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from eqbench.run_folder import RunFolder, last_event
from eqbench.run_spec import RunSpec

REFRESH_PER_SECOND = 2


class PlainProgress:
    """One line when a run starts, evaluates, or ends: for log files and job logs."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._ended = 0

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None: ...

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        again = " again" if run.attempts else ""
        self._print(f"started{again}  {spec.name}  {spec.run_id}")

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None:
        done = f"{metrics['iteration']}/{spec.budget.iterations}"
        values = {"train/loss": metrics.get("train/loss"), **_main_metric(metrics)}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
        self._print(f"iteration {done}  {spec.name}  {shown}".rstrip())

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._ended += 1
        self._print(f"{_ending(spec, result)}  ({self._ended} of {self._total})")

    def _print(self, line: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')}  {line}", highlight=False, markup=False, soft_wrap=True)


@dataclass
class _Row:
    run: RunFolder
    spec: RunSpec
    since: float
    first_iteration: int | None = None


class LiveProgress:
    """A table of the runs in progress, refreshed in place; ended runs scroll by above it."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._ended = 0
        self._rows: dict[str, _Row] = {}
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, run: RunFolder, spec: RunSpec) -> None:
        self._rows[spec.run_id] = _Row(run, spec, time.monotonic())

    def reported(self, run: RunFolder, spec: RunSpec, metrics: dict[str, Any]) -> None: ...

    def ended(self, run: RunFolder, spec: RunSpec, result: dict[str, Any]) -> None:
        self._rows.pop(spec.run_id, None)
        self._ended += 1
        self._console.print(_ending(spec, result), highlight=False, markup=False)

    def _table(self) -> RenderableType:
        table = Table(title=f"{self._ended} of {self._total} runs ended", title_justify="left")
        for heading in ("run", "epoch", "loss", "metric", "time left"):
            table.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
        for row in list(self._rows.values()):
            table.add_row(*self._cells(row))
        return table

    def _cells(self, row: _Row) -> Sequence[str]:
        event = last_event(row.run)
        if event is None:
            return (row.spec.name, "starting", "", "", "")
        budget, iteration = row.spec.budget, int(event["iteration"])
        if row.first_iteration is None:
            row.first_iteration, row.since = iteration, time.monotonic()
        epoch = f"{iteration / budget.iterations_per_epoch:.1f}/{budget.iterations / budget.iterations_per_epoch:g}"
        metrics = event["metrics"]
        loss = f"{metrics['train/loss']:.4g}" if "train/loss" in metrics else ""
        metric = "  ".join(f"{name} {value:.1f}" for name, value in _main_metric(metrics).items())
        return (row.spec.name, epoch, loss, metric, self._time_left(row, iteration))

    def _time_left(self, row: _Row, iteration: int) -> str:
        done = iteration - (row.first_iteration or 0)
        if done <= 0:
            return ""
        seconds = (row.spec.budget.iterations - iteration) * (time.monotonic() - row.since) / done
        return time.strftime("%H:%M:%S", time.gmtime(seconds)) if seconds < 86400 else f"{seconds / 86400:.1f} days"


def progress_for(console: Console, total: int) -> LiveProgress | PlainProgress:
    """The live table on a terminal, plain lines elsewhere."""
    return LiveProgress(console, total) if console.is_terminal else PlainProgress(console, total)


def _main_metric(metrics: dict[str, Any]) -> dict[str, float]:
    """The first evaluation metric, without its prefix."""
    return next(({name.removeprefix("val/"): value} for name, value in metrics.items() if name.startswith("val/")), {})


def _ending(spec: RunSpec, result: dict[str, Any]) -> str:
    if result["status"] != "finished":
        return f"{result['status'].upper()}  {spec.name}  {result['status_detail']}"
    main = result["main_metric"]
    value = result["metrics"].get(main)
    score = f"{main} {value:.1f}" if value is not None else f"{main} n/a"
    return f"finished  {spec.name}  {score}  {result['cost']['train_seconds']:.0f} s"
