"""A run by what a user calls it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from eqbench.errors import InputError, nearest
from eqbench.leaderboard.results import read_spec
from eqbench.run_folder import RunFolder, SuiteFolder, suites_in

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
    return SuiteFolder(storage, name)


def find_run(storage: Path, text: str) -> RunFolder:
    """The one run that `text` names.

    That is a run id or its beginning (4 digits or more), or a name, `digits · softmax_eql · s0` or
    `digits/softmax_eql/0`; each also with the suite and a slash before it.

    A name means the run of the current plan; runs of earlier plans are found by their ids.

    Raises:
        InputError: no run or several runs are called so.
    """
    suites = suites_in(storage)
    runs = [(suite, run) for suite in suites for run in suite.runs()]
    wanted = _squeezed(text)
    found = [run for suite, run in runs if wanted in (run.run_id, f"{_squeezed(suite.suite)}/{run.run_id}")]
    found = found or [run for suite, run in runs if _is_prefix(wanted, suite, run)]
    if found:
        return _only(found, text)
    called = [(name, run) for suite in suites for name, run in _names(suite)]
    found = [run for name, run in called if _squeezed(name) == wanted]
    if found:
        return _only(found, text)
    known = [name for name, _ in called] + [run.run_id for _, run in runs]
    raise InputError(f"run {text!r}: no such run in {storage} ({len(runs)} runs){nearest(text, known)}")


def find_runs(storage: Path, text: str) -> list[RunFolder]:
    """The planned runs of what `text` names, in the plan's order, or the one run that it names (`find_run`).

    That is a suite, `suite/task`, `suite/task/loss`, `task` or `task/loss`. Runs that never started are left out.

    Raises:
        InputError: nothing or several things are called so, or nothing of it has started.
    """
    wanted = _squeezed(text)
    found: dict[str, list[RunFolder]] = {}
    suites = suites_in(storage)
    named = [suite for suite in suites if f"{wanted}/".startswith(f"{_squeezed(suite.suite)}/")]
    for suite in named or suites:
        for run in map(suite.run, suite.read_plan()):
            with contextlib.suppress(InputError):
                spec = read_spec(run)
                task = f"{_squeezed(spec.task_label)}"
                ends = ("", task, f"{task}/{_squeezed(spec.loss_label)}")
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


def _is_prefix(wanted: str, suite: SuiteFolder, run: RunFolder) -> bool:
    prefix = wanted.removeprefix(f"{_squeezed(suite.suite)}/")
    return len(prefix) >= SHORTEST_PREFIX and run.run_id.startswith(prefix)


def _names(suite: SuiteFolder) -> list[tuple[str, RunFolder]]:
    """Every spelling of the name of every run of the plan."""
    names = []
    for run in map(suite.run, suite.read_plan()):
        with contextlib.suppress(InputError):
            spec = read_spec(run)
            path = f"{spec.task_label}/{spec.loss_label}"
            spellings = (spec.name, f"{path}/{spec.seed}", f"{path}/s{spec.seed}")
            names += [(f"{start}{name}", run) for start in ("", f"{suite.suite}/") for name in spellings]
    return names


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _only(found: list[RunFolder], text: str) -> RunFolder:
    """The one that was found; a suite's run goes before trials of sweeps that are called the same."""
    found = [run for run in found if run.path.parent.name != SWEEPS] or found
    if len(found) > 1:
        choices = ", ".join("/".join(run.path.parts[-2 - (run.path.parent.name == SWEEPS) :]) for run in found)
        raise InputError(f"run {text!r}: {len(found)} runs are called so; expected one of {choices}")
    return found[0]
