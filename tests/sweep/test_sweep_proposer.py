"""What is proposed after what, and told to whom, without Ray: runs end by writing their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_suites

from eqbench.run_folder import RunFolder
from eqbench.run_result import unsuccessful_result
from eqbench.run_spec import RunSpec
from eqbench.sweep import schedulers, search
from eqbench.sweep.definition import Sweep, load_sweep
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.proposer import Proposer
from eqbench.sweep.record import BASELINE, DEFAULT
from eqbench.sweep.search.base import Outcome

SECTION = {
    "space": {"loss.tau": [0.5, 1, 2]},
    "search": "grid",
    "objective": {"maximize": "val/top1", "subject_to": "val/many >= baseline - 5"},
}


class Driver:
    """A proposer and what it told its search, in a folder that others before it may have worked in."""

    def __init__(self, file: Path, *overrides: str, **options: Any) -> None:
        self.sweep: Sweep = load_sweep(file, overrides)
        self.folder = SweepFolder(file.parent / "runs", self.sweep.name)
        self.folder.create()
        self.told: dict[int, Outcome] = {}
        section = self.sweep.section
        found = search.build(section.search, section.space, section.objective, 1)
        tell = found.tell

        def heard(number: int, values: dict[str, Any], outcome: Outcome) -> None:
            self.told[number] = outcome
            tell(number, values, outcome)

        found.tell = heard  # type: ignore[method-assign, assignment]
        scheduler = schedulers.build(section.scheduler, section.objective.goals[0], self.sweep.epochs)
        self.proposer = Proposer(self.sweep, self.folder, found, scheduler, {}, **options)

    def next(self) -> RunSpec | None:
        """The run that is handed out next."""
        config = self.proposer.suggest(f"trial-{len(self.proposer.specs)}")
        return self.proposer.specs[config["run"]] if isinstance(config, dict) else None

    def end(self, spec: RunSpec, status: str = "finished", **metrics: float) -> None:
        """Let a run end with these numbers."""
        run = RunFolder(self.folder.run(spec.run_id).path)
        run.start_attempt()
        run.append_event(spec.budget.iterations, spec.budget.samples, {f"val/{k}": v for k, v in metrics.items()})
        result = unsuccessful_result(spec, run, status, "") | {"metrics": metrics, "main_metric": next(iter(metrics))}
        run.write_result(result)
        self.proposer.ended(run, spec, result)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = small_suites.suite(name="grid", losses=["cross_entropy", "softmax_eql"])
    return small_suites.write(tmp_path / "grid.yaml", {**data, "sweep": SECTION})


def test_baseline_and_default_come_first_and_what_repeats_them_is_no_trial(file: Path) -> None:
    driver = Driver(file)
    handed = []
    while spec := driver.next():
        handed.append(spec.loss_label)
    assert handed == ["cross_entropy", "softmax_eql", "softmax_eql(tau=0.5)", "softmax_eql(tau=2)"]
    assert [entry.number for entry in driver.folder.entries()] == [BASELINE, DEFAULT, 0, 1]


def test_nothing_is_judged_before_the_whole_baseline_has_ended(file: Path) -> None:
    driver = Driver(file, "seeds=[0, 1]")
    runs = [driver.next() for _ in range(4)]
    baseline, default = runs[:2], runs[2:]
    for spec in default:
        assert spec
        driver.end(spec, top1=60, many=50)
    assert baseline[0]
    driver.end(baseline[0], top1=10, many=10)
    assert driver.told == {}
    assert baseline[1]
    driver.end(baseline[1], top1=70, many=90)
    assert driver.told[DEFAULT].violation == 0  # 50 against a mean of 50 - 5


def test_without_a_finished_baseline_a_constraint_cannot_be_judged(file: Path) -> None:
    driver = Driver(file)
    baseline, default = driver.next(), driver.next()
    assert baseline
    assert default
    driver.end(baseline, "failed", top1=10, many=10)
    driver.end(default, top1=60, many=50)
    assert driver.told[DEFAULT].violation != driver.told[DEFAULT].violation  # NaN: not known
    assert "the baseline has failed" in driver.proposer.note


def test_another_baseline_replaces_the_first(file: Path) -> None:
    driver = Driver(file)
    first = driver.next()
    assert first
    driver.end(first, top1=50, many=50)
    second = Driver(file, "losses=[focal, softmax_eql]")
    handed = [spec.loss_label for _ in range(2) if (spec := second.next())]
    assert handed == ["focal", "softmax_eql"]
    entries = {entry.number: entry for entry in second.folder.entries(second.sweep.digest)}
    assert entries[BASELINE].run_ids != [first.run_id]


def test_what_has_ended_is_not_handed_out_again(file: Path) -> None:
    driver = Driver(file)
    while spec := driver.next():
        driver.end(spec, "failed" if "0.5" in spec.loss_label else "finished", top1=50, many=50)
    again = Driver(file)
    assert again.proposer.queued == []
    assert again.told.keys() == {DEFAULT, 0, 1}
    retried = Driver(file, retry_failed=True)
    again_handed = [retried.next(), retried.next()]
    assert [spec.loss_label if spec else None for spec in again_handed] == ["softmax_eql(tau=0.5)", None]


def test_a_setting_that_cannot_be_built_is_a_failed_trial(file: Path) -> None:
    driver = Driver(file)
    build = driver.sweep.specs

    def specs(values: Any, number: int) -> list[RunSpec]:
        if values["loss.tau"] == 0.5:
            from eqbench.errors import InputError

            raise InputError("no such thing")
        return build(values, number)

    driver.sweep.specs = specs  # type: ignore[method-assign]
    handed = []
    while spec := driver.next():
        handed.append(spec.loss_label)
        driver.end(spec, top1=50, many=50)
    assert handed == ["cross_entropy", "softmax_eql", "softmax_eql(tau=2)"]
    assert driver.told[0].state == "failed"
    assert driver.folder.trial(driver.folder.entries()[2]).detail == "no such thing"


def test_a_population_is_another_sweep(file: Path) -> None:
    pbt = "sweep.scheduler={name: pbt, every_epochs: 1}"
    plain = load_sweep(file, ["sweep.search=random", "sweep.trials=3", "train.epochs=4"])
    members = load_sweep(file, ["sweep.search=random", "sweep.trials=3", "train.epochs=4", pbt])
    asha = load_sweep(file, ["sweep.search=random", "sweep.trials=3", "train.epochs=4", "sweep.scheduler=asha"])
    assert plain.digest == asha.digest != members.digest


# -- Ray Tune gives up -------------------------------------------------------------------------------------------


def test_a_process_that_the_memory_monitor_ends_costs_its_run_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Tune raises on it, whatever else it trains; the sweep goes on, and a run that is hit each time fails."""
    import contextlib

    from ray.exceptions import OutOfMemoryError
    from rich.console import Console

    from eqbench import cluster
    from eqbench.sweep import conclusion, driver, tuning

    def tune(what: driver.Search, proposer: Proposer, *_: Any) -> None:
        while isinstance(config := proposer.suggest(f"trial-{len(proposer.specs)}"), dict):
            spec = proposer.specs[config["run"]]
            run = what.folder.run(spec.run_id)
            run.start_attempt()
            if "tau=2" in spec.loss_label:
                raise RuntimeError("Caught unexpected exception") from OutOfMemoryError("1 worker was killed")
            run.append_event(spec.budget.iterations, spec.budget.samples, {"val/top1": 50.0, "val/many": 50.0})
            result = unsuccessful_result(spec, run, "finished", "") | {"metrics": {"top1": 50.0}}
            run.write_result(result)
            proposer.ended(run, spec, result)

    monkeypatch.setattr(cluster, "connected", lambda verbose: contextlib.nullcontext())
    monkeypatch.setattr(cluster, "room_for", lambda *_: 2)
    monkeypatch.setattr(tuning, "tune_runs", tune)
    monkeypatch.setattr(conclusion, "write", lambda *_: [])
    what = driver.Search(load_sweep(file), file.parent / "runs", mlflow=False)
    outcome = driver.launch(what, Console(quiet=True))
    found = {trial.name: (trial.status, trial.detail) for trial in outcome.results.trials}
    assert found.pop("trial 1")[0] == "failed"
    assert {status for status, _ in found.values()} == {"finished"}
    lost = outcome.results.trials[-1]
    assert lost.detail.startswith("Ray has ended a trial's process: out of memory: a node ran low")
    assert what.folder.run(lost.run_ids[0]).attempts == 3
