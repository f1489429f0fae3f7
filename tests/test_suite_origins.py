"""Suites whose runs start from the weights of others: which these are, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import small_suites

from eqbench.errors import InputError
from eqbench.origin import waves
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite

CRT = {"name": "classifier", "backbone": "resnet8", "width": 4, "trained": "classifier"}
LWS = {**CRT, "trained": "scales"}
FROM_FIRST = {"task": "digits", "loss": "cross_entropy"}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def two_stages(start_from: Any, model: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    second = small_suites.task(name="crt", model=model or CRT, start_from=start_from)
    return small_suites.suite(tasks=[small_suites.task(), second], seeds=[0, 1], **changes)


def runs(data: dict[str, Any], *overrides: str, file: str = "suite.yaml", **filters: Any) -> dict[str, RunSpec]:
    loaded = load_suite(small_suites.write(Path(file), data), overrides)
    return {spec.name: spec for spec in loaded.expand(**filters)}


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(InputError) as refused:
        runs(data)
    return str(refused.value)


def test_each_seed_starts_from_its_own_run_of_the_other_task() -> None:
    specs = runs(two_stages(FROM_FIRST))
    for seed in (0, 1):
        first = specs[f"digits · cross_entropy · s{seed}"]
        second = specs[f"crt · softmax_eql · s{seed}"]
        assert first.origin is None
        assert second.origin is not None
        assert (second.origin.run_id, second.origin.suite) == (first.run_id, "small")
        assert second.identity["starts_from"] == first.run_id
    assert "starts_from" not in specs["digits · cross_entropy · s0"].identity


def test_a_seed_that_is_given_is_everybodys() -> None:
    specs = runs(two_stages({**FROM_FIRST, "seed": 1}))
    origins = {spec.origin.name for spec in specs.values() if spec.origin}
    assert origins == {"digits · cross_entropy · s1"}


def test_what_changes_the_first_stage_changes_the_second() -> None:
    name = "crt · softmax_eql · s0"
    before, after = runs(two_stages(FROM_FIRST)), runs(two_stages(FROM_FIRST), "tasks.digits.data.imbalance_factor=20")
    assert before[name].data == after[name].data
    assert before[name].run_id != after[name].run_id


def test_filters_leave_the_first_stage_known() -> None:
    whole, filtered = runs(two_stages(FROM_FIRST)), runs(two_stages(FROM_FIRST), only=["task=crt", "seed=1"])
    assert filtered == {name: whole[name] for name in filtered}
    assert len(filtered) == 2


def test_a_run_of_another_suite() -> None:
    first = runs(small_suites.suite(name="first"), "train.epochs=1", file="first.yaml")
    second = small_suites.task(
        model=LWS, start_from={**FROM_FIRST, "suite": "first.yaml", "override": ["train.epochs=1"]}
    )
    specs = runs(small_suites.suite(name="second", tasks=[second]), file="second.yaml")
    origin = specs["digits · softmax_eql · s0"].origin
    assert origin is not None
    assert (origin.suite, origin.run_id) == ("first", first["digits · cross_entropy · s0"].run_id)


def test_suites_in_a_circle_are_refused() -> None:
    for own, other in (("a", "b"), ("b", "a")):
        start = {**FROM_FIRST, "suite": f"{other}.yaml"}
        small_suites.write(
            Path(f"{own}.yaml"), small_suites.suite(name=own, tasks=[small_suites.task(model=CRT, start_from=start)])
        )
    with pytest.raises(InputError, match="in a circle"):
        load_suite("a.yaml").expand()


@pytest.mark.parametrize(
    ("start", "model", "expected"),
    [
        (
            {**FROM_FIRST, "task": "digit"},
            CRT,
            "start_from.task: 'digit' is no earlier task of this suite; did you mean",
        ),
        ({**FROM_FIRST, "task": "crt"}, CRT, "(earlier tasks: digits)"),
        ({**FROM_FIRST, "loss": "cross"}, CRT, "task 'digits' has no loss 'cross'"),
        ({**FROM_FIRST, "seed": 7}, CRT, "task 'digits' has no run with seed 7 (seeds: 0, 1)"),
        ({**FROM_FIRST, "suite": "nowhere.yaml"}, CRT, "nowhere.yaml: there is no such file"),
        ({"task": "digits"}, CRT, "start_from.loss: missing"),
        (FROM_FIRST, {**CRT, "width": 8}, "width 8: expected 4, that of the run it starts from"),
        (FROM_FIRST, {**LWS, "classifier": "cosine"}, "classifier 'cosine': expected 'linear'"),
        (None, LWS, "expected start_from in the suite"),
        (None, CRT, "expected start_from in the suite"),
        (FROM_FIRST, {**CRT, "trained": "none", "tau": -1.0}, "tau -1.0: expected a number of at least 0"),
        (FROM_FIRST, {**CRT, "trained": "none"}, "tau null with trained 'none'"),
        (FROM_FIRST, {**CRT, "tau": 0.5}, "tau 0.5 with trained 'classifier'"),
        (
            FROM_FIRST,
            {**CRT, "backbone_weights": "torchvision:ResNet18_Weights.IMAGENET1K_V1"},
            "start_from brings its own",
        ),
    ],
)
def test_what_does_not_fit_is_refused(start: Any, model: dict[str, Any], expected: str) -> None:
    said = refusal(two_stages(start, model))
    assert said.startswith("suite.yaml:")
    assert expected in said


def test_runs_come_after_those_they_start_from() -> None:
    specs = list(runs(two_stages(FROM_FIRST)).values())
    first, second = waves(specs[::-1])
    assert {spec.task_label for spec in first} == {"digits"}
    assert {spec.task_label for spec in second} == {"crt"}
    assert [spec.task_label for (spec, *_) in waves([spec for spec in specs if spec.origin])] == ["crt"]


def test_what_a_second_stage_cannot_take_over_is_refused() -> None:
    factors = two_stages(FROM_FIRST, LWS)
    third = small_suites.task(name="tau", model={**CRT, "trained": "none", "tau": 0.5})
    third["start_from"] = {"task": "crt", "loss": "cross_entropy"}
    said = refusal({**factors, "tasks": [*factors["tasks"], third]})
    assert "tasks[2].start_from" in said
    assert "a run with trained 'scales' is more than backbone and classifier" in said
    other = small_suites.task(losses=[{"name": "sigmoid_eql", "label": "eql"}])
    second = small_suites.task(name="lws", model=LWS, start_from={"task": "digits", "loss": "eql"})
    said = refusal(small_suites.suite(tasks=[other, second], losses=["cross_entropy"]))
    assert "'digits · eql · s0' has 11 logits, cross_entropy on these data 10" in said


def test_runs_that_start_from_other_seeds_of_one_run_share_a_recipe() -> None:
    specs = runs(two_stages(FROM_FIRST))
    one, other = (specs[f"crt · softmax_eql · s{seed}"] for seed in (0, 1))
    assert one.run_id != other.run_id
    assert one.recipe == other.recipe
    from_another_loss = runs(two_stages({**FROM_FIRST, "loss": "softmax_eql"}))["crt · softmax_eql · s0"]
    assert from_another_loss.recipe != one.recipe
    from_one_seed = runs(two_stages({**FROM_FIRST, "seed": 0}))["crt · softmax_eql · s0"]
    assert from_one_seed.recipe != one.recipe
    assert from_one_seed.run_id == one.run_id


def test_what_trains_the_first_stage_is_a_command() -> None:
    origin = runs(two_stages(FROM_FIRST), "tasks.digits.data.imbalance_factor=20")["crt · softmax_eql · s1"].origin
    assert origin is not None
    words = shlex.split(origin.command)
    assert words[:5] == ["eqbench", "run", "suite.yaml", "-o", "tasks.digits.data.imbalance_factor=20"]
    again = load_suite("suite.yaml", [words[4]])
    (spec,) = again.expand([words[6], words[8]], [int(words[10])])
    assert spec.run_id == origin.run_id
