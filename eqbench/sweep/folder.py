"""The folder of the sweeps of one name.

    <storage>/<name>/sweeps/           SuiteFolder; MLflow's experiment <name>/sweeps
        sweep.json                     the sweep of the last `eqbench sweep`: its section, its digest, its budget
        trials.jsonl                   one line per trial, written before it starts: number, kind, values, runs
        plots/, best.yaml              made of these at the end
        <run_id>/                      RunFolder of each run of each trial

A sweep whose space or recipe was changed has another digest and starts from number 0; the runs that both have in common
are trained once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eqbench.errors import InputError, nearest
from eqbench.run_folder import SuiteFolder, write_atomically
from eqbench.run_spec import RunSpec
from eqbench.storage import fetch_plans, fetch_suite
from eqbench.sweep.record import Entry, Results, Trial, trial_of

FOLDER = "sweeps"


class SweepFolder(SuiteFolder):
    """The folder of the sweeps of one name."""

    def __init__(self, storage: Path, name: str) -> None:
        super().__init__(storage, f"{name}/{FOLDER}")
        self.trials_file = self.path / "trials.jsonl"
        self.sweep_file = self.path / "sweep.json"

    @property
    def plots(self) -> Path:
        """Pictures and the page."""
        return self.path / "plots"

    @property
    def page(self) -> Path:
        return self.plots / "sweep.html"

    @property
    def best_file(self) -> Path:
        """The best setting as a suite."""
        return self.path / "best.yaml"

    def plan_runs(self, entry: Entry, specs: Sequence[RunSpec]) -> None:
        """Add the runs of a trial to the plan, and write down those that have not finished."""
        tags = {"eqbench.trial": entry.number if entry.kind == "proposed" else entry.kind, "eqbench.sweep": entry.sweep}
        for spec in specs:
            run = self.run(spec.run_id)
            if not run.finished:
                run.write_spec(spec)
            write_atomically(run.path / "tags.json", json.dumps(tags))
        run_ids = list(dict.fromkeys([*self.read_plan(), *(spec.run_id for spec in specs)]))
        write_atomically(self.plan_file, json.dumps({"suite": self.suite, "run_ids": run_ids}, indent=1) + "\n")

    def add(self, entry: Entry) -> None:
        """Append a line, on one of its own also where a crash has cut off the line before."""
        line = json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with self.trials_file.open("a+b") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def entries(self, sweep: str | None = None) -> list[Entry]:
        """The trials of the sweep with this digest, or of all; the newest line of each, by number."""
        found: dict[tuple[str, int], Entry] = {}
        lines = self.trials_file.read_bytes().split(b"\n") if self.trials_file.exists() else []
        for line in lines:
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):  # cut off by a crash
                continue
            if sweep in (None, entry.sweep):
                found[entry.sweep, entry.number] = entry
        return sorted(found.values(), key=lambda entry: entry.number)

    def write_sweep(self, description: Mapping[str, Any]) -> None:
        """Remember which sweep is being run: `section`, `digest`, `name`, `task`, `loss`, `epochs`, `seeds`."""
        write_atomically(self.sweep_file, json.dumps(description, indent=1, ensure_ascii=False) + "\n")

    def results(self) -> Results:
        """Everything that is known of the sweep that was run last.

        Raises:
            InputError: none was run here.
        """
        from eqbench.sweep.schema import section_from_data

        try:
            stored = json.loads(self.sweep_file.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: no sweep has been run here (there is no {self.sweep_file.name})") from error
        return Results(
            name=stored["name"],
            task=stored["task"],
            loss=stored["loss"],
            section=section_from_data(stored["section"]),
            trials=tuple(self.trial(entry) for entry in self.entries(stored["digest"])),
            epochs=stored["epochs"],
            seeds=tuple(stored["seeds"]),
        )

    def trial(self, entry: Entry) -> Trial:
        """What has become of the runs of a trial."""
        return trial_of(entry, [self.run(run_id) for run_id in entry.run_ids])


def find_sweep_folder(storage: Path, sweep: str) -> SweepFolder:
    """The folder of a sweep that has been run into `storage`, by its name or file.

    Raises:
        InputError: it has not been run there; names the nearest that has.
    """
    name = sweep
    if sweep.endswith((".yaml", ".yml")):
        from eqbench.sweep.definition import load_sweep

        name = load_sweep(sweep).name
    name = name.removesuffix(f"/{FOLDER}")
    fetch_plans(storage)
    known = [path.parents[1].name for path in sorted(Path(storage).glob(f"*/{FOLDER}/sweep.json"))]
    if name not in known:
        has = ", ".join(known) or "none"
        raise InputError(f"{sweep}: no such sweep has been run into {storage} (there: {has}){nearest(name, known)}")
    folder = SweepFolder(storage, name)
    fetch_suite(folder.path)
    return folder
