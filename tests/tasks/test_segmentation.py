"""Segmentation: what a step trains and accumulates, what an evaluation reports, and which losses fit pixels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segmentation_data import IGNORED, TINY, Shapes, segmentor
from torch import Tensor, nn
from training.same_runs import last_state
from training.tiny_runs import Tiny, group, planned

from eqbench import losses, plugins
from eqbench.data.base import Draw
from eqbench.data.samplers import eval_shard
from eqbench.evaluation import image_totals
from eqbench.evaluation.label_maps import predicted_classes
from eqbench.evaluation.tables import packed
from eqbench.losses.base import Loss
from eqbench.recipe import Train
from eqbench.run_folder import RunFolder
from eqbench.run_spec import Budget, Plugin, RunSpec
from eqbench.seeding import make_deterministic
from eqbench.tasks.base import Evaluation
from eqbench.tasks.segmentation import Segmentation

PER_PIXEL = Plugin(name="segmentation_data:PerPixel")
WITHOUT_DROPOUT = Plugin(name="segmentation_data:WithoutDropout")
LEARNING = segmentor(architecture="lraspp", norm="batch", auxiliary_weight=0.0, bias_prior=0.2)
C = 5
PARAMETERS: dict[str, dict[str, Any]] = {
    "sigmoid_eql": {"objectness": False},
    "group_softmax": {"boundaries": (500, 2000)},
    "eql": {"lambda_": 0.2},
    "eql_softmax": {"lambda_": 0.2},
    "federated": {"num_sampled": 2},
}
FITTING = [name for name in plugins.names("loss") if name not in ("eqfl", "quality_focal")]


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> Iterator[None]:
    """Training in this process sets how torch computes, and its random state."""
    random_state = torch.get_rng_state()
    yield
    make_deterministic(False)
    torch.set_rng_state(random_state)


def task(
    loss: str = "cross_entropy", data: Shapes | None = None, model: Plugin = TINY, params: Any = None, **options: Any
) -> Segmentation:
    chosen = PARAMETERS.get(loss, {}) if params is None else params
    return Segmentation(data or Shapes(), model, Plugin(name=loss, params=chosen), **{"pictures": 0, **options})


def crops(shapes: Segmentation, *indices: int) -> Any:
    data = shapes.train_data
    return data.collate([data[Draw(index, 0)] for index in indices])


def evaluate(
    shapes: Segmentation, model: nn.Module, folder: Path = Path("nowhere"), world_size: int = 1, batch_size: int = 3
) -> Evaluation:
    model.eval()
    states = []
    for rank in range(world_size):
        evaluator = shapes.evaluator(RunFolder(folder))
        indices = list(eval_shard(len(shapes.eval_data), rank, world_size))
        for start in range(0, len(indices), batch_size):
            draws = [Draw(index, 0) for index in indices[start : start + batch_size]]
            evaluator.update(model, shapes.eval_data.collate([shapes.eval_data[draw] for draw in draws]))
        states.append(evaluator.state())
    return shapes.evaluator(RunFolder(folder)).compute(states)


# -- training ----------------------------------------------------------------------------------------------------


def test_a_step_divides_by_all_pixels_of_the_whole_step() -> None:
    """Those without a class too. Six samples of the step are two shares of three."""
    shapes = task(model=PER_PIXEL)
    model: Any = shapes.build_model()
    images, labels = crops(shapes, 0, 13, 20)
    named = shapes.step(model, (images, labels), normalizer=6 / 2)
    assert (labels == IGNORED).any()
    logits = model.network(shapes.data.normalization.apply(images))
    summed = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(named["loss"], summed / (3 * 32 * 32))


def by_label(gradient: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) sums of |gradient| (n, K, H, W) over the pixels of each class's label, and over all others."""
    magnitude = gradient[:, :C].abs().double().movedim(1, -1)[labels != IGNORED]
    own = nn.functional.one_hot(labels[labels != IGNORED], C).bool()
    return (magnitude * own).sum(0), (magnitude * ~own).sum(0)


@contextlib.contextmanager
def given_to(heads: list[Loss]) -> Iterator[list[tuple[Tensor, ...]]]:
    """Logits and labels of each call of the losses inside."""
    given: list[tuple[Tensor, ...]] = []
    with contextlib.ExitStack() as stack:
        for head in heads:
            stack.callback(head.register_forward_pre_hook(lambda _, args: given.append(args)).remove)
        yield given


