"""Detectors as a whole: they learn, predict, resume, and say what does not fit before they are built."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from eqbench import losses, plugins
from eqbench.errors import InputError
from eqbench.models.mmdet_detector import MMDetDetector, run_lengths
from tests.models.tiny_detectors import (
    ATSS,
    CASCADE,
    CLASSES,
    FASTER,
    FCOS,
    GFL,
    MASKED,
    OVERRIDES,
    PAA,
    RETINA,
    TOOD,
    YOLOX,
    batch,
    build_loss,
    detector,
    sample,
)

pytest.importorskip("mmdet")
FAMILIES = [MASKED, CASCADE, RETINA, ATSS, FCOS, PAA, GFL, YOLOX, TOOD]
EVERYTHING = {"score_thr": 0.0, "max_per_img": 7}


def everything(config: str) -> dict[str, Any]:
    """Overrides for detections, however unlikely."""
    place = "model.test_cfg.rcnn" if config in (MASKED, CASCADE, FASTER) else "model.test_cfg"
    return {f"{place}.{key}": value for key, value in EVERYTHING.items()}


def step(model: MMDetDetector, samples: list[dict[str, Any]], share: float = 1.0) -> dict[str, float]:
    torch.manual_seed(1)
    np.random.seed(1)
    values = model(samples, share=share)
    torch.stack(list(values.values())).sum().backward()
    return {name: float(value.detach()) for name, value in values.items()}


# -- training ----------------------------------------------------------------------------------------------------


def test_the_example_of_the_readme() -> None:
    params = {"config": MASKED, "overrides": {"model.backbone.depth": 18}}
    MMDetDetector.check(params, num_classes=1203, masks=True)
    model = plugins.construct(
        "model", "mmdet_detector", params, num_classes=1203, build_loss=lambda: build_loss("sigmoid_eql", 1203)
    )
    assert model.network.roi_head.bbox_head.fc_cls.out_features == 1204
    assert model.network.roi_head.mask_head.conv_logits.out_channels == 1203
    step(model, [sample(1, classes=1203)])
    trained = {name: each.grad for name, each in model.named_parameters() if each.requires_grad}
    assert all(gradient is not None for gradient in trained.values())
    assert not any(name.startswith(("network.backbone.layer1", "network.backbone.conv1")) for name in trained)  # frozen


@pytest.mark.parametrize("config", [FASTER, ATSS])
def test_it_learns(config: str) -> None:
    model = detector(config, "focal", overrides={"model.backbone.frozen_stages": -1})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    sums = []
    for _ in range(25):
        optimizer.zero_grad()
        sums.append(sum(step(model, batch()).values()))
        optimizer.step()
        losses.commit([loss for _, loss in losses.of(model)])
    assert np.mean(sums[-5:]) < 0.8 * np.mean(sums[:2])


@pytest.mark.parametrize("config", FAMILIES)
def test_share_is_a_factor_of_losses_and_statistics(config: str) -> None:
    found = []
    for share in (1.0, 0.25):
        model = detector(config, "efl")
        values = step(model, batch(), share)
        losses.commit([loss for _, loss in losses.of(model)])
        found.append((values, torch.stack([loss.statistics.negative for _, loss in losses.of(model)])))
    (whole, whole_statistics), (part, part_statistics) = found
    assert whole.keys() == part.keys()
    assert part == pytest.approx({name: 0.25 * value for name, value in whole.items()}, rel=1e-4)
    torch.testing.assert_close(part_statistics, 0.25 * whole_statistics, rtol=1e-4, atol=0)
    assert whole_statistics.sum() > 0


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group("gloo", init_method=f"file://{Path(folder) / 'group'}", rank=0, world_size=1)
        yield
        distributed.destroy_process_group()


@pytest.mark.parametrize("config", FAMILIES)
@pytest.mark.usefixtures("group")
def test_every_trained_parameter_has_a_gradient(config: str) -> None:
    model = detector(config, "bce")
    model.network.register_parameter("unused", torch.nn.Parameter(torch.ones(2)))
    names = set(step(model, batch()))
    for samples in (batch(objects=0), []):
        model.zero_grad(set_to_none=True)
        losses.commit([loss for _, loss in losses.of(model)])
        before = copy.deepcopy(model.state_dict())
        values = step(model, samples)
        assert all(np.isfinite(value) for value in values.values())
        missing = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
        assert missing == []
        if not samples:
            assert set(values) <= names
            assert set(values.values()) == {0.0}
            assert not any(each.grad.any() for each in model.parameters() if each.grad is not None)
            assert not any(loss.statistics.is_pending for _, loss in losses.of(model))
            counter = "network.data_preprocessor.batch_augments.0.batches"
            same = {key for key, part in model.state_dict().items() if torch.equal(part, before[key])}
            assert set(before) - same <= {counter}
            assert model.network.training


@pytest.mark.parametrize("config", [CASCADE, YOLOX, TOOD])
def test_a_copy_and_a_resumed_model_go_on_alike(config: str) -> None:
    model = detector(config, "efl")
    step(model, batch())
    losses.commit([loss for _, loss in losses.of(model)])
    model.zero_grad(set_to_none=True)
    resumed = detector(config, "efl")
    resumed.load_state_dict(model.state_dict())
    others = [copy.deepcopy(model), resumed]
    expected = step(model, batch())
    for other in others:
        assert step(other, batch()) == expected
        found, wanted = losses.of(other), losses.of(model)
        assert [name for name, _ in found] == [name for name, _ in wanted]
        for (_, loss), (_, same) in zip(found, wanted, strict=True):
            loss.commit()
            assert loss is not same
    losses.commit([loss for _, loss in losses.of(model)])
    for other in others:
        for (_, loss), (_, same) in zip(losses.of(other), losses.of(model), strict=True):
            assert torch.equal(loss.statistics.negative, same.statistics.negative)


def test_weights_reach_the_backbone(tmp_path: Path) -> None:
    first = detector(RETINA)
    state = {key: part + 1 for key, part in first.network.backbone.state_dict().items()}
    torch.save({**state, "fc.weight": torch.zeros(2)}, tmp_path / "body.pth")
    second = detector(RETINA, backbone_weights=str(tmp_path / "body.pth"))
    assert all(torch.equal(part, state[key]) for key, part in second.network.backbone.state_dict().items())
    torch.save({}, tmp_path / "body.pth")
    with pytest.raises(InputError, match=r"body.pth: has no 'bn1.bias'"):
        detector(RETINA, backbone_weights=str(tmp_path / "body.pth"))


# -- prediction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", FAMILIES)
def test_predictions(config: str) -> None:
    from pycocotools.mask import decode

    model = detector(config, "efl", overrides=everything(config)).eval()
    assert model.predict([]) == []
    samples = batch()
    found = model.predict(samples)
    again = model.predict(samples[1:])
    assert len(found) == 2
    for sample_, each in zip(samples, found, strict=True):
        height, width = sample_["data_samples"].ori_shape
        count = len(each["scores"])
        assert 0 < count <= 7
        assert each["boxes"].shape == (count, 4)
        assert (each["boxes"].dtype, each["scores"].dtype, each["labels"].dtype) == (np.float32, np.float32, np.int64)
        assert np.all(each["scores"][:-1] >= each["scores"][1:])
        assert np.all((each["labels"] >= 0) & (each["labels"] < CLASSES))
        if config not in (YOLOX, TOOD):  # whose boxes mmdet does not cut at the border
            assert np.all((each["boxes"] >= 0) & (each["boxes"] <= [width, height, width, height]))
        if config in (MASKED, CASCADE):
            assert decode(each["masks"]).shape == (height, width, count)
        else:
            assert each["masks"] is None
    assert np.allclose(again[0]["scores"], found[1]["scores"], atol=1e-4)


def test_no_detections() -> None:
    model = detector(MASKED, overrides={"model.test_cfg.rcnn.score_thr": 1.0}).eval()
    for each in model.predict(batch()):
        assert (each["boxes"].shape, each["scores"].shape, each["masks"]) == ((0, 4), (0,), [])


def test_run_lengths() -> None:
    from pycocotools.mask import encode

    masks = torch.rand(5, 7, 11) > 0.5
    expected = [encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]
    assert run_lengths(masks) == expected
    assert run_lengths(masks[:0]) == []


# -- before it is built ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "masks", "message"),
    [
        ({"config": "retinanet/retinanet_r50"}, True, "^config: 'retinanet/retinanet_r50': expected"),
        ({"config": RETINA, "overrides": {"model.backbone.dept": 18}}, True, "did you mean 'depth'"),
        ({"config": RETINA, "backbone_weights": "nowhere.pth"}, True, "nowhere.pth: no such file"),
        ({"config": RETINA, "bias_prior": 1.0}, True, "bias_prior: 1.0: expected a probability between 0 and 1"),
        ({"config": MASKED}, False, "trains masks, which the data do not have"),
    ],
)
def test_what_cannot_be_built_is_refused(params: dict[str, Any], masks: bool, message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        MMDetDetector.check(params, num_classes=CLASSES, masks=masks)


def test_what_can_be_built_is_not_refused() -> None:
    for config, overrides in OVERRIDES.items():
        MMDetDetector.check({"config": config, "overrides": overrides}, num_classes=CLASSES, masks=True)


def test_what_mmdet_refuses_is_one_message() -> None:
    with pytest.raises(InputError, match=r"^config: 'retinanet/\S+': mmdet cannot build it: .*invalid depth 19"):
        detector(RETINA, overrides={"model.backbone.depth": 19})


def test_building_and_training_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    step(detector(CASCADE), batch())
    assert capfd.readouterr() == ("", "")


def test_pipelines() -> None:
    train, test = MMDetDetector.pipelines({"config": MASKED, "overrides": {"test_pipeline.1.scale": [64, 64]}})
    assert train[1] == {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}
    assert test[1]["scale"] == (64, 64)
