"""Each loss in each family of mmdet's heads: it trains as outside of mmdet, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from eqbench import losses, plugins
from eqbench.errors import InputError
from eqbench.losses.base import Loss
from eqbench.models.mmdet_detector import MMDetDetector
from eqbench.models.mmdet_heads import DenseLoss, RegionLoss, adapters, check_activation, divisors
from tests.models.tiny_detectors import (
    ATSS,
    CASCADE,
    CLASSES,
    DOUBLE,
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
)

pytest.importorskip("mmdet")

NO_BACKGROUND = "for which .* has no label"
COLUMNS = "columns of logits"
QUALITY = "needs the quality of boxes"
SIGMOID = "with another activation"
DRAWN = "drawn at random"
UNLABELLED = dict.fromkeys(
    ("balanced_softmax", "logit_adjustment", "ldam", "class_balanced", "eql_softmax", "seesaw"), NO_BACKGROUND
)
NO_QUALITY = dict.fromkeys(("quality_focal", "eqfl"), QUALITY)
WIDER = dict.fromkeys(("cross_entropy", "softmax_eql", "group_softmax", "sigmoid_eql"), COLUMNS)
REGION = UNLABELLED | NO_QUALITY
EITHER = REGION | {"group_softmax": COLUMNS}
CLASSES_ONLY = UNLABELLED | WIDER
REFUSED: dict[str, dict[str, str]] = {
    FASTER: REGION,
    MASKED: REGION,
    DOUBLE: REGION | dict.fromkeys(("bce", "focal", "eql", "efl", "federated", "group_softmax"), COLUMNS),
    RETINA: EITHER,
    ATSS: EITHER,
    FCOS: EITHER,
    PAA: CLASSES_ONLY | NO_QUALITY | {"federated": DRAWN},
    GFL: CLASSES_ONLY,
    TOOD: CLASSES_ONLY,
    YOLOX: WIDER | dict.fromkeys(UNLABELLED, SIGMOID),
}
"""Which losses, with the parameters they have by default, a head refuses, and why; all others it trains."""
OTHERWISE: list[tuple[str, str, dict[str, Any]]] = [
    *((config, "sigmoid_eql", {"objectness": False}) for config in (FASTER, RETINA, PAA, GFL, TOOD, YOLOX)),
    (FASTER, "seesaw", {"objectness": True}),
    (YOLOX, "class_balanced", {"form": "sigmoid"}),
    (YOLOX, "class_balanced", {"form": "focal"}),
    (PAA, "federated", {"num_sampled": CLASSES}),
]
PARAMETERS = {"federated": {"num_sampled": 2}}


def test_the_table_knows_every_loss() -> None:
    assert {name for refused in REFUSED.values() for name in refused} <= set(plugins.names("loss"))
    assert len(plugins.names("loss")) == 17


@pytest.mark.parametrize("config", REFUSED)
def test_each_loss_trains_or_is_refused(config: str) -> None:
    for name in plugins.names("loss"):
        loss = build_loss(name, **PARAMETERS.get(name, {}))
        reason = REFUSED[config].get(name)
        params = {"config": config, "overrides": OVERRIDES[config]}
        if reason:
            with pytest.raises(ValueError, match=reason):
                MMDetDetector.check_loss(params, loss)
        else:
            MMDetDetector.check_loss(params, loss)
            check_step(config, name, PARAMETERS.get(name, {}))


@pytest.mark.parametrize(("config", "name", "params"), OTHERWISE)
def test_a_parameter_makes_it_fit(config: str, name: str, params: dict[str, Any]) -> None:
    check_step(config, name, params)


@pytest.mark.parametrize(
    ("config", "name", "hint"),
    [
        (FASTER, "seesaw", "has no label; with objectness: true it fits"),
        (GFL, "seesaw", "has no label$"),
        (
            GFL,
            "sigmoid_eql",
            r"has C columns of logits, SigmoidEQL C \+ 1 \(C classes\); with objectness: false it fits",
        ),
        (RETINA, "group_softmax", r"has C or C \+ 1 columns of logits, GroupSoftmax C \+ 6 \(C classes\)$"),
        (ATSS, "eqfl", "ATSSHead does not give; GFLHead, TOODHead, YOLOXHead do"),
    ],
)
def test_what_would_make_it_fit_is_said(config: str, name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"^does not fit config '{config}': .*{hint}"):
        MMDetDetector.check_loss({"config": config}, build_loss(name))


class Seen:
    """What a head gave its loss in a step, and the gradients of those logits.

    Attributes:
        calls: logits (N, K) and targets.
    """

    def __init__(self, model: MMDetDetector) -> None:
        self.calls: list[tuple[Tensor, Any]] = []
        for module in model.modules():
            if isinstance(module, adapters.ClassificationLoss):
                module.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: Any, given: tuple[Any, ...], options: dict[str, Any]) -> None:
        logits, target = given[:2]
        if options.get("reduction_override") != "none":
            logits.retain_grad()
            self.calls.append((logits, target))

    def gradients(self, config: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(N, K) derivative of what was trained by the logits, and labels (N,)."""
        for given, target in self.calls:
            assert given.grad is not None
            labels = target[0] if isinstance(target, tuple) else target
            labels = labels.argmax(1) if labels.dim() == 2 else labels
            inner = given.detach() * (1 - given.detach()) if config == TOOD else 1.0
            yield given.grad * inner, labels


