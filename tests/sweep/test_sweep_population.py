"""Population based training without processes of Ray: who takes from whom, what moves, who waits, what is refused."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import invented_sweeps
import pytest
import small_suites
import torch

from eqbench import value_schedule
from eqbench.checkpoint import Checkpoints
from eqbench.errors import InputError
from eqbench.member import train_member
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.sweep.definition import Sweep, load_sweep
from eqbench.sweep.folder import SweepFolder
from eqbench.sweep.objective import Goal
from eqbench.sweep.plots import population as figures
from eqbench.sweep.population import within
from eqbench.sweep.population_decision import Decisions, Exploit, Standing, decide
from eqbench.sweep.report import summary
from eqbench.sweep.schema import SchedulerConfig
from eqbench.sweep.space import Parameter, Space
from eqbench.sweep.standings import Standings
from eqbench.trainer import Trainer
from eqbench.value_schedule import Segment

SPACE = Space(
    (
        Parameter("loss.tau", "uniform", 0.5, 3),
        Parameter("train.optimizer.lr", "loguniform", 1e-3, 1),
        Parameter("loss.size", "integer", 2, 9),
        Parameter("loss.eps", "grid", values=(1e-4, 1e-3, 1e-2)),
        Parameter("loss.indicator", "choice", values=("positive", "all")),
    )
)
VALUES = {"loss.tau": 2.9, "train.optimizer.lr": 0.1, "loss.size": 5, "loss.eps": 1e-3, "loss.indicator": "all"}
TOP1, LOSS = Goal("val/top1", True), Goal("train/loss", False)


def standings(*scores: float | None) -> list[Standing]:
    """Members a, b, … that have trained 20 iterations."""
    return [Standing("abcdefgh"[at], score, VALUES, 20) for at, score in enumerate(scores)]


def config(**options: Any) -> SchedulerConfig:
    return SchedulerConfig("pbt", options)


def pairs(exploits: list[Exploit]) -> dict[str, str]:
    return {each.member: each.donor for each in exploits}


# -- who takes from whom, with which values ----------------------------------------------------------------------


def test_the_worst_take_from_the_best() -> None:
    members = standings(1, 2, 3, 4, 5, 6, 7, 8)
    for epoch in range(20):
        found = pairs(decide(members, SPACE, config(), TOP1, 0, epoch))
        assert set(found) == {"a", "b"}
        assert set(found.values()) <= {"g", "h"}
    half = pairs(decide(members, SPACE, config(quantile=0.5), TOP1, 0, 1))
    assert set(half) == set("abcd")
    least = pairs(decide(members, SPACE, config(), LOSS, 0, 1))
    assert set(least) == {"g", "h"}


def test_members_without_a_score_neither_give_nor_take() -> None:
    found = pairs(decide(standings(None, math.nan, 1, 5, math.inf), SPACE, config(quantile=0.5), TOP1, 0, 3))
    assert found == {"c": "d"}
    for few in (standings(), standings(4), standings(None, 4)):
        assert decide(few, SPACE, config(), TOP1, 0, 3) == []


def test_a_decision_depends_on_seed_epoch_and_scores_alone() -> None:
    members = standings(1, 2, 3, 4)
    random.seed(5)
    before = random.getstate()
    first = decide(members, SPACE, config(), TOP1, 0, 3)
    assert random.getstate() == before
    random.seed(6)
    assert decide(members[::-1], SPACE, config(), TOP1, 0, 3) == first
    assert decide(members, SPACE, config(), TOP1, 1, 3) != first
    assert decide(members, SPACE, config(), TOP1, 0, 6) != first


@pytest.mark.parametrize("resample_probability", [0.0, 0.25, 1.0])
def test_new_values_are_near_the_donors_or_drawn_anew_and_always_in_the_space(resample_probability: float) -> None:
    seen: dict[str, set[Any]] = {path: set() for path in SPACE.paths}
    for epoch in range(100):
        options = config(resample_probability=resample_probability)
        [exploit] = decide(standings(1, 2, 3, 4), SPACE, options, TOP1, 0, epoch)
        assert (exploit.donor, exploit.iteration) == ("d", 20)
        assert SPACE.contains(exploit.values)
        for path, value in exploit.values.items():
            assert type(value) is type(VALUES[path])
            seen[path].add(value)
    if resample_probability == 0:
        assert sorted(seen["loss.tau"]) == pytest.approx([2.9 * 0.8, 3.0])
        assert sorted(seen["train.optimizer.lr"]) == pytest.approx([0.08, 0.12])
        assert seen["loss.size"] == {4, 6}
        assert seen["loss.eps"] == {1e-4, 1e-2}
    else:
        assert min(len(seen[path]) for path in ("loss.tau", "train.optimizer.lr")) > 10
    assert seen["loss.indicator"] == {"positive", "all"}


def test_values_are_brought_back_into_their_range() -> None:
    assert within(SPACE["loss.tau"], 3.4) == 3.0
    assert within(SPACE["train.optimizer.lr"], 1e-4) == 1e-3
    assert within(SPACE["loss.size"], 11) == 9
    assert within(Parameter("loss.size", "integer", 2.5, 9.5), 1) in (2, 3)
    assert within(SPACE["loss.indicator"], "all") == "all"


# -- identity, values in force -----------------------------------------------------------------------------------


def sweep(folder: Path, section: Mapping[str, Any] | None = None, **changes: Any) -> Sweep:
    data = small_suites.suite(**changes)
    data["train"] = {"epochs": 4, "batch_size": 32, "deterministic": True, "evaluate_every_epochs": 1}
    data["train"] |= changes.get("train", {})
    data["sweep"] = {
        "space": {"loss.tau": {"uniform": [0.5, 3]}, "train.lr": {"loguniform": [1e-3, 0.3]}},
        "trials": 4,
        "scheduler": {"name": "pbt", "every_epochs": 1},
        "objective": {"maximize": "val/top1"},
        **(section or {}),
    }
    return load_sweep(small_suites.write(folder / "small.yaml", data))


def test_a_member_is_a_run_of_its_own(tmp_path: Path) -> None:
    population = sweep(tmp_path)
    values = {"loss.tau": 1.5, "train.optimizer.lr": 0.01}
    [one], [other] = population.specs(values, 0), population.specs(values, 1)
    plain = one.model_copy(update={"population": None})
    assert len({one.run_id, other.run_id, plain.run_id}) == 3
    assert "population" not in plain.identity
    assert one.recipe == other.recipe == plain.recipe
    assert one.loss_label == "softmax_eql member 0"
    assert all(spec.population is None for spec in [*population.default_specs(), *population.baseline_specs()])
    run = RunFolder(tmp_path / one.run_id)
    run.write_spec(one)
    assert run.read_spec() == one


def test_values_in_force_are_those_of_the_last_segment(tmp_path: Path) -> None:
    [spec] = sweep(tmp_path).specs({"loss.tau": 1.5, "train.optimizer.lr": 0.01}, 0)
    run = RunFolder(tmp_path / "run")
    assert value_schedule.in_force(spec, run) is spec
    assert value_schedule.metrics(run) == {}
    value_schedule.append(run, Segment(0, {"loss.tau": 1.5, "loss.indicator": "all"}))
    value_schedule.append(
        run, Segment(11, {"loss.tau": 0.7, "train.optimizer.lr": 0.2, "loss.indicator": "all"}, "abc")
    )
    with value_schedule.file_of(run).open("a") as file:
        file.write('{"iteration": 22, "val')
    now = value_schedule.in_force(spec, run)
    assert (now.loss.params["tau"], now.loss.params["indicator"], now.train.optimizer.lr) == (0.7, "all", 0.2)
    assert (spec.loss.params["tau"], spec.train.optimizer.lr) == (1.5, 0.01)
    assert now.train.optimizer.weight_decay == spec.train.optimizer.weight_decay
    assert value_schedule.metrics(run) == {"schedule/loss.tau": 0.7, "schedule/train.optimizer.lr": 0.2}
    assert json.loads((run.path / "params.json").read_text())["final.loss.tau"] == 0.7
    value_schedule.append(run, Segment(33, {"loss.tau": 1.0}))
    assert [each.iteration for each in value_schedule.read(run)] == [0, 11, 33]
    with pytest.raises(ValueError, match=r"model\.width: expected loss\.\*"):
        value_schedule.with_values(spec, {"model.width": 8})


def test_the_options_of_an_optimizer_are_not_those_of_the_checkpoint(tmp_path: Path) -> None:
    [spec] = sweep(tmp_path).default_specs()
    changed = spec.train.optimizer.model_copy(update={"weight_decay": 0.25, "momentum": 0.5, "lr": 0.3})
    trainers = [
        Trainer(torch.nn.Linear(3, 2), train, torch.device("cpu"))
        for train in (spec.train, spec.train.model_copy(update={"optimizer": changed}))
    ]
    donor, member = trainers
    donor.model(torch.ones(1, 3)).sum().backward()
    donor.optimizer.step()
    member.load_state_dict(donor.state_dict())
    [group] = member.optimizer.param_groups
    assert (group["weight_decay"], group["momentum"], group["lr"]) == (0.25, 0.5, 0.3)
    small_suites.assert_equal_trees(member.model.state_dict(), donor.model.state_dict())
    small_suites.assert_equal_trees(member.optimizer.state_dict()["state"], donor.optimizer.state_dict()["state"])


# -- decisions on disk -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """Two members at iteration 20, `worse` and `better`, with weights of their own."""
    folder = SweepFolder(tmp_path / "runs", "small")
    folder.create()
    for weight, name in enumerate(("worse", "better")):
        run = folder.run(name)
        for iteration in (10, 20):
            state = {"model": {"w": torch.full((3,), weight + iteration / 7)}, "elapsed": 1.0 + weight}
            Checkpoints(run.checkpoints).save(iteration, state)
        value_schedule.append(run, Segment(0, {"loss.tau": float(weight)}))
    return folder


EXPLOIT = Exploit("worse", "better", 20, {"loss.tau": 1.2})
WAITING = [Standing("worse", 1.0, {"loss.tau": 0.0}, 20), Standing("better", math.nan, {"loss.tau": 1.0}, 20)]


def weights(run: RunFolder) -> Any:
    return Checkpoints(run.checkpoints).load_newest()[1]["model"]["w"]


def assert_carried_out(folder: SweepFolder) -> None:
    worse, better = folder.run("worse"), folder.run("better")
    assert torch.equal(weights(worse), weights(better))
    assert worse.newest_checkpoint == 20
    assert Checkpoints(worse.checkpoints).load(20)["elapsed"] == 1.0
    assert [each.donor for each in value_schedule.read(worse)] == [None, "better"]
    assert value_schedule.read(worse)[-1] == Segment(20, {"loss.tau": 1.2}, "better")
    assert len(value_schedule.read(better)) == 1
    assert value_schedule.compared(worse) == value_schedule.compared(better) == 20


def test_weights_move_bit_for_bit_and_once(folder: SweepFolder) -> None:
    decisions = Decisions(folder, "digest")
    assert (decisions.reached("worse"), value_schedule.compared(folder.run("worse"))) == (0.0, 0)
    decisions.make(2.0, WAITING, [EXPLOIT])
    assert_carried_out(folder)
    for _ in range(2):
        again = Decisions(folder, "digest")
        again.carry_out()
        assert_carried_out(folder)
        assert (again.reached("worse"), again.reached("better"), again.reached("other")) == (2.0, 2.0, 0.0)
    assert Decisions(folder, "another").all == []


@pytest.mark.parametrize("done", ["nothing", "weights", "half a line after it"])
def test_a_decision_that_was_cut_off_is_carried_out(
    folder: SweepFolder, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Decisions, "carry_out", lambda self: None)
        Decisions(folder, "digest").make(2.0, WAITING, [EXPLOIT])
    if done == "weights":
        state = Checkpoints(folder.run("better").checkpoints).load(20)
        Checkpoints(folder.run("worse").checkpoints).save(20, state | {"elapsed": 1.0})
    elif done != "nothing":
        with Decisions(folder, "digest").file.open("a") as file:
            file.write('{"sweep": "dig')
    after = Decisions(folder, "digest")
    after.carry_out()
    assert_carried_out(folder)
    after.make(4.0, WAITING, [])
    assert [each.epoch for each in Decisions(folder, "digest").all] == [2.0, 4.0]


def test_who_has_trained_on_is_left_alone(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Decisions, "carry_out", lambda self: None)
        Decisions(folder, "digest").make(2.0, WAITING, [EXPLOIT])
    worse = folder.run("worse")
    Checkpoints(worse.checkpoints).save(30, {"model": {"w": torch.zeros(3)}})
    Decisions(folder, "digest").carry_out()
    assert torch.equal(weights(worse), torch.zeros(3))
    assert len(value_schedule.read(worse)) == 1


def test_a_donor_whose_checkpoint_is_damaged_gives_nothing(
    folder: SweepFolder, caplog: pytest.LogCaptureFixture
) -> None:
    worse = folder.run("worse")
    own = weights(worse)
    damaged = folder.run("better").checkpoints / "000000020" / "state.pt"
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"xyz")
    Decisions(folder, "digest").make(2.0, WAITING, [EXPLOIT])
    assert torch.equal(weights(worse), own)
    assert len(value_schedule.read(worse)) == 1
    assert value_schedule.compared(worse) == 20
    assert "worse goes on with its own weights and values" in caplog.text


# -- training of a member ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process of a member ends."""


