"""Suites expanded into runs: merging, labels, filters, budgets, identity; and the suites that eqbench ships."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from eqbench import suite_expansion
from eqbench.data import miniatures
from eqbench.errors import InputError
from eqbench.run_spec import RunSpec
from eqbench.suite import find_suite, list_suites, load_suite

SUITES = sorted((Path(__file__).parents[1] / "suites").glob("*.yaml"))


def task(**changes: Any) -> dict[str, Any]:
    entry = {
        "name": "digits",
        "task": "classification",
        "model": {"name": "classifier", "backbone": "resnet8"},
        "data": {"name": "digits", "imbalance_factor": 50},
    }
    return {**entry, **changes}


def suite(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "small",
        "tasks": [task()],
        "losses": ["cross_entropy", "softmax_eql"],
        "seeds": [0, 1],
        "train": {"epochs": 2, "batch_size": 32},
    }
    return {**data, **changes}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


SMALLEST_MASKS = {"images": 20, "classes": 4, "size": 64, "scale": [64, 64], "eval_scale": [64, 64], "crop_size": 32}


def expand(data: dict[str, Any], *overrides: str, **filters: Any) -> list[RunSpec]:
    Path("x.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_suite("x.yaml", overrides).expand(**filters)


def refusal(data: dict[str, Any], *overrides: str, **filters: Any) -> str:
    with pytest.raises(InputError) as caught:
        expand(data, *overrides, **filters)
    return str(caught.value)


def one(data: dict[str, Any], *overrides: str) -> RunSpec:
    return expand(data, *overrides, seeds=[0])[0]


# -- expansion ---------------------------------------------------------------------------------------------------


def test_a_task_has_seeds_of_its_own() -> None:
    specs = expand(suite(tasks=[task(seeds=[7]), task(name="other")]))
    assert [(spec.task_label, spec.seed) for spec in specs if spec.loss_label == "cross_entropy"] == [
        ("digits", 7),
        ("other", 0),
        ("other", 1),
    ]
    assert {spec.seed for spec in expand(suite(tasks=[task(seeds=[7])]), seeds=[3])} == {3}
    assert {spec.task_label for spec in expand(suite(tasks=[task(seeds=[7]), task(name="x")]), only=["seed=7"])} == {
        "digits"
    }
    assert "tasks[0].seeds[1]: 7 is in the list already" in refusal(suite(tasks=[task(seeds=[7, 7])]))


def test_order_is_task_loss_seed() -> None:
    two = suite(
        tasks=[task(name="a"), task(name="b", losses=["softmax_eql"], data={"name": "digits"}, train={"epochs": 3})]
    )
    assert [spec.name for spec in expand(two)] == [
        "a · cross_entropy · s0",
        "a · cross_entropy · s1",
        "a · softmax_eql · s0",
        "a · softmax_eql · s1",
        "b · softmax_eql · s0",
        "b · softmax_eql · s1",
    ]


def test_a_run_is_complete() -> None:
    spec = expand(suite())[2]
    assert spec.loss.params == {"tau": 1.0, "eps": 1e-4, "indicator": "positive", "loss_weight": 1.0}
    assert spec.data.params["test_per_class"] == 50
    assert spec.model.params["norm"] == "batch"
    assert (spec.task_version, spec.protocol) == (1, "accuracy:last")
    assert len(spec.data_digest) == 32


def test_budget_counts_the_smaller_last_batch() -> None:
    n = 342
    budget = one(suite()).budget
    assert (budget.samples_per_epoch, budget.iterations_per_epoch) == (n, math.ceil(n / 32))
    assert (budget.iterations, budget.samples) == (2 * math.ceil(n / 32), 2 * n)
    assert one(suite(train={"iterations": 12, "batch_size": 32})).budget.samples == n + 32
    assert one(suite(train={"iterations": 1, "batch_size": 1000})).budget.samples == n


def test_a_tasks_own_training_is_merged_into_the_suites() -> None:
    optimizer = {"name": "sgd", "lr": 0.3, "nesterov": True}
    own = {"iterations": 7, "optimizer": {"lr": 0.2}, "schedule": "constant"}
    data = suite(tasks=[task(train=own)], train={"epochs": 2, "optimizer": optimizer})
    train = one(data).train
    assert (train.epochs, train.iterations) == (None, 7)
    assert train.optimizer.model_dump() == {
        "name": "sgd", "lr": 0.2, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,
    }  # fmt: skip
    assert train.schedule.name == "constant"


def test_another_optimizer_replaces_the_suites() -> None:
    data = suite(train={"epochs": 2, "optimizer": {"name": "sgd", "nesterov": True}})
    data["tasks"] = [task(train={"optimizer": {"name": "adamw", "lr": 0.01}})]
    assert one(data).train.optimizer.model_dump()["name"] == "adamw"


def test_resources_are_merged_and_not_part_of_the_identity() -> None:
    data = suite(resources={"num_workers": 2, "cpus_per_worker": 2}, tasks=[task(resources={"num_workers": 3})])
    resources = one(data).resources
    assert (resources.num_workers, resources.cpus_per_worker) == (3, 2)
    assert one(data).run_id == one(suite()).run_id


def test_label_tells_losses_of_one_name_apart() -> None:
    losses = [
        "softmax_eql",
        {"name": "softmax_eql", "tau": 0.5},
        {"name": "softmax_eql", "tau": 2, "label": "sharp, tau=2"},
        "cross_entropy",
    ]
    labels = [spec.loss_label for spec in expand(suite(losses=losses), seeds=[0])]
    assert labels == ["softmax_eql(tau=1.0)", "softmax_eql(tau=0.5)", "sharp, tau=2", "cross_entropy"]


def test_class_outside_eqbench() -> None:
    Path("outside_of_suite.py").write_text(
        "from eqbench.losses.cross_entropy import CrossEntropy\n"
        "class Mine(CrossEntropy):\n"
        "    def __init__(self, *, num_classes: int, power: float = 1.0):\n"
        "        super().__init__(num_classes=num_classes)\n"
        "        if power < 0: raise RuntimeError('power is negative')\n"
    )
    mine = {"name": "outside_of_suite:Mine", "power": 2}
    spec = one(suite(losses=[mine]))
    assert (spec.loss_label, spec.loss.params) == ("Mine", {"power": 2.0})
    message = refusal(suite(losses=[{**mine, "power": -1}]))
    assert message.endswith("losses[0]: outside_of_suite:Mine: RuntimeError: power is negative")


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ["sofmax_eql"]}, "losses[0]: unknown loss 'sofmax_eql'; did you mean 'softmax_eql'?"),
        ({"losses": [{"name": "softmax_eql", "tua": 1}]}, "losses[0].tua: unknown parameter of SoftmaxEQL; did you"),
        ({"losses": [{"name": "softmax_eql", "tau": "x"}]}, "losses[0].tau: 'x', expected a number"),
        ({"losses": [{"name": "softmax_eql", "num_classes": 3}]}, "losses[0].num_classes: is set by the task"),
        ({"losses": [{"name": "softmax_eql", "tau": -1}]}, "losses[0]: softmax_eql: tau: -1.0: expected a finite"),
        ({"losses": ["softmax_eql", {"name": "softmax_eql", "tau": 1}]}, "losses[1]: the same loss as losses[0]"),
        (
            {"losses": ["cross_entropy", {"name": "softmax_eql", "label": "cross_entropy"}]},
            "losses[1]: its label 'cross_entropy' is that of losses[0]",
        ),
        ({"tasks": [task(task="clasification")]}, "tasks[0].task: unknown task 'clasification'; did you mean"),
        ({"tasks": [task(task={"name": "classification", "x": 1})]}, "tasks[0].task.x: unknown parameter of Classif"),
        ({"tasks": [task(model="classifier")]}, "tasks[0].model.backbone: missing, but Classifier requires it"),
        ({"tasks": [task(data="digts")]}, "tasks[0].data: unknown dataset 'digts'; did you mean 'digits'?"),
        (
            {"tasks": [task(data={"name": "digits", "imbalance_factor": 0.5})]},
            "tasks[0].data: digits: imbalance_factor 0.5: expected a number of at least 1",
        ),
        (
            {"tasks": [task(name="a"), task(name="b")]},
            "'a · cross_entropy · s0' and 'b · cross_entropy · s0' are the same run",
        ),
        ({"train": {"epochs": 2**31}}, "train.epochs: 2,147,483,648 are too many iterations: "),
        (
            {"train": {"iterations": 5, "schedule": {"name": "cosine", "warmup": {"iterations": 5}}}},
            "train.schedule.warmup.iterations: 5, expected less than the 5 iterations of the whole run",
        ),
    ],
)
def test_refused_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    found = refusal(suite(**changes))
    assert message in found
    assert found.startswith("x.yaml:")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            suite(tasks=[task(model={"name": "segmentor", "architecture": "fcn", "backbone": "resnet8"})]),
            "model 'segmentor' is not a classifier of images",
        ),
        (
            suite(tasks=[task(task="segmentation", data={"name": "ade20k_miniature", **SMALLEST_MASKS})]),
            "model 'classifier' is not a network of segmentation",
        ),
        (
            suite(tasks=[task(data={"name": "ade20k_miniature", **SMALLEST_MASKS})]),
            "needs a data set with one label per image, which ADE20KMiniature is not",
        ),
    ],
    ids=["segmentor", "classifier", "masks"],
)
def test_a_model_or_data_of_another_task_are_refused(
    data: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path / "data"))
    assert message in refusal(data)


def test_a_loss_that_needs_boxes_is_refused_for_images() -> None:
    found = refusal(suite(losses=["quality_focal"]))
    assert found.endswith("quality_focal: needs the quality of boxes, which classification has not")
    assert found.startswith("x.yaml:12: losses[0]")


def test_all_wrong_parameters_are_listed() -> None:
    wrong = suite(losses=["elf", {"name": "softmax_eql", "tau": "x", "eps": []}], tasks=[task(model="classifer")])
    assert len(refusal(wrong).splitlines()) == 4


def test_batch_too_small_for_the_workers() -> None:
    assert "train.batch_size: 32, expected at least 33: a sample for each of 33" in refusal(
        suite(), "resources.num_workers=33"
    )
    assert "expected at least 48" in refusal(suite(), "resources.num_workers=4", "train.accumulate=12")


def test_too_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite_expansion.MAX_RUNS == 100_000
    monkeypatch.setattr(suite_expansion, "MAX_RUNS", 1_000)
    message = refusal(suite(seeds=list(range(501))))
    assert message == "x.yaml: 1,002 runs, expected at most 1,000"


# -- overrides and filters ---------------------------------------------------------------------------------------


def test_overrides() -> None:
    spec = expand(
        suite(),
        "tasks.digits.data.imbalance_factor=20",
        "losses.softmax_eql.tau=2",
        "train.optimizer.lr=1e-3",
        "seeds=[7]",
        "tasks.0.model.norm=none",
    )[1]
    assert spec.data.params["imbalance_factor"] == 20.0
    assert spec.loss.params["tau"] == 2.0
    assert spec.train.optimizer.lr == 1e-3
    assert spec.seed == 7
    assert spec.model.params["norm"] == "none"


@pytest.mark.parametrize(
    ("overrides", "budget"),
    [
        ([], (None, 9)),
        (["train.epochs=4"], (4, None)),
        (["train.iterations=5"], (None, 5)),
        (["tasks.digits.train.epochs=6"], (6, None)),
        (["train.epochs=4", "tasks.digits.train.epochs=6"], (6, None)),
        (["tasks.digits.train.epochs=6", "train.epochs=4"], (4, None)),
        (["train={epochs: 3}"], (3, None)),
    ],
)
def test_override_of_train_wins_over_a_tasks_own(overrides: list[str], budget: tuple[int | None, int | None]) -> None:
    train = one(suite(tasks=[task(train={"iterations": 9})]), *overrides).train
    assert (train.epochs, train.iterations) == budget


def test_both_budgets_overridden_is_refused() -> None:
    assert "exactly one of 'epochs' and 'iterations'" in refusal(suite(), "train.epochs=1", "train.iterations=1")


def test_overrides_are_noted_in_the_text() -> None:
    Path("x.yaml").write_text(yaml.safe_dump(suite()))
    text = load_suite("x.yaml", ["train.epochs=4"]).text
    assert text.endswith("\n# -o train.epochs=4")
    assert yaml.safe_load(text) == suite()


@pytest.mark.parametrize(
    ("only", "number"),
    [
        (["loss=softmax_eql"], 2),
        (["loss=*e*"], 4),
        (["seed=0", "seed=1"], 4),
        (["loss=cross_entropy", "seed=1"], 1),
        (["task=d?gits"], 4),
    ],
)
def test_only(only: list[str], number: int) -> None:
    assert len(expand(suite(), only=only)) == number


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"only": ["loss=softmax"]}, "--only 'loss=softmax': there is no loss 'softmax'; did you mean 'softmax_eql'?"),
        ({"only": ["los=x"]}, "--only 'los=x': unknown field 'los'; did you mean 'loss'? (known: task, loss, seed)"),
        ({"only": ["softmax_eql"]}, "--only 'softmax_eql': expected field=label, e.g. --only loss=cross_entropy"),
        ({"only": ["seed=7"]}, "--only 'seed=7': there is no seed '7' (known: 0, 1)"),
        ({"seeds": []}, "--seeds: none is given, expected e.g. --seeds 0,1,2"),
        ({"seeds": [1, 1]}, "--seeds: 1 is given more than once"),
        ({"seeds": [-1]}, "--seeds: -1, expected whole numbers from 0 to"),
    ],
)
def test_wrong_filter(filters: dict[str, Any], message: str) -> None:
    assert refusal(suite(), **filters).startswith(message)


def test_filters_that_match_nothing_together() -> None:
    two = suite(tasks=[task(), task(name="b", losses=["softmax_eql"])])
    assert "no run matches all of these" in refusal(two, only=["task=b", "loss=cross_entropy"])


def test_data_of_a_task_that_is_filtered_out_is_not_read() -> None:
    broken = task(name="b", data={"name": "digits", "imbalance_factor": 1e6})
    assert len(expand(suite(tasks=[task(), broken]), only=["task=digits"])) == 4


# -- identity ----------------------------------------------------------------------------------------------------


def test_identity_is_that_of_the_content() -> None:
    reference = one(suite()).run_id
    backwards = suite(tasks=[task(data={"imbalance_factor": 50.0, "name": "digits", "test_per_class": 50}, name="x")])
    losses = [{"label": "other", "loss_weight": 1, "name": "cross_entropy"}]
    assert one({**backwards, "name": "renamed", "losses": losses}).run_id == reference
    assert one(suite(), "train.optimizer={lr: 0.10, momentum: 9e-1}").run_id == reference


def test_run_survives_being_written_and_read() -> None:
    from eqbench.run_folder import RunFolder

    spec = one(suite())
    RunFolder(Path("run")).write_spec(spec)
    assert RunFolder(Path("run")).read_spec() == spec


# -- suites of eqbench -------------------------------------------------------------------------------------------


SMALLEST: dict[str, dict[str, Any]] = {
    "lvis": {"images": 20, "classes": 5},
    "imagenet_lt": {"images": 40, "classes": 4},
    "places_lt": {"images": 40, "classes": 4},
    "inaturalist2018": {"images": 40, "classes": 4},
    "cifar_lt": {"images": 500, "classes": 100},
    "ade20k": {"images": 20, "classes": 5},
}


class Miniatures:
    """In the place of data sets that have to be downloaded; each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def root(self, name: str, classes: int | None) -> Path:
        options = {**SMALLEST[name], **({"classes": classes} if classes else {})}
        root = self._folder / f"{name}-{options['classes']}"
        if not root.exists():
            miniatures.make(name, root, **options)
        return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Miniatures:
    return Miniatures(tmp_path_factory.mktemp("miniatures"))