def check_step(config: str, name: str, params: dict[str, Any], share: float = 0.5) -> None:
    """One step: finite losses, and statistics of the gradient that autograd took of the sum of all losses."""
    model = detector(config, lambda: build_loss(name, **params))
    ((_, loss),) = losses.of(model)
    seen = Seen(model)
    values = model(batch(), share=share)
    total = torch.stack(list(values.values())).sum()
    total.backward()
    loss.commit()
    assert total.isfinite()
    assert total > 0
    positive, negative = torch.zeros(2, CLASSES, dtype=torch.float64)
    for gradient, labels in seen.gradients(config):
        size = gradient[:, :CLASSES].abs().double()
        own = torch.nn.functional.one_hot(labels, CLASSES + 1)[:, :CLASSES].bool()
        positive += (size * own).sum(0)
        negative += (size * ~own).sum(0)
    if not loss.normalized:  # the gradient of the sum: known but for a factor
        factor = loss.statistics.positive.sum() / positive.sum()
        assert factor > 1
        positive, negative = positive * factor, negative * factor
    assert positive.sum() > 0
    torch.testing.assert_close(loss.statistics.positive, positive, rtol=1e-3, atol=1e-6, msg=f"{config} {name}")
    torch.testing.assert_close(loss.statistics.negative, negative, rtol=1e-3, atol=1e-6, msg=f"{config} {name}")


# -- single calls ------------------------------------------------------------------------------------------------


def test_single_losses_are_those_of_single_samples_and_count_nowhere() -> None:
    loss = build_loss("efl", loss_weight=0.5)
    adapter = DenseLoss(loss)
    logits, labels, weight = torch.randn(4, CLASSES), torch.tensor([0, 3, CLASSES, 3]), torch.tensor([1.0, 2, 1, 0])
    each = adapter(logits.requires_grad_(), labels, weight, avg_factor=7.0, reduction_override="none")
    assert not loss.statistics.is_pending
    whole = adapter(logits, labels, weight, avg_factor=7.0)
    torch.testing.assert_close(each.sum() / 7, whole)
    assert each[3] == 0
    assert adapter(logits[:0], labels[:0], weight[:0], reduction_override="none").shape == (0, 1)


@pytest.mark.parametrize("name", ["bce", "cross_entropy", "sigmoid_eql", "efl"])
def test_no_samples(name: str) -> None:
    adapter = RegionLoss(build_loss(name))
    logits = torch.zeros(0, adapter.get_cls_channels(CLASSES), requires_grad=True)
    value = adapter(logits, torch.zeros(0, dtype=torch.int64), torch.zeros(0), avg_factor=1.0)
    value.backward()
    assert value == 0
    assert adapter.get_activation(logits).shape == (0, CLASSES + 1)
    assert adapter.get_accuracy(logits, logits) == {}


def test_forms_of_targets() -> None:
    labels, quality = torch.tensor([1, 4]), torch.tensor([0.25, 1 + 1e-6])
    soft = torch.tensor([[0, 0.25, 0, 0, 0], [0, 0, 0, 0, 1 + 1e-6]])
    for target in (soft, (labels, quality)):
        for name in ("eqfl", "bce"):
            found, used = DenseLoss(build_loss(name)).targets(target)
            assert found.tolist() == labels.tolist()
            assert (None if used is None else used.tolist()) == ([0.25, 1.0] if name == "eqfl" else None)


def test_a_positive_without_overlap_keeps_its_label() -> None:
    class Assigned:
        max_overlaps = torch.tensor([0.0, 0.5])

    class Assigner:
        def assign(self, *given: Any) -> Assigned:
            return Assigned()

    overlaps = divisors._Overlapping(Assigner()).assign().max_overlaps
    assert overlaps.tolist() == pytest.approx([1e-6, 0.5])
    model = detector(YOLOX, "efl")
    assert isinstance(model.network.bbox_head.assigner, divisors._Overlapping)


def test_each_stage_has_statistics_of_its_own() -> None:
    model = detector(CASCADE, "sigmoid_eql")
    found = losses.of(model)
    assert [name for name, _ in found] == [f"network.roi_head.bbox_head.{stage}.loss_cls.loss" for stage in range(3)]
    torch.stack(list(model(batch()).values())).sum().backward()
    assert all(loss.statistics.is_pending for _, loss in found)
    losses.commit([loss for _, loss in found])
    sums = [float(loss.statistics.negative.sum()) for _, loss in found]
    assert len(set(sums)) == 3
    assert min(sums) > 0