def begun(folder: Path, spec: RunSpec) -> RunFolder:
    run = RunFolder(folder / spec.run_id)
    run.write_spec(spec)
    return run


def test_a_member_waits_and_is_otherwise_an_ordinary_run(tmp_path: Path) -> None:
    from eqbench.trial import train_and_record

    values = {"loss.tau": 1.5, "train.optimizer.lr": 0.01}
    [spec] = sweep(tmp_path).specs(values, 0)
    plain, member = begun(tmp_path / "plain", spec), begun(tmp_path / "member", spec)
    assert train_and_record(plain, torch.device("cpu"), code={}) is None
    value_schedule.append(member, Segment(0, values))
    heard: list[int] = []

    def report(iteration: int) -> None:
        heard.append(iteration)
        if iteration == 22:
            with member.exclusively(patience=0.0):  # who waits holds nothing
                pass
        if heard.count(iteration) == 1 and iteration < 44:
            raise Killed  # before anyone has compared it
        value_schedule.write_compared(member, iteration)

    for _ in range(3):
        with pytest.raises(Killed):
            train_member(member, torch.device("cpu"), {}, 2, report)
    assert train_member(member, torch.device("cpu"), {}, 2, report) is None
    assert heard == [11, 22, 22, 33, 44]
    small_suites.assert_equal_bit_for_bit(member, plain)
    schedule = [
        event["metrics"]["schedule/loss.tau"] for event in member.read_events() if "train/lr" in event["metrics"]
    ]
    assert set(schedule) == {1.5}


