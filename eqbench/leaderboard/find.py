"""A run by what a user calls it."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path

from eqbench.errors import InputError, nearest
from eqbench.leaderboard.results import read_spec
from eqbench.run_folder import RunFolder, SuiteFolder, suites_in
from eqbench.storage import fetch_suite

SHORTEST_PREFIX = 4
SWEEPS = "sweeps"
"""Folder of the sweeps of a name; their runs are called like those of suites."""


def find_suite_folder(storage: Path, suite: str) -> SuiteFolder:
    """The folder of a suite that has been run into `storage`, by the suite's name or file.

    Raises:
        InputError: it has not been run there; names the nearest that has.
    """
    name = suite
    if suite.endswith((".yaml", ".yml")):
        from eqbench.suite import load_suite
        from eqbench.sweep.definition import is_sweep, load_sweep

        name = load_sweep(suite).folder_name if is_sweep(Path(suite)) else load_suite(suite).name
    known = [folder.suite for folder in suites_in(storage)]
    if name not in known:
        has = ", ".join(known) or "nothing"
        raise InputError(f"{suite}: no such suite has been run into {storage} (it holds {has}){nearest(name, known)}")
    folder = SuiteFolder(storage, name)
    fetch_suite(folder.path)
    return folder


def find_run(storage: Path, text: str) -> RunFolder:
    """The one run that `text` names; see `Runs.find`."""
    return Runs(storage).find(text)


class Runs:
    """The runs of a storage folder by their names, each looked at once."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._suites = _fetched(storage)
        self._names: dict[str, list[tuple[str, RunFolder]]] = {}

    def find(self, text: str) -> RunFolder:
        """The one run that `text` names.

        That is a run id or its beginning (4 digits or more), or a name, `digits · softmax_eql · s0` or
        `digits/softmax_eql/0`; each also with the suite and a slash before it.

        A name means the run of the current plan; runs of earlier plans are found by their ids.

        Raises:
            InputError: no run or several runs are called so.
        """
        wanted = _squeezed(text)
        found = [run for suite, run in self._all if wanted in (run.run_id, f"{_squeezed(suite.suite)}/{run.run_id}")]
        found = found or [run for suite, run in self._all if _is_prefix(wanted, suite, run)]
        if found:
            return _only(found, text)
        for suite in _meant(self._suites, wanted):
            rest = wanted.removeprefix(f"{_squeezed(suite.suite)}/")
            found += [run for name, run in self._called(suite) if _squeezed(name) == rest]
        if not found:
            found = [run for suite in self._suites for name, run in self._called(suite) if _squeezed(name) == wanted]
        if not found:
            place = f"{self._storage} ({len(self._all)} runs)"
            raise InputError(f"run {text!r}: no such run in {place}{nearest(text, self._known)}")
        return _only(found, text)

    @property
    def _known(self) -> list[str]:
        names = [(suite.suite, name) for suite in self._suites for name, _ in self._called(suite)]
        called = [f"{start}{name}" for suite, name in names for start in ("", f"{suite}/")]
        return called + [run.run_id for _, run in self._all]

    @cached_property
    def _all(self) -> list[tuple[SuiteFolder, RunFolder]]:
        return [(suite, run) for suite in self._suites for run in suite.runs()]

    def _called(self, suite: SuiteFolder) -> list[tuple[str, RunFolder]]:
        """Every spelling of the name of every run of the plan."""
        if suite.suite not in self._names:
            names = self._names[suite.suite] = []
            for run in map(suite.run, suite.read_plan()):
                if labels := _labels(run):
                    task, loss, seed = labels
                    spellings = (f"{task} · {loss} · s{seed}", f"{task}/{loss}/{seed}", f"{task}/{loss}/s{seed}")
                    names += [(name, run) for name in spellings]
        return self._names[suite.suite]


def find_runs(storage: Path, text: str) -> list[RunFolder]:
    """The planned runs of what `text` names, in the plan's order, or the one run that it names (`find_run`).

    That is a suite, `suite/task`, `suite/task/loss`, `task` or `task/loss`. Runs that never started are left out.

    Raises:
        InputError: nothing or several things are called so, or nothing of it has started.
    """
    wanted = _squeezed(text)
    found: dict[str, list[RunFolder]] = {}
    suites = _fetched(storage)
    for suite in _meant(suites, wanted) or suites:
        for run in map(suite.run, suite.read_plan()):
            if labels := _labels(run):
                task = _squeezed(labels[0])
                ends = ("", task, f"{task}/{_squeezed(labels[1])}")
                names = {f"{_squeezed(suite.suite)}/{end}".rstrip("/") for end in ends} | set(ends[1:])
                if wanted in names:
                    found.setdefault(suite.suite, []).append(run)
    if not found:
        return [find_run(storage, text)]
    found = {suite: runs for suite, runs in found.items() if not suite.endswith(f"/{SWEEPS}")} or found
    if len(found) > 1 and wanted not in map(_squeezed, found):
        choices = ", ".join(f"{suite}/{wanted}" for suite in found)
        raise InputError(f"runs {text!r}: runs of {len(found)} suites are called so; expected one of {choices}")
    chosen = next((runs for suite, runs in found.items() if _squeezed(suite) == wanted), next(iter(found.values())))
    if not (started := [run for run in chosen if run.events_file.exists()]):
        raise InputError(f"runs {text!r}: none of {len(chosen)} runs has recorded anything")
    return started


def _fetched(storage: Path) -> list[SuiteFolder]:
    """Every suite, with what is new of it behind a URI."""
    suites = suites_in(storage)
    for suite in suites:
        fetch_suite(suite.path)
    return suites


def _is_prefix(wanted: str, suite: SuiteFolder, run: RunFolder) -> bool:
    prefix = wanted.removeprefix(f"{_squeezed(suite.suite)}/")
    return len(prefix) >= SHORTEST_PREFIX and run.run_id.startswith(prefix)


def _meant(suites: list[SuiteFolder], wanted: str) -> list[SuiteFolder]:
    """Those that a squeezed name begins with."""
    return [suite for suite in suites if f"{wanted}/".startswith(f"{_squeezed(suite.suite)}/")]


def _labels(run: RunFolder) -> tuple[str, str, int] | None:
    """Task, loss and seed of a run, from its result where it has one, which takes a fraction of the time."""
    with contextlib.suppress(InputError):
        result = run.read_result()
        fields = (result or {}).get("spec")
        if isinstance(fields, dict) and {"task_label", "loss_label", "seed"} <= fields.keys():
            return str(fields["task_label"]), str(fields["loss_label"]), fields["seed"]
    with contextlib.suppress(InputError):
        spec = read_spec(run)
        return spec.task_label, spec.loss_label, spec.seed
    return None


def suite_of(run: RunFolder) -> str:
    """The suite or sweep (`<name>/sweeps`) that a run's folder is in."""
    return "/".join(run.path.parts[-2 - (run.path.parent.name == SWEEPS) : -1])


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _only(found: list[RunFolder], text: str) -> RunFolder:
    """The one that was found; a suite's run goes before trials of sweeps that are called the same."""
    found = [run for run in found if run.path.parent.name != SWEEPS] or found
    if len(found) > 1:
        choices = ", ".join(f"{suite_of(run)}/{run.run_id}" for run in found)
        raise InputError(f"run {text!r}: {len(found)} runs are called so; expected one of {choices}")
    return found[0]
