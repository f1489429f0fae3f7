"""How far a scan is: a bar on a terminal, a line at every tenth anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

TENTHS = 10


class Progress(Protocol):
    """A context manager that is told how many files are done, and of those with problems."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def advance(self, done: int, bad: int) -> None: ...


class Tally:
    """Files done, those of them with problems, and how fast: from the first answer on, as processes start slowly."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.bad = 0
        self._first = 0
        self._since: float | None = None

    def add(self, done: int, bad: int) -> None:
        self.done += done
        self.bad += bad
        if self._since is None:
            self._first, self._since = done, time.monotonic()

    @property
    def rate(self) -> float:
        """Files per second; 0 as long as it is not known."""
        since = time.monotonic() if self._since is None else self._since
        return (self.done - self._first) / max(time.monotonic() - since, 1e-3)


class PlainProgress:
    """A line at every tenth."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._tally = Tally(total)
        self._tenths = 0

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, done: int, bad: int) -> None:
        tally = self._tally
        tally.add(done, bad)
        tenths = TENTHS * tally.done // tally.total
        if tenths == self._tenths:
            return
        self._tenths = tenths
        line = f"{100 * tenths // TENTHS:3d} %  {tally.done:,} of {tally.total:,} files, {tally.bad:,} with problems"
        if (rate := tally.rate) and tally.done < tally.total:
            line += f", {rate:,.0f} files/s, {duration((tally.total - tally.done) / rate)} left"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class Bar:
    """A bar with files, problems, files per second and the time that is left."""

    def __init__(self, console: Console, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[bad]:,} with problems, {task.fields[rate]:,.0f} files/s"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=total, bad=0, rate=0.0)
        self._tally = Tally(total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, done: int, bad: int) -> None:
        self._tally.add(done, bad)
        self._progress.update(self._task, advance=done, bad=self._tally.bad, rate=self._tally.rate)


def progress_for(console: Console, total: int) -> Progress:
    """The bar on a terminal, lines elsewhere."""
    return Bar(console, total) if console.is_terminal else PlainProgress(console, total)


def duration(seconds: float) -> str:
    """In the unit that fits.

    >>> duration(0.2), duration(95), duration(5400)
    ('0 s', '1 min 35 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