def test_statistics_of_a_stage_are_of_the_gradient_with_its_weight() -> None:
    model = detector(CASCADE, "bce")
    seen = Seen(model)
    torch.stack(list(model(batch()).values())).sum().backward()
    found = losses.of(model)
    losses.commit([loss for _, loss in found])
    for (gradient, _), (_, loss) in zip(seen.gradients(CASCADE), found, strict=True):
        total = loss.statistics.positive + loss.statistics.negative
        torch.testing.assert_close(total, gradient.abs().double().sum(0), rtol=1e-4, atol=1e-8)


# -- activation --------------------------------------------------------------------------------------------------


class Forgetful(RegionLoss):
    """As mmdet's EQLV2Loss: the head predicts with softmax from a sigmoid loss."""

    custom_cls_channels = False


def test_another_activation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detector(FASTER, "sigmoid_eql")
    head = model.network.roi_head.bbox_head
    loss = head.loss_cls.loss
    check_activation("roi_head.bbox_head", head, loss)
    head.loss_cls = Forgetful(loss)
    with pytest.raises(
        InputError, match=r"roi_head.bbox_head \(Shared2FCBBoxHead\) with SigmoidEQL: its scores differ"
    ):
        check_activation("roi_head.bbox_head", head, loss)


@pytest.mark.parametrize("config", [RETINA, ATSS, FCOS, PAA, GFL, TOOD, YOLOX])
def test_another_activation_of_a_dense_head_is_found(config: str) -> None:
    class Other(type(build_loss("bce"))):  # type: ignore[misc]
        def scores(self, logits: Tensor) -> Tensor:
            return super().scores(logits) ** 2

    head = detector(config, "bce").network.bbox_head
    head.loss_cls = adapters.ClassificationLoss(head.loss_cls.loss)
    head.loss_cls.custom_cls_channels = False
    check_activation("bbox_head", head, head.loss_cls.loss)
    with pytest.raises(InputError, match="training and inference do not use the same activation"):
        check_activation("bbox_head", head, Other(num_classes=CLASSES))


# -- bias --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (FASTER, ["fc_cls"]),
        (RETINA, ["retina_cls"]),
        (ATSS, ["atss_cls"]),
        (FCOS, ["conv_cls"]),
        (GFL, ["gfl_cls"]),
        (TOOD, ["tood_cls", "cls_prob_module.2"]),
        (YOLOX, [f"multi_level_conv_cls.{level}" for level in range(3)]),
    ],
)
def test_bias_prior(config: str, layers: list[str]) -> None:
    for prior, expected in ((0.001, -6.9068), (None, 0.0 if config == FASTER else -4.5951)):
        model = detector(config, "efl", bias_prior=prior)
        head = model.network.roi_head.bbox_head if config == FASTER else model.network.bbox_head
        for layer in layers:
            bias = head.get_submodule(layer).bias.detach()
            assert bias.tolist() == pytest.approx([expected] * len(bias), abs=1e-4)


def test_bias_prior_is_for_binary_decisions() -> None:
    objectness = detector(FASTER, "sigmoid_eql", bias_prior=0.01).network.roi_head.bbox_head.fc_cls
    assert objectness.out_features == CLASSES + 1
    assert objectness.bias.tolist() == pytest.approx([-4.5951] * (CLASSES + 1), abs=1e-4)
    assert 0.008 < float(objectness.weight.detach().std()) < 0.012
    softmax = detector(FASTER, "cross_entropy", bias_prior=0.01).network.roi_head.bbox_head.fc_cls
    assert softmax.bias.tolist() == [0] * (CLASSES + 1)


# -- refused heads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("tood/tood_r50_fpn_1x_coco", "initial_epoch: 0"),
        ("vfnet/vfnet_r50_fpn_1x_coco", "VFNetHead uses its loss in a way of its own"),
        ("free_anchor/freeanchor_r50_fpn_1x_coco", "FreeAnchorRetinaHead uses"),
        ("htc/htc_r50_fpn_1x_coco", "semantic_head needs semantic maps"),
        ("panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco", "PanopticFPN with a semantic_head needs"),
        ("fast_rcnn/fast-rcnn_r50_fpn_1x_coco", "FastRCNN has no rpn_head"),
        ("sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco", "SparseRoIHead is not among"),
        ("detr/detr_r50_8xb2-150e_coco", "DETRHead uses"),
        ("ssd/ssd300_coco", "SSDHead uses"),
    ],
)
def test_heads_that_are_not_served(config: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MMDetDetector.check({"config": config}, num_classes=CLASSES, masks=True)
    with pytest.raises(ValueError, match=reason):
        MMDetDetector.check_loss({"config": config}, build_loss("bce"))


def test_a_loss_of_other_classes_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_classes: 5: expected the loss's 4"):
        RegionLoss(losses.build("bce", num_classes=4)).get_cls_channels(CLASSES)
    assert isinstance(build_loss("bce"), Loss)
