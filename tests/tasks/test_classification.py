"""Classification: what a step trains, what an evaluation reports, and that digits are learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eqbench import losses, tasks
from eqbench.data.base import Dataset, Draw
from eqbench.data.digits import Digits
from eqbench.data.samplers import StepBatches, eval_shard
from eqbench.data.sampling.order import RandomSampler
from eqbench.errors import InputError
from eqbench.evaluation import image_totals
from eqbench.evaluation.tables import packed
from eqbench.models.classifier import Classifier
from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, RunSpec
from eqbench.tasks.base import Evaluation
from eqbench.tasks.classification import Classification

NOWHERE = RunFolder(Path("nowhere"))  # without pictures, nothing is written
RESNET8 = Plugin(name="classifier", params={"backbone": "resnet8", "norm": "group"})


def task(
    loss: str = "cross_entropy", data: Dataset | None = None, *, pictures: int = 0, **loss_params: Any
) -> Classification:
    return Classification(data or Digits(), RESNET8, Plugin(name=loss, params=loss_params), pictures=pictures)


def evaluate(
    task: Classification, model: nn.Module, world_size: int = 1, batch_size: int = 64, folder: RunFolder = NOWHERE
) -> Evaluation:
    model.eval()
    states = []
    for rank in range(world_size):
        evaluator = task.evaluator(folder)
        indices = list(eval_shard(len(task.eval_data), rank, world_size))
        for start in range(0, len(indices), batch_size):
            draws = [Draw(index, 0) for index in indices[start : start + batch_size]]
            evaluator.update(model, task.eval_data.collate([task.eval_data[draw] for draw in draws]))
        states.append(evaluator.state())
    return task.evaluator(folder).compute(states)


def train(task: Classification, model: nn.Module, epochs: int) -> None:
    data = task.train_data
    batches = StepBatches(
        RandomSampler(len(data)),
        batch_size=64,
        accumulate=1,
        rank=0,
        world_size=1,
        seed=0,
        first_iteration=0,
        last_iteration=epochs * math.ceil(len(data) / 64),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    for draws in batches:
        optimizer.zero_grad()
        batch = data.collate([data[draw] for draw in draws])
        torch.autograd.backward(list(task.step(model, batch, normalizer=len(draws)).values()))
        optimizer.step()
        losses.commit(loss for _, loss in losses.of(model))


class Oracle(nn.Module):
    """Predicts class 0 for the first of every four images it is asked for, and otherwise what it is told."""

    def __init__(self, answers: Iterator[int]) -> None:
        super().__init__()
        self.answers = answers
        self.loss = losses.build("cross_entropy", num_classes=10)

    def forward(self, images: Tensor) -> Tensor:
        answers = torch.tensor([next(self.answers) for _ in images], dtype=torch.int64)
        return nn.functional.one_hot(answers, 10).float()


def test_the_model_fits_the_data() -> None:
    model = cast(Classifier, task().build_model())
    images, _ = task().eval_data.collate([])
    assert model(images).shape == (0, 10)
    assert [type(loss).__name__ for _, loss in losses.of(model)] == ["CrossEntropy"]


def test_a_step_is_the_normalised_loss_and_feeds_the_statistics() -> None:
    digits = task("softmax_eql", tau=0.5)
    model = cast(Classifier, digits.build_model())
    data = digits.train_data
    images, labels = data.collate([data[Draw(index, 0)] for index in range(6)])
    named = digits.step(model, (images, labels), normalizer=12.0)
    assert list(named) == ["loss"]
    expected = nn.functional.cross_entropy(model.network(images), labels, reduction="sum") / 12
    torch.testing.assert_close(named["loss"], expected)
    model.loss.commit()
    assert model.loss.statistics.positive[labels].min() > 0


def test_evaluation_of_known_predictions() -> None:
    """Per class, 50 images of which class c has 5 c wrong, all taken for class 0."""
    digits = task()
    labels = digits.data.eval.collate([digits.eval_data[Draw(i, 0)] for i in range(500)])[1].tolist()
    answers = iter([0 if i % 50 < 5 * label else label for i, label in enumerate(labels)])
    result = evaluate(digits, Oracle(answers), batch_size=33)
    expected = [100 - 10 * c if c else 100 for c in range(10)]
    assert result.per_class["accuracy"] == pytest.approx(expected)
    assert tuple(result.metrics) == Classification.metrics
    assert result.metrics == pytest.approx(
        {
            "top1": np.mean(expected),
            "many": np.mean(expected[:3]),
            "medium": np.mean(expected[3:6]),
            "few": np.mean(expected[6:]),
            "hmean": 10 / sum(1 / value for value in expected),
            "worst": 10.0,
            "top5": np.mean([100] * 5 + expected[5:]),
            "top1_adjusted": np.mean([0] * 7 + [30, 20, 100]),  # 7 and 8 stay, others become 9
        }
    )


def test_per_class_columns() -> None:
    digits = task()
    columns = evaluate(digits, digits.build_model()).per_class
    assert list(columns) == ["class_id", "class_name", "group", "count", "num_eval", "accuracy"]
    assert {len(column) for column in columns.values()} == {10}
    assert columns["class_name"][3] == "3"
    assert columns["group"] == list(digits.data.groups)
    assert columns["count"] == digits.data.class_counts.tolist()
    assert columns["num_eval"] == [50] * 10
    assert all(type(value) in (int, float, str) for column in columns.values() for value in column)


@pytest.mark.parametrize("world_size", [2, 3, 501])
def test_the_numbers_do_not_depend_on_how_the_data_is_shared(world_size: int) -> None:
    """With 501 workers one of them has no sample at all."""
    digits = task()
    torch.manual_seed(0)
    model = digits.build_model()
    shared, alone = evaluate(digits, model, world_size), evaluate(digits, model)
    assert shared == alone
    tables = shared.tables["predictions"], alone.tables["predictions"]
    np.testing.assert_allclose(tables[0].pop("margin"), tables[1].pop("margin"), atol=2e-3)  # float16
    np.testing.assert_equal(*tables)


def test_what_was_predicted_for_each_image() -> None:
    digits = task()
    labels = digits.data.eval.collate([digits.eval_data[Draw(i, 0)] for i in range(500)])[1].numpy()
    answers = [i % 7 for i in range(500)]
    table = evaluate(digits, Oracle(iter(answers)), batch_size=33).tables["predictions"]
    assert table["image"].tolist() == list(range(500))
    assert table["label"].tolist() == labels.tolist()
    assert table["prediction"].tolist() == answers
    margin = (np.e - 1) / (np.e + 9)  # of the softmax of a 1 and nine 0
    expected = np.where(labels == answers, margin, -margin)
    np.testing.assert_allclose(table["margin"], expected, atol=1e-4)
    assert {name: column.dtype.name for name, column in table.items()} == {
        "image": "int32", "label": "int16", "prediction": "int16", "adjusted": "int16", "top5": "bool",
        "margin": "float16",
    }  # fmt: skip
    assert np.mean(table["adjusted"] == labels) < np.mean(table["top5"])


def test_the_metrics_are_those_of_the_stored_predictions(tmp_path: Path) -> None:
    digits = task()
    torch.manual_seed(1)
    result = evaluate(digits, digits.build_model())
    content = packed(result.tables["predictions"])
    assert len(content) < 5 * 500 + 2000  # bytes of 500 images and of the file
    (tmp_path / "predictions.parquet").write_bytes(content)
    totals = image_totals.read(tmp_path, {"": result.per_class["group"]})
    assert totals is not None
    found = totals.of_all()
    assert set(result.metrics) - set(found) == {"worst"}
    assert found == pytest.approx({name: result.metrics[name] for name in found}, nan_ok=True)


def test_mistakes_in_the_rarest_classes_are_drawn(tmp_path: Path) -> None:
    """Of the rarest, 9 and 8, all are taken for 0; of 7 none is; those of an earlier evaluation go."""
    digits, run = task(pictures=3), RunFolder(tmp_path)
    labels = digits.data.eval.collate([digits.eval_data[Draw(i, 0)] for i in range(500)])[1].tolist()
    answers = [0 if label in (9, 8, 6) else label for label in labels]
    run.samples.mkdir()
    for name in ("rare-02-class-7.png", "mine.png"):
        (run.samples / name).touch()
    evaluate(digits, Oracle(iter(answers)), folder=run)
    names = ["rare-00-class-9.png", "rare-01-class-8.png", "rare-03-class-6.png"]
    assert sorted(file.name for file in run.samples.iterdir()) == ["mine.png", *names]
    first = (run.samples / names[0]).read_bytes()
    evaluate(digits, Oracle(iter(answers)), folder=run, batch_size=33)
    assert (run.samples / names[0]).read_bytes() == first
    with Image.open(run.samples / names[0]) as page:
        shown = np.asarray(page.convert("L"))[24:152, 8:136]
    image = (data := digits.data.eval.images[labels.index(9)])[0] / data.max() * 255
    np.testing.assert_allclose(shown[8::16, 8::16], image, atol=1)


def test_pictures_are_no_part_of_what_a_run_is() -> None:
    assert spec(task=Plugin(name="classification", params={"pictures": 9})).run_id == spec().run_id
    with pytest.raises(ValueError, match="pictures -1: expected at least 0"):
        tasks.build(spec(task=Plugin(name="classification", params={"pictures": -1})))


def test_an_empty_batch_and_an_empty_group() -> None:
    digits = task(data=Digits(imbalance_factor=1, test_per_class=170))
    evaluator = digits.evaluator(NOWHERE)
    model = digits.build_model().eval()
    evaluator.update(model, digits.eval_data.collate([]))
    result = evaluator.compute([evaluator.state()])
    assert all(math.isnan(value) for value in result.metrics.values())
    metrics = evaluate(digits, model).metrics
    assert [math.isnan(metrics[name]) for name in ("many", "medium", "few")] == [True, True, False]


def test_digits_are_learned() -> None:
    digits = task(data=Digits(imbalance_factor=10))
    torch.manual_seed(0)
    model = digits.build_model()
    train(digits, model, epochs=8)
    assert evaluate(digits, model).metrics["top1"] > 60


def test_evaluation_changes_nothing() -> None:
    digits = task("softmax_eql")
    model = digits.build_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(digits, model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "suite": "test",
        "task_label": "digits",
        "loss_label": "softmax_eql",
        "task": Plugin(name="classification"),
        "task_version": 1,
        "protocol": "accuracy:last",
        "model": RESNET8,
        "data": Plugin(name="digits", params={"imbalance_factor": 20.0}),
        "data_digest": "",
        "loss": Plugin(name="softmax_eql", params={"tau": 2.0}),
        "train": Train(epochs=1),
        "budget": Budget.of(Train(epochs=1), samples_per_epoch=64),
        "seed": 0,
    }
    return RunSpec(**{**fields, **changes})


def test_build_from_a_run_spec_that_was_written_down() -> None:
    built = tasks.build(RunSpec.model_validate_json(spec().model_dump_json()))
    assert isinstance(built, Classification)
    assert built.data.class_counts.tolist()[-1] == 6
    loss = cast(Classifier, built.build_model()).loss
    assert loss.num_classes == 10
    assert cast(Any, loss).tau == 2.0


def test_build_names_what_is_unknown() -> None:
    with pytest.raises(InputError, match="did you mean 'digits'"):
        tasks.build(spec(data=Plugin(name="digit")))
    with pytest.raises(InputError, match="did you mean 'imbalance_factor'"):
        tasks.build(spec(data=Plugin(name="digits", params={"imbalance": 3})))


def test_losses_are_supplied_with_the_class_distribution() -> None:
    data = Digits()
    supplied = tasks.supplied_to_loss(data)
    assert supplied["num_classes"] == 10
    assert torch.equal(supplied["class_counts"], data.class_counts)
    assert supplied["class_frequency"].sum() == pytest.approx(1)
    assert tasks.build_loss(Plugin(name="cross_entropy"), data).num_classes == 10