def test_a_member_goes_on_with_what_its_folder_has(tmp_path: Path) -> None:
    [spec] = sweep(tmp_path, train={"epochs": 2}).specs({"loss.tau": 1.5, "train.optimizer.lr": 0.01}, 0)
    member = begun(tmp_path / "runs", spec)
    value_schedule.append(member, Segment(0, {"loss.tau": 1.5, "train.optimizer.lr": 0.01}))

    def report(iteration: int) -> None:
        if iteration == 11:
            value_schedule.append(member, Segment(11, {"loss.tau": 0.5, "train.optimizer.lr": 0.3}, "another"))
            value_schedule.write_compared(member, 11)

    assert train_member(member, torch.device("cpu"), {}, 1, report) is None
    records = [event for event in member.read_events() if "train/lr" in event["metrics"]]
    taus = {event["iteration"]: event["metrics"]["schedule/loss.tau"] for event in records}
    assert (taus[11], taus[12]) == (1.5, 0.5)
    assert next(event["metrics"]["train/lr"] for event in records if event["iteration"] == 12) > 0.1
    assert member.attempts == 1
    assert member.finished


# -- waiting -----------------------------------------------------------------------------------------------------


class Tune:
    """Ray Tune, as far as a scheduler sees it."""

    def __init__(self, *runs: RunFolder) -> None:
        self.trials = [SimpleNamespace(config={"run": str(run.path)}, status="PENDING") for run in runs]

    def get_trials(self) -> list[Any]:
        return self.trials

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        assert not should_checkpoint
        trial.status = "PAUSED"


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[Any, Tune, list[RunFolder]]:
    """A scheduler, Ray Tune with the default's run and three members, and the members' runs."""
    from eqbench.sweep.population_scheduler import PopulationScheduler

    population = sweep(tmp_path)
    folder = SweepFolder(tmp_path / "runs", population.name)
    folder.create()
    runs = []
    for number in range(3):
        values = {"loss.tau": 1.0 + number, "train.optimizer.lr": 0.01}
        [spec] = population.specs(values, number)
        runs.append(begun(folder.path, spec))
        value_schedule.append(runs[-1], Segment(0, values))
        Checkpoints(runs[-1].checkpoints).save(11, {"model": {"w": torch.full((2,), float(number))}})
    [default] = population.default_specs()
    scheduler = PopulationScheduler(population, folder)
    scheduler.expect(run.path for run in runs)
    return scheduler, Tune(folder.run(default.run_id), *runs), runs