def instead_of_downloads(file: Path, made: Miniatures) -> list[str]:
    """Overrides that let a suite be validated where there is no data set and no weights, on few images."""
    content = yaml.safe_load(file.read_text())
    overrides = []
    for index, entry in enumerate(content["tasks"]):
        data, place = entry["data"], f"tasks.{index}"
        if data["name"] in SMALLEST:
            overrides.append(f"{place}.data.root={made.root(data['name'], data.get('classes'))}")
            schedules = {"train": content["train"], f"{place}.train": entry.get("train", {})}
            overrides += [
                f"{where}.schedule.warmup.iterations=1"
                for where, own in schedules.items()
                if "warmup" in own.get("schedule", {})
            ]
        if "imbalance_factor" in data and data["name"] == "cifar_lt":
            overrides.append(f"{place}.data.imbalance_factor={data['imbalance_factor'] / 50 + 1}")
        if "backbone_weights" in entry["model"]:
            overrides.append(f"{place}.model.backbone_weights=null")
    return overrides


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_shipped_suite(file: Path, made: Miniatures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path))
    header = re.match(
        r"# Question: (.+)\n# Runs: (\d+) \((.+)\)\n# Command: eqbench run suites/(.+)\n", file.read_text()
    )
    assert header, "a suite begins with its question, its number of runs and its command"
    shipped = load_suite(file, instead_of_downloads(file, made))
    assert header[4] == file.name
    assert shipped.name == file.stem
    runs = len(shipped.expand())
    assert runs == int(header[2])
    assert runs == sum(math.prod(map(int, re.findall(r"\d+", part))) for part in header[3].split("+"))


