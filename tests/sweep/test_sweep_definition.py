"""Sweep files: what they say, the runs of their settings, and what is refused before anything starts."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_suites
import yaml
from rich.console import Console
from typer.testing import CliRunner

from eqbench.errors import InputError
from eqbench.listing import listing
from eqbench.suite import load_suite
from eqbench.suite_yaml import parse
from eqbench.sweep import setting_suite
from eqbench.sweep.definition import Sweep, is_sweep, list_sweeps, load_sweep
from eqbench.sweep.schema import SearchConfig, section_as_data, section_from_data
from eqbench.sweep.setting import label

TAU = {"uniform": [0.25, 4]}
SIGMOID = {"loss.name": "sigmoid_eql"}
CONDITIONAL = {
    "loss.gamma": {"uniform": [4, 20], "when": SIGMOID},
    "loss.objectness": {"choice": [False], "when": SIGMOID},
    "loss.tau": {**TAU, "when": {"loss.name": ["softmax_eql"]}},
    "loss.name": {"choice": ["softmax_eql", "sigmoid_eql"]},
    "train.lr": {"loguniform": [1e-3, 1]},
    "model.width": {"choice": [4, 8]},
    "train.batch_size": {"integer": [16, 64]},
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def data(sweep: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    section = {"space": {"loss.tau": TAU}, "trials": 4, "objective": {"maximize": "val/few"}}
    whole = {**small_suites.suite(**changes), "sweep": {**section, **(sweep or {})}}
    return dict(json.loads(json.dumps(whole)))  # without parts in common, which YAML would write as aliases


def load(sweep: Mapping[str, Any] | None = None, *overrides: str, **changes: Any) -> Sweep:
    return load_sweep(small_suites.write(Path("small.yaml"), data(sweep, **changes)), overrides)


def problems(sweep: Mapping[str, Any] | None = None, *overrides: str, **changes: Any) -> list[str]:
    """Each problem without its file and line."""
    with pytest.raises(InputError) as caught:
        load(sweep, *overrides, **changes)
    assert "Traceback" not in str(caught.value)
    lines = str(caught.value).splitlines()
    origin = "|".join([r"small\.yaml:\d+", *(re.escape(f"-o {override}") for override in overrides)])
    found = [re.fullmatch(rf"(?:{origin}): (\S+: .*)", line) for line in lines]
    assert all(found), lines
    return [match[1] for match in found if match]


# -- what a file says --------------------------------------------------------------------------------------------


def test_a_sweep_with_everything_left_out() -> None:
    sweep = load()
    assert (sweep.name, sweep.folder_name, sweep.task_label) == ("small", "small/sweeps", "digits")
    assert (sweep.swept, sweep.baseline, sweep.seeds, sweep.epochs) == ("softmax_eql", "cross_entropy", (0,), 2.0)
    assert sweep.section.search == SearchConfig("random", 0, {})
    assert (sweep.section.scheduler.name, sweep.section.scheduler.options) == ("none", {})
    assert {"val/top1", "val/few", "train/loss"} <= set(sweep.task_metrics)
    assert sweep.default_values() == {"loss.tau": 1.0}


def test_default_and_baseline_are_runs_of_the_suite_itself() -> None:
    sweep = load(seeds=[0, 1])
    suite = {key: value for key, value in data(seeds=[0, 1]).items() if key != "sweep"}
    runs = load_suite(small_suites.write(Path("suite.yaml"), suite)).expand()
    ours = [*sweep.baseline_specs(), *sweep.default_specs()]
    assert [spec.run_id for spec in ours] == [spec.run_id for spec in runs]
    assert [spec.name for spec in ours] == [spec.name for spec in runs]
    assert {spec.suite for spec in ours} == {"small/sweeps"}


def test_the_only_loss_is_swept_and_has_no_baseline() -> None:
    sweep = load(losses=["softmax_eql"])
    assert (sweep.swept, sweep.baseline, sweep.baseline_specs()) == ("softmax_eql", None, [])


def test_another_loss_can_be_swept() -> None:
    losses = ["cross_entropy", {"name": "softmax_eql", "label": "ours"}, "focal"]
    assert load(losses=losses, sweep={"loss": "ours"}).swept == "ours"
    focal = load({"space": {"loss.loss_weight": TAU}}, losses=losses)
    assert (focal.swept, focal.baseline) == ("focal", "cross_entropy")
    assert focal.specs({"loss.loss_weight": 2.0}, 0)[0].loss.name == "focal"


def test_a_task_s_own_losses_seeds_and_training_count() -> None:
    own = {"losses": ["focal", "softmax_eql"], "seeds": [5], "train": {"epochs": 3}}
    sweep = load(tasks=[small_suites.task(**own)])
    assert (sweep.baseline, sweep.seeds, sweep.epochs) == ("focal", (5,), 3.0)
    (spec,) = sweep.specs({"loss.tau": 2.0, "train.optimizer.lr": 0.3}, 0)
    assert (spec.train.epochs, spec.train.batch_size, spec.train.optimizer.lr) == (3, 32, 0.3)


def test_overrides_reach_suite_and_sweep() -> None:
    sweep = load(None, "train.epochs=3", "sweep.trials=9", "sweep.space.loss.tau={grid: [3, 1]}", "sweep.search=grid")
    assert (sweep.epochs, sweep.section.trials) == (3.0, 9)
    assert sweep.section.space["loss.tau"].values == (1, 3)
    assert sweep.text.endswith("\n# -o train.epochs=3\n# -o sweep.trials=9\n# -o sweep.space.loss.tau={grid: [3, 1]}\n"
                               "# -o sweep.search=grid")  # fmt: skip


def test_an_override_changes_a_part_of_a_parameter_or_adds_one() -> None:
    space = {"loss.tau": TAU, "train.lr": {"loguniform": [0.1, 1]}}
    changes = (
        "sweep.space.loss.tau.uniform=[1, 2]",
        "sweep.space.train.optimizer.lr=[0.1, 0.2]",
        "sweep.space.loss.indicator={choice: [positive, both]}",
        "sweep.space.loss.eps.grid=[1e-4, 1e-5]",
        "sweep.space.loss.eps.when={loss.indicator: both}",
    )
    found = {each.path: each.describe() for each in load({"space": space}, *changes).section.space.parameters}
    assert found == {
        "loss.tau": "uniform 1 to 2",
        "train.optimizer.lr": "grid 0.1, 0.2",
        "loss.indicator": "one of positive, both",
        "loss.eps": "grid 1e-05, 0.0001 when loss.indicator is both",
    }


def test_a_list_is_a_grid_in_rising_order_and_parents_come_first() -> None:
    space = load({"space": {**CONDITIONAL, "train.clip_norm": [35, 1, 5.5]}}).section.space
    assert space["train.clip_norm"].values == (1, 5.5, 35)
    paths = list(space.paths)
    assert paths.index("loss.name") < min(paths.index("loss.gamma"), paths.index("loss.tau"))
    assert space["loss.gamma"].when == {"loss.name": ("sigmoid_eql",)}


@pytest.mark.parametrize(
    "sweep",
    [
        {},
        {"space": CONDITIONAL, "search": {"name": "optuna", "seed": 3, "sampler": "nsgaii"}},
        {"scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3}, "loss": "softmax_eql"},
        {"space": {"loss.tau": [1, 2.5]}, "search": "grid", "trials": None},
        {
            "objective": [
                {"maximize": "val/few", "subject_to": ["val/many >= baseline - 0.5", "train/loss<=1e-3"]},
                {"minimize": "val/worst", "subject_to": "val/top1 >= -1.5"},
            ]
        },
    ],
)
def test_a_section_goes_to_plain_data_and_back(sweep: dict[str, Any]) -> None:
    section = load(sweep).section
    assert section_from_data(json.loads(json.dumps(section_as_data(section)))) == section


def test_plain_data_that_are_no_section_are_refused() -> None:
    with pytest.raises(InputError, match=r"sweep\.space: missing"):
        section_from_data({"trials": 3, "objective": {"maximize": "val/few"}})


# -- settings ----------------------------------------------------------------------------------------------------


def test_the_default_s_values_give_the_default_s_runs() -> None:
    sweep = load({"space": CONDITIONAL}, seeds=[3, 4])
    values = sweep.default_values()
    assert values == {
        "loss.name": "softmax_eql",
        "loss.tau": 1.0,
        "train.optimizer.lr": 0.1,
        "model.width": 4,
        "train.batch_size": 32,
    }
    assert sweep.is_default(values)
    assert not sweep.is_default({**values, "loss.tau": 2.0})
    assert [spec.run_id for spec in sweep.specs(values, 0)] == [spec.run_id for spec in sweep.default_specs()]


def test_values_reach_loss_training_model_data_and_task() -> None:
    values: dict[str, Any] = {
        "loss.tau": 1.53123,
        "loss.indicator": "both",
        "train.schedule.warmup.iterations": 3,
        "train.optimizer.lr": 0.25,
        "model.width": 8,
        "data.imbalance_factor": 20.0,
    }
    (spec,) = load().specs(values, 7)
    assert (spec.loss.params["tau"], spec.loss.params["indicator"]) == (1.53123, "both")
    assert (spec.train.optimizer.lr, spec.train.schedule.warmup.iterations) == (0.25, 3)
    assert (spec.model.params["width"], spec.data.params["imbalance_factor"]) == (8, 20.0)
    assert (
        spec.loss_label == "softmax_eql(tau=1.531, indicator=both, iterations=3, lr=0.25, width=8, imbalance_factor=20)"
    )


def test_another_name_leaves_behind_what_belonged_to_the_old_one() -> None:
    losses = ["cross_entropy", {"name": "softmax_eql", "eps": 1e-3}]
    train = {"epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.5}}
    sweep = load(losses=losses, train=train)
    (same,) = sweep.specs({"loss.name": "softmax_eql", "train.optimizer.name": "sgd"}, 0)
    assert same.run_id == sweep.default_specs()[0].run_id
    (other,) = sweep.specs({"loss.scale_factor": 2.0, "loss.name": "efl", "train.optimizer.name": "adamw"}, 0)
    assert (other.loss.name, other.loss.params["scale_factor"], other.train.optimizer.lr) == ("efl", 2.0, 1e-3)
    assert other.loss_label == "efl(scale_factor=2, optimizer=adamw)"


def test_labels() -> None:
    assert label("ours", {}, 0) == "ours"
    assert label("ours", {"loss.lr": 1, "train.optimizer.lr": 1e5}, 0) == "ours(loss.lr=1, train.optimizer.lr=1e05)"
    assert label("a", {"loss.b": "größe/ü", "loss.c": None, "loss.d": True}, 0) == "a(b=gr__e__, c=null, d=true)"
    long = label("ours", {f"loss.{'x' * 30}{i}": 1 for i in range(4)}, 12)
    assert long == "ours trial 12"
    assert len(label("o" * 100, {"loss.tau": 1}, 100_000)) <= 100


def test_every_drawn_setting_of_a_conditional_space_is_a_run_of_its_own() -> None:
    sweep = load({"space": CONDITIONAL}, seeds=[0, 1])
    generator = np.random.default_rng(0)
    settings = [sweep.section.space.draw(generator) for _ in range(20)]
    runs = [[spec.run_id for spec in sweep.specs(values, number)] for number, values in enumerate(settings)]
    assert all(len(ids) == 2 for ids in runs)
    assert len({run_id for ids in runs for run_id in ids}) == 40
    assert {values["loss.name"] for values in settings} == {"softmax_eql", "sigmoid_eql"}


def test_a_setting_that_cannot_be_built_is_named() -> None:
    with pytest.raises(InputError) as caught:
        load().specs({"loss.tau": -1.0, "train.batch_size": 16}, 0)
    assert str(caught.value) == (
        "small.yaml: the setting loss.tau -1, train.batch_size 16 cannot be built: "
        "loss: softmax_eql: tau: -1.0: expected a finite number >= 0"
    )


def test_data_are_constructed_once_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench import plugins

    constructed: list[str] = []
    construct = plugins.construct
    monkeypatch.setattr(
        plugins, "construct", lambda kind, *args, **more: constructed.append(kind) or construct(kind, *args, **more)
    )
    sweep = load()
    for tau in range(1, 6):
        sweep.specs({"loss.tau": tau}, 0)
    assert constructed.count("dataset") == 1
    for factor in range(10, 20):
        sweep.specs({"data.imbalance_factor": float(factor)}, 0)
    assert constructed.count("dataset") == 11
    sweep.specs({"loss.tau": 9}, 0)
    assert constructed.count("dataset") == 11
    assert len(sweep._datasets) <= 4


# -- digest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"sweep": {"trials": 99}}, True),
        ({"sweep": {"search": {"name": "optuna", "seed": 3}, "scheduler": "asha"}}, True),
        ({"sweep": {"objective": [{"maximize": "val/few"}, {"maximize": "val/many"}]}}, True),
        ({"losses": ["focal", "softmax_eql"]}, True),
        ({"sweep": {"space": {"loss.tau": {"uniform": [0.25, 5]}}}}, False),
        ({"sweep": {"space": {"loss.tau": TAU, "train.lr": [1, 2]}}}, False),
        ({"train": {"epochs": 3, "batch_size": 32, "deterministic": True}}, False),
        ({"seeds": [1]}, False),
        ({"losses": ["cross_entropy", {"name": "softmax_eql", "eps": 1e-3}]}, False),
    ],
)
def test_digest_is_that_of_recipe_and_space(changes: dict[str, Any], same: bool) -> None:
    first, second = load(), load(**changes)
    assert (first.digest == second.digest) is same
    assert len(first.digest) == 12


def test_digest_does_not_depend_on_the_order_of_seeds_or_parameters() -> None:
    space = {"loss.tau": TAU, "train.lr": [0.1, 0.2]}
    first = load({"space": space}, seeds=[0, 1])
    second = load({"space": dict(reversed(space.items()))}, seeds=[1, 0])
    assert first.digest == second.digest


def test_description_is_plain_data_that_holds_the_section() -> None:
    sweep = load({"space": CONDITIONAL})
    description = json.loads(json.dumps(sweep.description()))
    assert section_from_data(description.pop("section")) == sweep.section
    assert description == {
        "name": "small",
        "digest": sweep.digest,
        "task": "digits",
        "loss": "softmax_eql",
        "baseline": "cross_entropy",
        "epochs": 2.0,
        "seeds": [0],
    }


# -- the best setting as a suite ---------------------------------------------------------------------------------


def suite_of(sweep: Sweep, values: Any, seeds: list[int]) -> dict[tuple[str, str, int], str]:
    """Runs of the setting file, by task, loss and seed."""
    Path("best.yaml").write_text(f"# Question: better?\n\n{sweep.setting_file(values, seeds)}")
    loaded = load_suite("best.yaml")
    assert loaded.name == "small_best"
    return {(spec.task_label, spec.loss_label, spec.seed): spec.run_id for spec in loaded.expand()}


def test_a_setting_of_the_loss_is_one_more_row() -> None:
    sweep = load(seeds=[3])
    values = {"loss.tau": 1 / 3}
    runs = suite_of(sweep, values, [3, 4])
    assert {task for task, _, _ in runs} == {"digits"}
    assert [name for _, name, seed in runs if seed == 3] == ["cross_entropy", "softmax_eql", "softmax_eql(tau=0.3333)"]
    assert runs["digits", "cross_entropy", 3] == sweep.baseline_specs()[0].run_id
    assert runs["digits", "softmax_eql", 3] == sweep.default_specs()[0].run_id
    assert runs["digits", "softmax_eql(tau=0.3333)", 3] == sweep.specs(values, 0)[0].run_id


def test_a_setting_of_more_than_the_loss_adds_a_column() -> None:
    sweep = load({"space": CONDITIONAL}, train={"epochs": 2, "optimizer": {"name": "adamw", "weight_decay": 0.5}})
    values: dict[str, Any] = {**sweep.default_values(), "loss.tau": 2.0, "train.optimizer.lr": 0.03, "model.width": 8}
    runs = suite_of(sweep, values, [0])
    labels = ["cross_entropy", "softmax_eql", "softmax_eql(tau=2)"]
    assert [key[:2] for key in runs] == [(task, name) for task in ("digits", "digits_best") for name in labels]
    assert runs["digits_best", "softmax_eql(tau=2)", 0] == sweep.specs(values, 0)[0].run_id
    assert runs["digits", "softmax_eql", 0] == sweep.default_specs()[0].run_id
    assert runs["digits_best", "softmax_eql", 0] == sweep.specs({**values, "loss.tau": 1.0}, 0)[0].run_id


def test_the_default_as_best_setting_is_no_third_row() -> None:
    sweep = load({"space": CONDITIONAL})
    assert [name for _, name, _ in suite_of(sweep, sweep.default_values(), [0])] == ["cross_entropy", "softmax_eql"]
    values = {**sweep.default_values(), "train.optimizer.lr": 0.5}
    assert [key[:2] for key in suite_of(sweep, values, [0])] == [
        (task, name) for task in ("digits", "digits_best") for name in ("cross_entropy", "softmax_eql")
    ]


def test_several_settings_share_rows_and_columns() -> None:
    sweep = load({"space": CONDITIONAL})
    default = sweep.default_values()
    front = [
        {**default, "loss.tau": 2.0},
        {**default, "loss.tau": 2.00001},
        {**default, "loss.tau": 2.0, "train.optimizer.lr": 0.5},
        {**default, "loss.tau": 3.0, "train.optimizer.lr": 0.5},
        {**default, "model.width": 8},
        {**default, "loss.name": "sigmoid_eql", "loss.gamma": 8.0, "loss.objectness": False, "model.width": 8},
    ]
    del front[-1]["loss.tau"]
    runs = suite_of(sweep, front, [0])
    wanted = {sweep.specs(values, 0)[0].run_id for values in front}
    assert len(wanted) == 6
    assert wanted <= set(runs.values())
    assert {task for task, _, _ in runs} == {"digits", "digits_best", "digits_best2"}
    assert {name for _, name, _ in runs} == {
        "cross_entropy",
        "softmax_eql",
        "softmax_eql(tau=2)",
        "softmax_eql(tau=2) no. 2",
        "softmax_eql(tau=3)",
        "sigmoid_eql(gamma=8, objectness=false)",
    }


def test_text_that_looks_like_a_number_stays_text() -> None:
    odd = {"a": {"b": ["1e-4", "no", "null", "3", "x: y", "", "größe", 1e-5, 1e20, True, None]}}
    assert parse(setting_suite._text(odd), "")[0] == odd


# -- what would be done -------------------------------------------------------------------------------------------


def planned(sweep: Sweep) -> str:
    from eqbench.sweep.driver import Search
    from eqbench.sweep.dry_run import dry_run

    console = Console(width=120, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        dry_run(Search(sweep, Path("runs")), console)
    return capture.get()


SMALL_GRID = {"space": {"loss.tau": [0.5, 1, 2], "loss.indicator": {"choice": ["positive", "both"]}}}


@pytest.mark.parametrize(
    ("sweep", "runs"),
    [
        ({**SMALL_GRID, "search": "grid", "trials": None}, 7),  # 6 settings, one of them the default; the baseline
        ({**SMALL_GRID, "search": "grid", "trials": 50}, 7),
        ({**SMALL_GRID, "search": "random", "trials": 50}, 7),
        ({**SMALL_GRID, "search": "optuna", "trials": 50}, 7),
        ({**SMALL_GRID, "search": "grid", "trials": 3}, 5),
        ({"search": "optuna", "trials": 50}, 52),
    ],
)
def test_what_would_be_run_is_counted_once(sweep: dict[str, Any], runs: int) -> None:
    text = planned(load(sweep))
    assert f"at most {runs} runs and " in text
    ids = re.findall(r"\b[0-9a-f]{12}\b", text)
    assert len(ids) == len(set(ids))


def test_a_sweep_is_validated_as_a_suite_is() -> None:
    from eqbench.cli import app

    def validate(*words: str) -> tuple[int, str]:
        answer = CliRunner().invoke(app, ["validate", *words])
        return answer.exit_code, answer.output or str(answer.exception)

    file = small_suites.write(Path("suites/sweeps/mine.yaml"), data())
    for name in (str(file), "mine"):
        code, text = validate(name)
        assert (code, "4 settings by random search, no problem found" in text) == (0, True), text
    assert "6 settings by grid search" in validate(
        "mine", "-o", "sweep.search=grid", "-o", "sweep.space.loss.tau=[1, 2, 3]",
        "-o", "sweep.space.loss.indicator={choice: [positive, both]}", "-o", "sweep.trials=null",
    )[1]  # fmt: skip
    _, text = validate("mine", "-o", "sweep.trials=0", "-o", "sweep.search=optunna")
    assert text.startswith("mine: 2 problems\n")
    assert json.loads(validate("mine", "--json")[1])["digest"] == load_sweep(file).digest


# -- finding sweeps ----------------------------------------------------------------------------------------------


def test_sweeps_are_found_by_name_below_the_suites() -> None:
    file = small_suites.write(Path("suites/sweeps/mine.yaml"), data())
    file.write_text(f"# Question: which tau?\n{file.read_text()}")
    assert load_sweep("mine").file == file
    assert [(each.name, each.question) for each in list_sweeps() if each.name == "mine"] == [("mine", "which tau?")]
    assert "mine" in [entry["name"] for entry in listing("sweeps")]
    assert "mine" not in [entry["name"] for entry in listing("suites")]
    with pytest.raises(InputError, match=r"^min: there is no such sweep; did you mean 'mine'\?"):
        load_sweep("min")
    with pytest.raises(InputError, match=r"^mine: there is no such suite, but a sweep of this name"):
        load_suite("mine")


def test_a_sweep_is_no_suite_and_a_suite_no_sweep() -> None:
    sweep = small_suites.write(Path("a.yaml"), data())
    suite = small_suites.write(Path("b.yaml"), small_suites.suite())
    assert (is_sweep(sweep), is_sweep(suite), is_sweep("none.yaml")) == (True, False, False)
    with pytest.raises(InputError, match=r"^a\.yaml:\d+: sweep: this is a sweep and no suite; use: eqbench sweep a"):
        load_suite(sweep)
    with pytest.raises(InputError, match=r"^b\.yaml: has no key sweep; it is a suite, use: eqbench run b"):
        load_sweep(suite)
    Path("b.yaml").write_text(f"{suite.read_text()}sweeep: 3\n")
    with pytest.raises(InputError, match=r"^b\.yaml:\d+: sweeep: unknown key; did you mean 'sweep'\?"):
        load_sweep(suite)
    with pytest.raises(InputError, match=r"^c\.yaml: there is no such file"):
        load_sweep("c.yaml")


def test_shipped_sweeps_have_a_question_and_one_task() -> None:
    for summary in list_sweeps():
        assert summary.question, summary.file
        assert len(yaml.safe_load(summary.file.read_text())["tasks"]) == 1


# -- what is refused ---------------------------------------------------------------------------------------------


def test_a_problem_has_file_line_and_name() -> None:
    Path("small.yaml").write_text(yaml.safe_dump(data(), sort_keys=False).replace("loss.tau", "loss.taw"))
    line = Path("small.yaml").read_text().splitlines().index("    loss.taw:") + 1
    with pytest.raises(InputError) as caught:
        load_sweep("small.yaml")
    assert str(caught.value) == (
        f"small.yaml:{line}: sweep.space.loss.taw: unknown parameter of SoftmaxEQL; did you mean 'tau'? "
        "(known: tau, eps, indicator, loss_weight)"
    )


WRONG_SPACES: list[tuple[Any, list[str]]] = [
    (None, ["sweep.space: it is empty"]),
    ([1], ["sweep.space: [1], expected parameters"]),
    ({"tau": TAU}, ["sweep.space.tau: unknown path; did you mean 'loss.tau'?"]),
    ({"weight_decay": TAU}, ["sweep.space.weight_decay: unknown path; did you mean 'train.optimizer.weight_decay'?"]),
    (
        {"train.weight_decay": TAU},
        ["sweep.space.train.weight_decay: unknown key; did you mean 'train.optimizer.weight_"],
    ),
    ({"xyzzy": TAU}, ["sweep.space.xyzzy: unknown path (expected"]),
    ({"los.tau": TAU}, ["sweep.space.los.tau: unknown path; did you mean 'loss'?"]),
    ({"resources.num_workers": [1, 2]}, ["sweep.space.resources.num_workers: is no part of a setting"]),
    ({"task.name": {"choice": ["detection"]}}, ["sweep.space.task.name: is no part of a setting"]),
    ({"seeds": [1, 2]}, ["sweep.space.seeds: is no part of a setting"]),
    ({"loss": [1, 2]}, ["sweep.space.loss: expected a name after loss"]),
    ({"loss.tau": 3}, ["sweep.space.loss.tau: 3, expected one of uniform"]),
    ({"loss.tau": {}}, ["sweep.space.loss.tau: has no values"]),
    ({"loss.tau": {"unifrom": [1, 2]}}, ["sweep.space.loss.tau.unifrom: unknown key; did you mean 'uniform'?"]),
    ({"loss.tau": {**TAU, "grid": [1]}}, ["sweep.space.loss.tau: uniform and grid, expected one of them"]),
    ({"loss.tau": {"uniform": [4, 1]}}, ["sweep.space.loss.tau.uniform: [4, 1] is an empty range"]),
    ({"loss.tau": {"uniform": [1, 1]}}, ["sweep.space.loss.tau.uniform: [1, 1] is an empty range"]),
    ({"loss.tau": {"uniform": [1]}}, ["sweep.space.loss.tau.uniform: [1], expected two numbers"]),
    ({"loss.tau": {"uniform": "1-2"}}, ["sweep.space.loss.tau.uniform: '1-2', expected two numbers"]),
    (
        {"loss.tau": {"uniform": [True, "2"]}},
        [
            "sweep.space.loss.tau.uniform[0]: true, expected a finite number",
            "sweep.space.loss.tau.uniform[1]: '2', expected a finite number",
        ],
    ),
    ({"loss.tau": {"uniform": [-1e308, 1e308]}}, ["sweep.space.loss.tau.uniform: [-1e+308, 1e+308], expected bounds"]),
    ({"loss.tau": {"loguniform": [0, 1]}}, ["sweep.space.loss.tau.loguniform[0]: 0, expected more than 0"]),
    ({"train.batch_size": {"integer": [1.5, 8]}}, ["sweep.space.train.batch_size.integer[0]: 1.5, expected a whole"]),
    ({"train.batch_size": {"integer": [1, 2**60]}}, ["sweep.space.train.batch_size.integer[1]: 11529215046068"]),
    ({"loss.indicator": {"choice": []}}, ["sweep.space.loss.indicator.choice: an empty list"]),
    ({"loss.tau": [1, 2, 1.0]}, ["sweep.space.loss.tau.grid[2]: 1.0 is in the list already"]),
    ({"loss.indicator": ["both"]}, ["sweep.space.loss.indicator.grid[0]: 'both', expected a number; values of any"]),
    ({"loss.tau": {"choice": [[1]]}}, ["sweep.space.loss.tau.choice[0]: [1], expected a single value"]),
    ({"loss.name": {"uniform": [1, 2]}}, ["sweep.space.loss.name.uniform: a name, expected choice"]),
    ({"loss.name": {"choice": [3]}}, ["sweep.space.loss.name.choice[0]: 3, expected a name"]),
    (
        {"train.lr": [1, 2], "train.optimizer.lr": [1, 2]},
        ["sweep.space.train.optimizer.lr: is the same parameter as train.lr"],
    ),
    ({"loss.tau": {**TAU, "when": 3}}, ["sweep.space.loss.tau.when: 3, expected parameters and their values"]),
    (
        {"loss.tau": {**TAU, "when": {"loss.epz": 1}}, "loss.eps": [1, 2]},
        ["sweep.space.loss.tau.when.loss.epz: is no parameter of this space; did you mean 'loss.eps'?"],
    ),
    (
        {"loss.tau": {**TAU, "when": {"loss.eps": 3}}, "loss.eps": [1, 2]},
        ["sweep.space.loss.tau.when.loss.eps: 3 is no value of loss.eps (grid 1, 2)"],
    ),
    (
        {"loss.tau": {**TAU, "when": {"loss.indicator": "bot"}}, "loss.indicator": {"choice": ["both"]}},
        ["sweep.space.loss.tau.when.loss.indicator: 'bot' is no value of loss.indicator; did you mean 'both'?"],
    ),
    (
        {"loss.tau": {**TAU, "when": {"loss.eps": 1}}, "loss.eps": {"uniform": [1, 2]}},
        ["sweep.space.loss.tau.when.loss.eps: has a range (uniform 1 to 2), expected a parameter of the kind choice"],
    ),
    (
        {"loss.tau": {**TAU, "when": {"loss.eps": []}}, "loss.eps": [1, 2]},
        ["sweep.space.loss.tau.when.loss.eps: [], expected a value or a list of values"],
    ),
    ({"loss.tau": {"grid": [1], "when": {"loss.tau": 1}}}, ["sweep.space.loss.tau.when.loss.tau: is the parameter"]),
    (
        {"loss.tau": {"grid": [1], "when": {"loss.eps": 1}}, "loss.eps": {"grid": [1], "when": {"loss.tau": 1}}},
        ["sweep.space.loss.tau.when: the conditions go in a circle: loss.tau -> loss.eps -> loss.tau"],
    ),
]


@pytest.mark.parametrize(("space", "expected"), WRONG_SPACES, ids=lambda each: None)
def test_a_wrong_space(space: Any, expected: list[str]) -> None:
    found = problems({"space": space})
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


WRONG_VALUES: list[tuple[dict[str, Any], list[str]]] = [
    ({"loss.gama": TAU}, ["sweep.space.loss.gama: unknown parameter of SoftmaxEQL (known: tau, eps,"]),
    ({"train.optimzer.lr": TAU}, ["sweep.space.train.optimzer.lr: train.optimzer: unknown key; did you mean 'opti"]),
    ({"train.optimizer.momentun": TAU}, ["sweep.space.train.optimizer.momentun: unknown key; did you mean 'momentum'"]),
    ({"model.widht": [4, 8]}, ["sweep.space.model.widht: unknown parameter of Classifier; did you mean 'width'?"]),
    ({"data.imbalance": [4, 8]}, ["sweep.space.data.imbalance: unknown parameter of Digits; did you mean 'imba"]),
    ({"data.split_seed": [0, 1]}, ["sweep.space.data.split_seed: changes what val/few is measured on (the evaluation"]),
    ({"data.test_per_class": [50, 40]}, ["sweep.space.data.test_per_class: changes what val/few is measured on (the"]),
    ({"data.many_above": [30, 50]}, ["sweep.space.data.many_above: changes what val/few is measured on (the class gr"]),
    ({"data.few_below": [4, 10]}, ["sweep.space.data.few_below: changes what val/few is measured on (the class group"]),
    ({"data.imbalance_factor": [5, 50]}, ["sweep.space.data.imbalance_factor: changes what val/few is measured on"]),
    ({"task.x": [4, 8]}, ["sweep.space.task.x: unknown parameter of Classification"]),
    ({"loss.num_classes": [4, 8]}, ["sweep.space.loss.num_classes: is set by the task and cannot be set"]),
    ({"loss.tau": {"uniform": [-1, 2]}}, ["sweep.space.loss.tau: softmax_eql: tau: -1.0: expected a finite number"]),
    ({"loss.indicator": {"choice": ["both", "all"]}}, ["sweep.space.loss.indicator: 'all', expected 'positive', 'neg"]),
    (
        {"train.batch_size": {"uniform": [16, 64]}},
        ["sweep.space.train.batch_size: uniform draws fractions, expected whole numbers, e.g. {integer: [16, 64]}"],
    ),
    ({"train.batch_size": {"integer": [0, 64]}}, ["sweep.space.train.batch_size: 0, expected at least 1"]),
    ({"train.evaluate_every_epochs": [1, 2]}, ["sweep.space.train.evaluate_every_epochs: changes nothing"]),
    (
        {"loss.name": {"choice": ["softmax_eql", "sofmax"]}, "loss.tau": TAU},
        ["sweep.space.loss.name: unknown loss 'sofmax'; did you mean 'softmax_eql'?"],
    ),
    (
        {"loss.name": {"choice": ["softmax_eql", "efl"]}, "loss.tau": TAU},
        ["sweep.space.loss.tau: unknown parameter of EFL (known: focal_gamma, focal_alpha, scale_factor, loss_weight), "
         "with loss.name efl; a parameter of some settings only has a condition (when)"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("space", "expected"), WRONG_VALUES, ids=lambda each: None)
def test_a_value_that_cannot_be_built(space: dict[str, Any], expected: list[str]) -> None:
    found = problems({"space": space})
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


TWO_GOALS = [{"maximize": "val/few"}, {"maximize": "val/many"}]
WHEN = {"loss.eps": [1, 2], "loss.tau": {**TAU, "when": {"loss.eps": 1}}}
WRONG_SECTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"trails": 3}, ["sweep.trails: unknown key; did you mean 'trials'?"]),
    ({"trials": 0}, ["sweep.trials: 0, expected 1 to 100,000"]),
    ({"trials": True}, ["sweep.trials: true, expected a whole number"]),
    ({"trials": None}, ["sweep.trials: missing, but required: how many settings random search proposes"]),
    ({"loss": "softmax_eq"}, ["sweep.loss: 'softmax_eq' is no loss of this file; did you mean 'softmax_eql'?"]),
    ({"loss": 3}, ["sweep.loss: 3, expected the label of one of the losses"]),
    ({"search": "optunna"}, ["sweep.search: 'optunna', expected one of random, grid, optuna"]),
    ({"search": 3}, ["sweep.search: 3, expected a name, or a mapping"]),
    (
        {"search": {"name": "optuna", "sampler": "tpee", "startup": 3, "seed": -1}},
        [
            "sweep.search.seed: -1, expected at least 0",
            "sweep.search.sampler: 'tpee', expected 'tpe', ",
            "sweep.search.startup: unknown option of optuna; did you mean 'startup_trials'?",
        ],
    ),
    ({"search": "grid"}, ["sweep.search: loss.tau is uniform 0.25 to 4, expected choice or grid for a grid search"]),
    ({"search": "hyperopt", "space": WHEN}, ["sweep.search: hyperopt knows no conditions (loss.tau has one)"]),
    ({"search": "ax", "objective": TWO_GOALS}, ["sweep.search: ax searches for one goal, expected optuna or random"]),
    ({"scheduler": "ahsa"}, ["sweep.scheduler: 'ahsa', expected one of none, asha, median, pbt; did you mean 'asha'?"]),
    ({"scheduler": {"name": "asha", "reduction": 3}}, ["sweep.scheduler.reduction: unknown option of asha; did you m"]),
    ({"scheduler": {"name": "asha", "reduction_factor": 1}}, ["sweep.scheduler.reduction_factor: 1, expected more"]),
    ({"scheduler": {"name": "asha", "grace_epochs": 2}}, ["sweep.scheduler.grace_epochs: 2, expected less than the 2"]),
    ({"scheduler": "median", "objective": TWO_GOALS}, ["sweep.scheduler: median compares trials by one number"]),
    (
        {"scheduler": "asha", "space": {"train.epochs": {"integer": [1, 3]}}},
        ["sweep.space.train.epochs: changes the budget, e.g. to 1 epochs instead of 2, and asha compares trials of "],
    ),
    ({"objective": None}, ["sweep.objective: missing, but required"]),
    ({"objective": []}, ["sweep.objective: missing, but required"]),
    ({"objective": "val/few"}, ["sweep.objective: 'val/few', expected a goal, e.g. {maximize: val/few}"]),
    ({"objective": {}}, ["sweep.objective: has no goal, expected maximize or minimize"]),
    ({"objective": {"maximise": "val/few"}}, ["sweep.objective.maximise: unknown key; did you mean 'maximize'?"]),
    ({"objective": {"maximize": "few"}}, ["sweep.objective.maximize: 'few', expected a metric: val/NAME or train/loss; "
                                          "did you mean 'val/few'?"]),
    ({"objective": {"maximize": "val/ap"}}, ["sweep.objective.maximize: the task digits does not report val/ap (know"]),
    ({"objective": {"maximize": "val/ap_r"}}, ["sweep.objective.maximize: the task digits does not report val/ap_r ("]),
    (
        {"objective": [TWO_GOALS[0], {"minimize": "val/lots"}]},
        ["sweep.objective[1].minimize: the task digits does not report val/lots"],
    ),
    (
        {"objective": {"minimize": "train/loss"}},
        ["sweep.objective.minimize: train/loss is itself what loss.tau changes"],
    ),
    ({"objective": {"maximize": "val/few", "minimize": "val/many"}}, ["sweep.objective: maximize and minimize"]),
    ({"objective": [TWO_GOALS[0], TWO_GOALS[0]]}, ["sweep.objective[1]: val/few is a goal already"]),
    (
        {"objective": {**TWO_GOALS[0], "subject_to": ["val/many > 3", "val/many >= baseline * 2", 3, "val/many >= x"]}},
        [f"sweep.objective.subject_to[{index}]: " for index in range(4)],
    ),
    (
        {"objective": {**TWO_GOALS[0], "subject_to": "val/mani >= 3"}},
        ["sweep.objective.subject_to: the task digits does not report val/mani; did you mean 'val/many'?"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sweep", "expected"), WRONG_SECTIONS, ids=lambda each: None)
def test_a_wrong_section(sweep: dict[str, Any], expected: list[str]) -> None:
    found = problems(sweep)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


RELATIVE = {"maximize": "val/few", "subject_to": "val/many >= baseline - 0.5"}


@pytest.mark.parametrize(
    ("sweep", "changes", "expected"),
    [
        (
            {},
            {"tasks": [small_suites.task(), small_suites.task(name="b")]},
            "tasks: 2 tasks (digits, b), expected exac",
        ),
        (
            {"scheduler": "asha", "space": {"train.batch_size": [32, 64]}},
            {"train": {"iterations": 30, "batch_size": 32}},
            "sweep.space.train.batch_size: changes the budget, e.g. to 5 epochs instead of 2.72727",
        ),
        ({}, {"seedz": 3}, "seedz: unknown key; did you mean 'seeds'?"),
        (
            {"objective": RELATIVE},
            {"losses": ["softmax_eql"]},
            "sweep.objective.subject_to: a constraint is counted from the base",
        ),
        (
            {"objective": RELATIVE, "loss": "softmax_eql"},
            {"losses": ["softmax_eql", "bce"]},
            "sweep.objective.subject_to: a constr",
        ),
        ({"scheduler": "asha"}, {"seeds": [0, 1]}, "sweep.scheduler: asha compares single runs, and there are 2 seeds"),
        (
            {"scheduler": "asha"},
            {"train": {"epochs": 2, "evaluate_every_epochs": 2}},
            "sweep.scheduler: asha needs an e",
        ),
        (
            {},
            {"tasks": [small_suites.task(start_from={"task": "x", "loss": "y"})]},
            "tasks[0].start_from: is not possib",
        ),
    ],
)
def test_a_suite_that_does_not_fit_its_sweep(sweep: Any, changes: dict[str, Any], expected: str) -> None:
    (found,) = problems(sweep, **changes)
    assert found.startswith(expected)


def test_problems_of_suite_and_sweep_come_together() -> None:
    found = problems({"trials": 0, "search": "optunna"}, seeds=[])
    assert {line.partition(":")[0] for line in found} == {"seeds", "sweep.trials", "sweep.search"}


@pytest.mark.parametrize("section", [None, [1], 3])
def test_a_sweep_section_that_is_none(section: Any) -> None:
    with pytest.raises(InputError, match=r"^small\.yaml:\d+: sweep: .*, expected keys loss, space, trials"):
        load_sweep(small_suites.write(Path("small.yaml"), {**small_suites.suite(), "sweep": section}))


def test_data_of_training_may_change_and_groups_where_no_goal_is_of_one() -> None:
    load({"space": {"data.augment": {"choice": [True, False]}, "data.imbalance_factor": [49, 50]}})
    load(
        {
            "space": {"data.imbalance_factor": [5, 50], "data.many_above": [30, 50]},
            "objective": {"maximize": "val/top1"},
        }
    )
    load({"space": {"train.lr": [0.1, 0.2]}, "objective": {"minimize": "train/loss"}})


def test_a_wrong_override_is_reported_as_such() -> None:
    with pytest.raises(
        InputError, match=r"^-o sweep\.objective\.maximize=val/ap_r: sweep\.objective\.maximize: the task"
    ):
        load(None, "sweep.objective.maximize=val/ap_r")
    assert problems(None, "sweep.trials=0") == ["sweep.trials: 0, expected 1 to 100,000"]
    found = problems(None, "sweep.space.loss.gamma={uniform: [1, 2]}")
    assert found[0].startswith("sweep.space.loss.gamma: unknown parameter of SoftmaxEQL")


NEEDY = """
from eqbench.losses.cross_entropy import CrossEntropy