def result(iteration: int, score: float | None) -> dict[str, Any]:
    scores = {} if score is None else {"val/top1": score}
    return {"iteration": iteration, "epoch": iteration / 11, "last": iteration == 44, **scores}


def test_members_wait_for_each_other(waiting: tuple[Any, Tune, list[RunFolder]]) -> None:
    scheduler, tune, runs = waiting
    default, *members = tune.trials
    default.status = members[0].status = "RUNNING"
    assert scheduler.on_trial_result(tune, default, result(11, 50.0)) == "CONTINUE"
    assert scheduler.on_trial_result(tune, members[0], result(5, 50.0)) == "CONTINUE"
    assert scheduler.on_trial_result(tune, members[0], {"ended": True}) == "CONTINUE"
    assert scheduler.on_trial_result(tune, members[0], result(11, 50.0)) == "NOOP"
    assert members[0].status == "PAUSED"
    assert scheduler.choose_trial_to_run(tune) is members[1]
    members[1].status = members[2].status = "RUNNING"
    assert scheduler.on_trial_result(tune, members[1], result(11, 60.0)) == "CONTINUE"  # its place is not needed
    assert scheduler.choose_trial_to_run(tune) is None
    assert scheduler.on_trial_result(tune, members[2], result(11, 10.0)) == "CONTINUE"
    assert scheduler.choose_trial_to_run(tune) is members[0]
    assert [value_schedule.compared(run) for run in runs] == [11, 11, 11]
    assert value_schedule.read(runs[2])[-1].donor == runs[1].run_id
    assert scheduler.on_trial_result(tune, members[2], result(11, 10.0)) == "CONTINUE"  # said again: it was decided
    assert scheduler.on_trial_result(tune, members[2], result(22, 70.0)) == "NOOP"
    assert scheduler.on_trial_result(tune, members[1], result(44, 70.0)) == "CONTINUE"


