"""Two-stage training: what is taken from the first run, what is trained, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_suites
import torch
from torch import Tensor

from eqbench import losses
from eqbench.errors import InputError
from eqbench.models.classifier import Classifier
from eqbench.origin import check_finished, load_weights
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite
from eqbench.trial import train_and_record

CODE = {"git_sha": None, "dirty": None}
CPU = torch.device("cpu")
MODEL = {"name": "classifier", "backbone": "resnet8", "width": 4}
STAGES: dict[str, dict[str, Any]] = {
    "crt": {"trained": "classifier"},
    "lws": {"trained": "scales"},
    "tau": {"trained": "none", "tau": 0.7},
}


class Stages:
    """A first stage of one epoch, trained, and the second stages, planned."""

    def __init__(self, storage: Path, **train: Any) -> None:
        start = {"task": "digits", "loss": "cross_entropy"}
        tasks = [small_suites.task()]
        tasks += [
            small_suites.task(name=name, model={**MODEL, **options}, start_from=dict(start))
            for name, options in STAGES.items()
        ]
        train = {"epochs": 1, "batch_size": 64, **train}
        data = small_suites.suite(tasks=tasks, losses=["cross_entropy"], train=train)
        loaded = load_suite(small_suites.write(storage / "suite.yaml", data))
        self.storage = storage
        self.folder = SuiteFolder(storage, loaded.name)
        self.folder.create()
        self.specs = {spec.task_label: spec for spec in loaded.expand()}
        self.folder.write_plan(list(self.specs.values()), loaded.text)

    def run(self, stage: str) -> RunFolder:
        return self.folder.run(self.specs[stage].run_id)

    def train(self, stage: str) -> dict[str, str] | None:
        return train_and_record(self.run(stage), CPU, code=CODE)

    def weights(self, stage: str) -> dict[str, Tensor]:
        spec = self.specs[stage]
        state = torch.load(
            self.run(stage).checkpoints / f"{spec.budget.iterations:09d}" / "state.pt", weights_only=True
        )
        model: dict[str, Tensor] = state["model"]
        return model


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    stages = Stages(tmp_path_factory.mktemp("stages"))
    for stage in stages.specs:
        assert stages.train(stage) is None
    return stages


def changed(stages: Stages, stage: str) -> set[str]:
    """Parts of the network that differ from the first stage's."""
    first, second = stages.weights("digits"), stages.weights(stage)
    network = [key for key in first if key.startswith("network.")]
    return {key.split(".")[1] for key in network if not torch.equal(first[key], second[key])}


@pytest.mark.parametrize(("stage", "trained"), [("crt", {"classifier"}), ("lws", set()), ("tau", set())])
def test_what_is_not_trained_stays_bit_for_bit(stages: Stages, stage: str, trained: set[str]) -> None:
    """The running statistics of batch normalisation too."""
    assert changed(stages, stage) == trained


def test_scales_are_learned(stages: Stages) -> None:
    scales = stages.weights("lws")["scales"]
    assert scales.shape == (10,)
    assert not torch.equal(scales, torch.ones(10))


def test_a_new_classifier_does_not_begin_with_the_old_one(stages: Stages) -> None:
    old = stages.weights("digits")["network.classifier.weight"]
    model = restarted(stages, trained="classifier")
    assert not torch.equal(model.network[1].weight, old)


def restarted(stages: Stages, **options: Any) -> Classifier:
    torch.manual_seed(0)
    loss = losses.build("cross_entropy", num_classes=10)
    model = Classifier(in_channels=1, loss=loss, backbone="resnet8", width=4, **options)
    origin = stages.specs["crt"].origin
    assert origin is not None
    model.start_from(load_weights(origin, stages.storage))
    return model


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0])
def test_tau_normalised_logits_are_those_of_the_formula(stages: Stages, tau: float) -> None:
    model = restarted(stages, trained="none", tau=tau).eval()
    images = torch.randn(3, 1, 8, 8)
    features = model.network[0](images)
    rows = [row / row.norm() ** tau for row in stages.weights("digits")["network.classifier.weight"]]
    torch.testing.assert_close(model(images), torch.stack([features @ row for row in rows], dim=1))


def test_statistics_are_recorded_where_nothing_is_trained(stages: Stages) -> None:
    assert stages.weights("tau")["loss.statistics.positive"].sum() > 0


def test_averaged_weights_are_what_a_second_stage_starts_from(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ema_decay=0.9)
    assert stages.train("digits") is None
    origin = stages.specs["crt"].origin
    assert origin is not None
    averaged = load_weights(origin, stages.storage)
    assert not torch.equal(averaged["network.classifier.weight"], stages.weights("digits")["network.classifier.weight"])
    assert stages.train("crt") is None
    for key, value in stages.weights("crt").items():
        if key.startswith("network.backbone."):
            assert torch.equal(value, averaged[key])


def test_without_the_first_run_the_second_says_so(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    failure = stages.train("crt") or {}
    assert "starts from 'digits · cross_entropy · s0'" in failure["failure"]
    assert "it has not finished" in failure["failure"]
    with pytest.raises(InputError) as refused:
        check_finished(of(stages, "crt"), tmp_path)
    command = str(refused.value).partition("first: ")[2]
    file = tmp_path / "suite.yaml"
    assert command == f"eqbench run {file} --only task=digits --only loss=cross_entropy --seeds 0 --storage {tmp_path}"
    check_finished(of(stages, "digits", "crt"), tmp_path)
    assert stages.train("digits") is None
    check_finished(of(stages, "crt"), tmp_path)


def of(stages: Stages, *names: str) -> list[RunSpec]:
    return [stages.specs[name] for name in names]


def test_a_damaged_checkpoint_of_the_first_run_is_said(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    assert stages.train("digits") is None
    (state,) = stages.run("digits").checkpoints.glob(f"*{stages.specs['digits'].budget.iterations}/state.pt")
    state.write_bytes(state.read_bytes()[:-1])
    failure = stages.train("lws") or {}
    assert "whose last checkpoint cannot be used" in failure["failure"]