class Needy(CrossEntropy):
    def __init__(self, *, num_classes: int, floor: float, ceiling: float = 1.0) -> None:
        super().__init__(num_classes=num_classes)
        if not floor < ceiling:
            raise ValueError(f"floor {floor:g}, expected less than the ceiling, {ceiling:g}")
"""


def test_what_a_constructor_needs_may_be_another_parameter() -> None:
    Path("needy_loss.py").write_text(NEEDY)
    name = "needy_loss:Needy"
    space: dict[str, Any] = {
        "loss.name": {"choice": ["softmax_eql", name]},
        "loss.ceiling": {"uniform": [0.5, 1], "when": {"loss.name": name}},
        "loss.floor": {"grid": [0.1, 0.2], "when": {"loss.name": name}},
    }
    sweep = load({"space": space})
    (spec,) = sweep.specs({"loss.name": name, "loss.floor": 0.1, "loss.ceiling": 0.7}, 0)
    assert (spec.loss.params["floor"], spec.loss_label) == (0.1, "Needy(floor=0.1, ceiling=0.7)")
    assert suite_of(sweep, {"loss.name": name, "loss.floor": 0.1, "loss.ceiling": 0.7}, [0])
    space["loss.floor"]["grid"] = [0.1, 2]
    assert problems({"space": space}) == [f"sweep.space.loss.floor: {name}: floor 2, expected less than the ceiling, 1"]
    del space["loss.floor"]
    assert problems({"space": space}) == [f"sweep.space.loss.name: {name}: loss.floor: missing, but Needy requires it"]