@pytest.mark.parametrize("status", ["ERROR", "TERMINATED"])
def test_members_that_have_ended_are_not_waited_for(waiting: tuple[Any, Tune, list[RunFolder]], status: str) -> None:
    scheduler, tune, runs = waiting
    _, *members = tune.trials
    for trial in tune.trials:
        trial.status = "RUNNING"
    for trial, score in zip(members[:2], (None, 60.0), strict=True):
        assert scheduler.on_trial_result(tune, trial, result(11, score)) == "CONTINUE"
    assert scheduler.choose_trial_to_run(tune) is None
    assert value_schedule.compared(runs[0]) == 0
    members[2].status = status
    scheduler.choose_trial_to_run(tune)
    assert [value_schedule.compared(run) for run in runs] == [11, 11, 0]
    scheduler.on_trial_result(tune, members[0], result(22, 1.0))
    for trial in members:
        trial.status = status
    scheduler.choose_trial_to_run(tune)
    assert scheduler.debug_string() == "pbt: 1 decisions, 1 members wait"


def test_members_that_tune_does_not_have_yet_are_waited_for(waiting: tuple[Any, Tune, list[RunFolder]]) -> None:
    scheduler, tune, runs = waiting
    absent = tune.trials.pop()
    for trial in tune.trials:
        trial.status = "RUNNING"
    for trial in tune.trials[1:]:
        assert scheduler.on_trial_result(tune, trial, result(11, 1.0)) == "NOOP"
    assert scheduler.choose_trial_to_run(tune) is None
    tune.trials.append(absent)
    assert scheduler.choose_trial_to_run(tune) is absent
    assert value_schedule.compared(runs[0]) == 0


def test_those_behind_are_compared_first(waiting: tuple[Any, Tune, list[RunFolder]]) -> None:
    scheduler, tune, runs = waiting
    _, *members = tune.trials
    for trial in tune.trials:
        trial.status = "RUNNING"
    for trial, score in zip(members, (1.0, 2.0, 3.0), strict=True):
        scheduler.on_trial_result(tune, trial, result(11, score))
    scheduler.choose_trial_to_run(tune)
    scheduler.on_trial_result(tune, members[0], result(22, 1.0))
    scheduler.on_trial_result(tune, members[1], result(33, 2.0))  # of a call that compared less often
    scheduler.choose_trial_to_run(tune)
    assert [value_schedule.compared(run) for run in runs] == [11, 11, 11]
    scheduler.on_trial_result(tune, members[2], result(22, 3.0))
    scheduler.choose_trial_to_run(tune)
    assert [value_schedule.compared(run) for run in runs] == [22, 33, 22]


