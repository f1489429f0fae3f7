"""Runs that start from the weights of others: which run that is, found before anything is trained."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from eqbench.errors import InputError, nearest
from eqbench.run_spec import Origin, RunSpec, digest
from eqbench.suite_binding import BoundLoss, BoundTask
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import StartFrom
from eqbench.suite_yaml import Place

Expanding = Callable[[BoundTask, BoundLoss, list[int]], list[RunSpec]]
"""The runs of a task of this suite with a loss and some seeds."""

_being_read: ContextVar[tuple[Path, ...]] = ContextVar("_being_read", default=())


class Origins:
    """Finds the runs that the runs of a suite start from.

    Args:
        source: the suite's file.
        tasks: all tasks of the suite, in order.
        expanding: how a run of one of them is described.
    """

    def __init__(self, source: SuiteFile, tasks: Sequence[BoundTask], expanding: Expanding) -> None:
        self._source = source
        self._tasks = tasks
        self._expanding = expanding

    def of(self, task: BoundTask) -> dict[int, RunSpec]:
        """The run whose weights the run of `task` with each of its seeds starts from; empty if they start from none.

        Raises:
            InputError: there is no such run.
        """
        start = task.start_from
        if start is None:
            return {}
        seed_of = {seed: seed if start.seed is None else start.seed for seed in task.seeds}
        seeds = list(dict.fromkeys(seed_of.values()))
        place: Place = (*task.place, "start_from")
        parents = self._elsewhere(start, seeds, place) if start.suite else self._here(task, start, seeds, place)
        found = {parent.seed: parent for parent in parents}
        return {seed: found[theirs] for seed, theirs in seed_of.items()}

    def _here(self, task: BoundTask, start: StartFrom, seeds: list[int], place: Place) -> list[RunSpec]:
        earlier = {other.label: other for other in self._tasks if other.place < task.place}
        parent = earlier.get(start.task)
        if parent is None:
            known = f"(earlier tasks: {', '.join(earlier) or 'none'})"
            message = f"{start.task!r} is no earlier task of this suite{nearest(start.task, earlier)} {known}"
            raise self._source.error([((*place, "task"), message)])
        losses = {loss.label: loss for loss in parent.losses}
        loss = losses.get(start.loss)
        if loss is None:
            message = (
                f"task {start.task!r} has no loss {start.loss!r}{nearest(start.loss, losses)} "
                f"(known: {', '.join(losses)})"
            )
            raise self._source.error([((*place, "loss"), message)])
        if absent := [seed for seed in seeds if seed not in parent.seeds]:
            known = ", ".join(map(str, parent.seeds))
            message = f"task {start.task!r} has no run with seed {absent[0]} (seeds: {known})"
            raise self._source.error([(place, message)])
        return self._expanding(parent, loss, seeds)

    def _elsewhere(self, start: StartFrom, seeds: list[int], place: Place) -> list[RunSpec]:
        from eqbench.suite import load_suite

        assert start.suite is not None
        beside = Path(self._source.file).parent / start.suite
        suite = str(beside) if beside.suffix and beside.is_file() else start.suite
        try:
            with _reading(Path(self._source.file).absolute()):
                loaded = load_suite(suite, start.override)
                if loaded.file.absolute() in _being_read.get():
                    raise InputError(f"{loaded.file} starts from this suite itself, in a circle")
                return loaded.expand([f"task={start.task}", f"loss={start.loss}"], seeds)
        except InputError as error:
            raise self._source.error([(place, str(error))]) from error


def describe(parent: RunSpec, start: StartFrom, source: SuiteFile) -> Origin:
    """The run `parent`, as what a run of the suite `source` starts from because of `start`."""
    recipe = {**parent.recipe, "loss": parent.identity["loss"], "seed": start.seed}
    where = [start.suite, *_options(start.override)] if start.suite else [source.file, *_options(source.overrides)]
    only = [f"task={parent.task_label}", f"loss={parent.loss_label}"]
    command = ["eqbench", "run", *where, *(word for each in only for word in ("--only", each))]
    return Origin(
        suite=parent.suite,
        run_id=parent.run_id,
        name=parent.name,
        recipe=digest(recipe),
        command=shlex.join([*command, "--seeds", str(parent.seed)]),
    )


def _options(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("-o", override)]


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    token = _being_read.set((*_being_read.get(), file))
    try:
        yield
    finally:
        _being_read.reset(token)