@pytest.mark.parametrize("micro_batches", [[(0, 1, 13, 20)], [(0, 13), (1, 20)], [(0, 1, 13, 20), ()]])
@pytest.mark.parametrize("loss", FITTING)
def test_statistics_are_the_gradient_of_the_logits_by_label(loss: str, micro_batches: list[tuple[int, ...]]) -> None:
    """Of main and auxiliary head, in the second of two steps, whose weights come from the first."""
    shapes = task(loss, model=WITHOUT_DROPOUT)
    model: Any = shapes.build_model()
    heads: list[Loss] = [model.loss, model.auxiliary_loss]
    for _ in range(2):
        before = [head.statistics.positive.clone() for head in heads], [h.statistics.negative.clone() for h in heads]
        expected = torch.zeros(2, len(heads), C, dtype=torch.float64)
        for indices in micro_batches:
            with given_to(heads) as given:
                named = shapes.step(model, crops(shapes, *indices), normalizer=4.0)
            for place, (logits, labels) in enumerate(given):
                (gradient,) = torch.autograd.grad(sum(named.values()), logits, retain_graph=True)  # type: ignore[arg-type]
                if not heads[place].normalized:  # of the sum over pixels; the loss divided it
                    gradient = gradient * 4 * 32 * 32 / (0.4 if place else 1)
                expected[:, place] += torch.stack(by_label(gradient, labels))
        losses.commit(heads)
    for place, head in enumerate(heads):
        found = head.statistics.positive - before[0][place], head.statistics.negative - before[1][place]
        for ours, gradients in zip(found, expected[:, place], strict=True):
            torch.testing.assert_close(ours, gradients, rtol=1e-4, atol=1e-9)
            assert gradients.any()


def run(**train: Any) -> RunSpec:
    """22 images in batches of 7, 7, 7 and 1."""
    fields = {"epochs": 2, "batch_size": 7, "optimizer": {"name": "sgd", "lr": 0.05}, "deterministic": True, **train}
    config = Train.model_validate(fields)
    return RunSpec(
        suite="tiny",
        task_label="shapes",
        loss_label="softmax_eql",
        task=Plugin(name="segmentation", params={"pictures": 2}),
        task_version=1,
        protocol="miou:whole:last",
        model=WITHOUT_DROPOUT,
        data=Plugin(name="segmentation_data:Shapes"),
        data_digest="shapes",
        loss=Plugin(name="softmax_eql"),
        train=config,
        budget=Budget.of(config, samples_per_epoch=22),
        seed=3,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, float]]:
    folder = planned(tmp_path_factory.mktemp("alone") / "run", run())
    (metrics,) = group(folder, 1)
    return folder, metrics