# -- what a file may ask for -------------------------------------------------------------------------------------


def problems(folder: Path, section: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    """What is wrong, by key."""
    with pytest.raises(InputError) as caught:
        sweep(folder, section, **changes)
    found = [re.fullmatch(r".*small\.yaml:\d+: (\S+): (.*)", line) for line in str(caught.value).splitlines()]
    assert all(found), str(caught.value)
    return {match[1]: match[2] for match in found if match}


def test_what_cannot_change_while_a_run_is_trained(tmp_path: Path) -> None:
    names = {"choice": ["softmax_eql", "cross_entropy"]}
    space = {
        "loss.name": names,
        "model.width": {"choice": [4, 8]},
        "train.batch_size": {"integer": [16, 32]},
        "train.optimizer.name": {"choice": ["sgd", "adamw"]},
        "loss.tau": {"uniform": [0.5, 3], "when": {"loss.name": "softmax_eql"}},
        "train.lr": {"loguniform": [1e-3, 1]},
    }
    found = problems(tmp_path, {"space": space})
    cannot = "cannot change while a run is trained, as pbt needs it; expected loss.*, train.lr or train.optimizer.*"
    for path in ("loss.name", "model.width", "train.batch_size", "train.optimizer.name"):
        assert found.pop(f"sweep.space.{path}") == cannot
    assert found.pop("sweep.space.loss.tau").startswith("has a condition (when)")
    assert found == {}


def test_a_parameter_that_changes_the_shape_of_the_model(tmp_path: Path) -> None:
    section = {"space": {"loss.objectness": {"choice": [False, True]}, "loss.p": {"uniform": [0.1, 0.9]}}}
    found = problems(tmp_path, section, losses=["cross_entropy", "seesaw"])
    assert found == {
        "sweep.space.loss.objectness": "false and true give models of different shapes, and pbt moves weights between "
        "them; expected one shape"
    }


def test_what_pbt_does_not_go_with(tmp_path: Path) -> None:
    section = {"search": "optuna", "trials": 1, "scheduler": {"name": "pbt", "every_epochs": 3}}
    changes = {"train": {"evaluate_every_epochs": 2}, "resources": {"num_workers": 2, "cpus_per_worker": 1}}
    with pytest.raises(InputError) as caught:
        sweep(tmp_path, section, **changes)
    text = str(caught.value)
    assert "sweep.search: optuna learns which values are good" in text
    assert "sweep.trials: 1, expected at least 2 members" in text
    assert "pbt compares members every 3 epochs (every_epochs), train.evaluate_every_epochs is 2" in text
    assert "pbt trains a member in one process, and resources.num_workers is 2" in text
    assert sweep(tmp_path, {"scheduler": {"name": "pbt", "every_epochs": 2}}).section.scheduler.options


# -- what people look at -----------------------------------------------------------------------------------------


def test_values_over_training_are_drawn() -> None:
    one, two = {"loss.tau": 1.0, "loss.indicator": "all"}, {"loss.tau": 2.0, "loss.indicator": "positive"}
    schedule = ((0.0, one, None), (4.0, two, "00000000ffff"))
    trials = [
        invented_sweeps.trial(-1, one, {"val/few": 30.0}),
        invented_sweeps.trial(0, two, {"val/few": 31.0}, schedule=schedule),
        invented_sweeps.trial(1, one, {}, status="failed", schedule=((0.0, one, None),)),
    ]
    space = {"loss.tau": {"uniform": [0.5, 3]}, "loss.indicator": {"choice": ["positive", "all"]}}
    results = invented_sweeps.results(*trials, space=space)
    [picture] = figures.pictures(Standings(results))
    assert picture.figure is not None
    tau, indicator = picture.figure.axes[:2]
    [line] = [line for line in tau.lines if line.get_gid() == "trial:0" and line.get_drawstyle() == "steps-post"]
    assert [list(map(float, numbers)) for numbers in line.get_data()] == [[0.0, 4.0, 10.0], [1.0, 2.0, 2.0]]
    [ring] = [line for line in tau.lines if line.get_marker() == "o"]
    assert [list(map(float, numbers)) for numbers in ring.get_data()] == [[4.0], [2.0]]
    assert [label.get_text() for label in indicator.get_yticklabels()] == ["positive", "all"]
    assert any("1 times one went on from another's weights" in line for line in summary(Standings(results)))
    assert figures.pictures(Standings(invented_sweeps.searched(5))) == []