def test_the_tasks_of_the_paper_are_those_of_the_single_suites(made: Miniatures) -> None:
    def recipes(name: str) -> dict[str, dict[str, Any]]:
        file = find_suite(name)
        specs = load_suite(file, instead_of_downloads(file, made)).expand(seeds=[0])
        return {spec.task_label: {**spec.recipe, "resources": spec.resources.model_dump()} for spec in specs}

    singles = [
        recipe
        for name in ("lvis_two_stage", "lvis_one_stage", "imagenet_lt", "places_lt", "inaturalist2018", "ade20k")
        for recipe in recipes(name).values()
    ]
    for task_label, recipe in recipes("paper").items():
        assert recipe in singles, task_label


def test_suites_are_found_by_name_and_those_of_the_current_folder_first() -> None:
    own = find_suite("quickstart")
    assert own in SUITES
    Path("suites").mkdir()
    Path("suites/mine.yaml").write_text("# Question: is it found?\n# More.\nname: mine\n")
    Path("suites/quickstart.yaml").write_text("name: x\n")
    found = {summary.name: summary for summary in list_suites()}
    assert found["mine"].question == "is it found?"
    assert found["quickstart"].question == ""
    assert find_suite("quickstart") == Path.cwd() / "suites/quickstart.yaml"


def test_reading_a_suite_needs_no_torch() -> None:
    code = "import sys; from eqbench.suite import load_suite; load_suite('quickstart'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