@pytest.mark.parametrize(("workers", "accumulate"), [(1, 2), (2, 1), (2, 2)])
def test_workers_and_micro_batches_do_not_change_the_training(
    workers: int, accumulate: int, tmp_path: Path, alone: tuple[RunFolder, dict[str, float]]
) -> None:
    """The last batch of an epoch is one image: shares of none."""
    folder = planned(tmp_path / "run", run(accumulate=accumulate))
    assert group(folder, workers) == [pytest.approx(alone[1], nan_ok=True, abs=0.1)] * workers
    found, expected = last_state(folder)["model"], last_state(alone[0])["model"]
    assert any("auxiliary_loss.statistics" in name for name in expected)
    for name, value in found.items():
        tolerance = {"rtol": 1e-5, "atol": 0.0} if ".statistics." in name else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(value, expected[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("loss", ["cross_entropy", "sigmoid_eql"])
def test_shapes_are_learned(loss: str) -> None:
    shapes = task(loss, Shapes((8, 8, 8, 4)), LEARNING)
    torch.manual_seed(0)
    model = shapes.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = crops(shapes, *range(28))
    for _ in range(40):
        optimizer.zero_grad()
        torch.autograd.backward(list(shapes.step(model, batch, normalizer=28.0).values()))
        optimizer.step()
        losses.commit(loss for _, loss in losses.of(model))
    found = evaluate(shapes, model).metrics
    assert found["miou"] > 60
    assert found["pixel_accuracy"] > 85


# -- which losses fit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", FITTING)
def test_losses_for_pixels(loss: str) -> None:
    task(loss).check_loss()


@pytest.mark.parametrize(
    ("loss", "params", "reason"),
    [
        ("eqfl", {}, "needs the quality of boxes, which segmentation has not"),
        ("quality_focal", {}, "needs the quality of boxes"),
        ("sigmoid_eql", {}, "objectness true: every labelled pixel is of a class"),
        ("seesaw", {"objectness": True}, "objectness true"),
        ("group_softmax", {"boundaries": [10, 100]}, r"boundaries \[10, 100\]: all classes are in one group; they are"),
        ("training.tiny_runs:Faulty", {}, "does not take ignore_index"),
    ],
)
def test_losses_that_do_not_fit_pixels(loss: str, params: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        task(loss, params=params).check_loss()


# -- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 8}, "stride 8: inference 'whole' has none"),
        ({"inference": "slide", "stride": 33}, "stride 33: expected 1 to 32, the crop size"),
        ({"inference": "slide", "stride": 0}, "stride 0: expected 1 to 32"),
        ({"pictures": -1}, "pictures -1: expected at least 0"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_data_without_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a data set of label masks, which Tiny is not"):
        Segmentation(Tiny(), TINY, Plugin(name="cross_entropy"))  # type: ignore[arg-type]


def test_a_model_that_cannot_be_built_is_refused() -> None:
    shapes = task(model=segmentor(backbone_weights=None, auxiliary_weight=None, bias_prior=2.0))
    with pytest.raises(ValueError, match="bias_prior 2"):
        shapes.check_model()
    task(model=PER_PIXEL).check_model()


def test_ways_of_inference_do_not_share_a_protocol() -> None:
    protocols = [
        task(**options).protocol
        for options in ({}, {"inference": "slide"}, {"inference": "slide", "stride": 16}, {"pictures": 3})
    ]
    assert protocols == ["miou:whole:last", "miou:slide-32-21:last", "miou:slide-32-16:last", "miou:whole:last"]


# -- evaluation --------------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Predicts the labels it is given, image by image, except that it takes class 4 for class 1."""

    def __init__(self, shapes: Segmentation, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.loss = losses.build("cross_entropy", num_classes=C, ignore_index=IGNORED)
        self._labels = [shapes.eval_data[Draw(index, 0)][1].long() for index in range(len(shapes.eval_data))]
        self._next = iter(self._labels)

    def forward(self, images: Tensor) -> Tensor:
        maps = [next(self._next) for _ in images]
        known = [each.where(each != IGNORED, 0).where(each != 4, 1) for each in maps]
        logits = torch.stack([nn.functional.one_hot(each, C).movedim(-1, 0).float() for each in known])
        return nn.functional.interpolate(logits, size=images.shape[-2:], mode="nearest")


@pytest.mark.parametrize("shown", [1.0, 2.0])
def test_evaluation_of_known_predictions(shown: float) -> None:
    """At the labels' own size, however large the images are for the model."""
    shapes = task(data=Shapes(shown=shown, published=True))
    result = evaluate(shapes, Oracle(shapes))
    pixels = 16 * 16 * 2  # of each shape's class, in two images
    assert result.per_class["iou"] == pytest.approx([100, 50, 100, 100, 0])
    assert result.per_class["accuracy"] == pytest.approx([100, 100, 100, 100, 0])
    assert result.per_class["num_eval"][1:] == [pixels] * 4
    background = result.per_class["num_eval"][0]
    assert tuple(result.metrics) == Segmentation.metrics
    assert result.metrics == pytest.approx(
        {
            "miou": 70,
            "macc": 80,
            "pixel_accuracy": 100 * (background + 3 * pixels) / (background + 4 * pixels),
            "miou_head": 100,
            "miou_body": 50,
            "miou_tail": 200 / 3,
            "macc_head": 100,
            "macc_body": 100,
            "macc_tail": 200 / 3,
            "published_miou_head": 50,
            "published_miou_body": 75,
            "published_miou_tail": 100,
            "published_macc_head": 50,
            "published_macc_body": 100,
            "published_macc_tail": 100,
        }
    )


def test_per_class_columns() -> None:
    shapes = task(data=Shapes(published=True))
    columns = evaluate(shapes, shapes.build_model()).per_class
    assert columns["class_id"] == list(range(C))
    assert columns["class_name"][4] == "colour 4"
    assert columns["group"] == ["head", "body", "tail", "tail", "tail"]
    assert columns["count"] == shapes.data.class_counts.tolist()
    assert columns["images"] == [22, 12, 6, 3, 1]
    assert columns["published_group"] == ["tail", "body", "body", "head", "head"]
    assert all(type(value) in (int, float, str) for column in columns.values() for value in column)
    assert "published_group" not in evaluate(task(), shapes.build_model()).per_class


SIZES = [(32, 32), (40, 24), (17, 60)]


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_the_numbers_do_not_depend_on_how_the_data_is_shared(world_size: int) -> None:
    """Nor on the batches. With 9 workers one of them has no image at all."""
    shapes = task(data=Shapes(sizes=SIZES))
    model = shapes.build_model()
    alone = evaluate(shapes, model, batch_size=1)
    shared = evaluate(shapes, model, world_size=world_size)
    assert same_but_nan(alone, shared)
    np.testing.assert_equal(alone.tables, shared.tables)
    assert alone.tables["predictions"]["image"].max() == len(shapes.eval_data) - 1


def test_pixels_of_each_image(tmp_path: Path) -> None:
    """Its own forward pass, image by image; all metrics follow from them."""
    shapes = task(data=Shapes(sizes=SIZES, published=True))
    torch.manual_seed(0)
    model: Any = shapes.build_model().eval()
    result = evaluate(shapes, model)
    rows = []
    for index in range(len(shapes.eval_data)):
        (image,), (labels,) = shapes.eval_data.collate([shapes.eval_data[Draw(index, 0)]])
        with torch.no_grad():
            logits = model(shapes.data.normalization.apply(image[None]))
        predictions = predicted_classes(model.loss, logits[0], labels.shape)
        counted = labels != IGNORED
        for class_id in range(C):
            label, prediction = (labels == class_id)[counted], (predictions == class_id)[counted]
            pixels = [int(each.sum()) for each in (label & prediction, label, prediction)]
            rows += [[index, class_id, *pixels]] if any(pixels) else []
    assert np.stack(list(result.tables["predictions"].values()), axis=1).tolist() == rows
    confusion = result.tables["confusion"]
    of_label = np.bincount(confusion["label"], confusion["pixels"], minlength=C)
    assert of_label.tolist() == result.per_class["num_eval"]
    assert (confusion["pixels"] > 0).all()
    (tmp_path / "predictions.parquet").write_bytes(packed(result.tables["predictions"]))
    groups = {"": result.per_class["group"], "published_": result.per_class["published_group"]}
    totals = image_totals.read(tmp_path, groups)
    assert totals is not None
    found = totals.of_all()
    assert set(found) == set(result.metrics)
    assert found == pytest.approx(result.metrics, nan_ok=True)


def same_but_nan(one: Evaluation, other: Evaluation) -> bool:
    return one.metrics == pytest.approx(other.metrics, nan_ok=True) and all(
        one.per_class[name] == pytest.approx(other.per_class[name], nan_ok=True)
        if name in ("iou", "accuracy")
        else one.per_class[name] == other.per_class[name]
        for name in one.per_class
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "sigmoid_eql", "group_softmax"])
def test_sliding_windows_are_whole_images_to_a_network_of_single_pixels(loss: str) -> None:
    """Some images are smaller than a window."""
    data = Shapes(sizes=SIZES, shown=2.0)
    whole, slide = (task(loss, data, PER_PIXEL, inference=name) for name in ("whole", "slide"))
    torch.manual_seed(0)
    model = whole.build_model()
    assert same_but_nan(evaluate(whole, model), evaluate(slide, model))


def test_windows_that_slide_matter_to_a_network_that_sees_more() -> None:
    data = Shapes(sizes=[(70, 60)])
    whole, slide = (task(data=data, inference=name) for name in ("whole", "slide"))
    torch.manual_seed(0)
    model = whole.build_model()
    assert not same_but_nan(evaluate(whole, model), evaluate(slide, model))


def test_scores_of_large_images_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = task("group_softmax", Shapes(sizes=SIZES))
    model = shapes.build_model()
    at_once = evaluate(shapes, model)
    monkeypatch.setattr("eqbench.evaluation.label_maps.LOGITS_AT_ONCE", 1000)
    assert same_but_nan(evaluate(shapes, model), at_once)


def test_nothing_to_evaluate() -> None:
    shapes = task()
    evaluator = shapes.evaluator(RunFolder(Path("nowhere")))
    evaluator.update(shapes.build_model().eval(), shapes.eval_data.collate([]))
    result = evaluator.compute([evaluator.state()])
    assert all(math.isnan(value) for value in result.metrics.values())
    assert {len(column) for table in result.tables.values() for column in table.values()} == {0}


def test_evaluation_changes_nothing() -> None:
    shapes = task("softmax_eql")
    model = shapes.build_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(shapes, model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# -- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [1, 2])
def test_pictures_of_the_rarest_classes(world_size: int, tmp_path: Path) -> None:
    shapes = task(data=Shapes(per_class=1), pictures=3)
    evaluate(shapes, shapes.build_model(), tmp_path, world_size=world_size)
    files = sorted(file.name for file in (tmp_path / "samples").iterdir())
    assert files == ["rare-00-class-4.png", "rare-01-class-3.png", "rare-02-class-2.png"]
    with Image.open(tmp_path / "samples" / files[0]) as page:
        assert np.asarray(page).std() > 0


def test_no_pictures(tmp_path: Path) -> None:
    shapes = task(pictures=0)
    evaluate(shapes, shapes.build_model(), tmp_path)
    assert not (tmp_path / "samples").exists()
