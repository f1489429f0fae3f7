"""What the words of published tables mean in eqbench: data sets, networks, schedules, samplers, losses, metrics.

Nothing is guessed from similar names: a word that is not in these tables has no counterpart here. A term holds what
a run has in common with it, as the dotted fields of a run's description (`eqbench validate --json`) and their values.
`beside` are the differences that no setting of eqbench removes, and `recorded` says whether the source's settings are
known in full; without that, no run has the same recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class OneOf(tuple[Any, ...]):
    """Values of which a run has one."""

    __slots__ = ()


class Beside(NamedTuple):
    """A difference by construction: what it is about, how it is here, how it was there."""

    name: str
    ours: str
    published: str


@dataclass(frozen=True)
class Term:
    """The fields of a run that mean the same, and what stays different."""

    fields: Fields = field(default_factory=dict)
    beside: tuple[Beside, ...] = ()
    recorded: bool = True


@dataclass(frozen=True)
class DataTerm:
    """`fields` select the data set, `judged` how it is split and judged; `images` are the published training images."""

    fields: Fields
    images: int
    judged: Fields


@dataclass(frozen=True)
class LossTerm:
    """A loss of eqbench."""

    name: str
    term: Term = Term()


GROUPS = {"data.params.many_above": 100, "data.params.few_below": 20}
ACCURACY = {"protocol": "accuracy:last"}
ON_TEST = {**ACCURACY, **GROUPS, "data.params.eval_split": "test"}
LVIS_AP = {"protocol": "lvis_ap:maxdets300:last"}


def _cifar(classes: int, factor: int, images: int) -> DataTerm:
    selected = {"classes": classes, "imbalance_factor": factor, "imbalance": "exponential"}
    fields = {"data.name": "cifar_lt", **{f"data.params.{name}": value for name, value in selected.items()}}
    return DataTerm(fields, images, {**ACCURACY, **GROUPS})


DATASETS: dict[str, DataTerm] = {
    "LVIS v1.0": DataTerm({"data.name": "lvis", "data.params.version": "v1"}, 99_388, LVIS_AP),
    "LVIS v0.5": DataTerm({"data.name": "lvis", "data.params.version": "v0.5"}, 56_740, LVIS_AP),
    "ImageNet-LT": DataTerm({"data.name": "imagenet_lt"}, 115_846, ON_TEST),
    "Places-LT": DataTerm({"data.name": "places_lt"}, 62_500, ON_TEST),
    "iNaturalist 2018": DataTerm({"data.name": "inaturalist2018"}, 437_513, {**ACCURACY, **GROUPS}),
    "ADE20K": DataTerm({"data.name": "ade20k"}, 20_210, {"protocol": "miou:whole:last"}),
    "CIFAR-10-LT IF50": _cifar(10, 50, 13_996),
    "CIFAR-10-LT IF100": _cifar(10, 100, 12_406),
    "CIFAR-10-LT IF200": _cifar(10, 200, 11_203),
    "CIFAR-100-LT IF50": _cifar(100, 50, 12_608),
    "CIFAR-100-LT IF100": _cifar(100, 100, 10_847),
    "CIFAR-100-LT IF200": _cifar(100, 200, 9_502),
}


# -- networks ------------------------------------------------------------------------------------------------


def _classifier(backbone: str) -> Term:
    return Term({"model.name": "classifier", "model.params.backbone": backbone})


def _detector(*configs: str, beside: tuple[Beside, ...] = ()) -> Term:
    return Term({"model.name": "mmdet_detector", "model.params.config": OneOf(configs)}, beside)


def _mask_rcnn(backbone: str, *beside: Beside) -> Term:
    lvis = [f"lvis/mask-rcnn_{backbone}_fpn_sample1e-3_ms-{end}" for end in ("1x_lvis-v1", "2x_lvis-v0.5")]
    coco = [f"mask_rcnn/mask-rcnn_{backbone}_fpn_{end}_coco" for end in ("1x", "2x")]
    return _detector(*lvis, *coco, *SEESAW_CONFIGS.get(backbone, ()), beside=beside)


def _faster_rcnn(backbone: str, *beside: Beside) -> Term:
    return _detector(*(f"faster_rcnn/faster-rcnn_{backbone}_fpn_{end}_coco" for end in ("1x", "2x")), beside=beside)


def _seesaw(detector: str, *masks: str) -> tuple[str, ...]:
    ends = ("random-ms-2x_lvis-v1", "sample1e-3-ms-2x_lvis-v1")
    return tuple(f"seesaw_loss/{detector}_fpn_seesaw-loss{mask}_{end}" for mask in masks for end in ends)


def _fcn(backbone: str) -> Term:
    fields = {"model.name": "segmentor", "model.params.architecture": "fcn", "model.params.backbone": backbone}
    return Term(fields, (FCN_HEAD, FCN_STEM))


PLAIN_MASK, NORMED_MASK = "", "-normed-mask"
SEESAW_CONFIGS = {backbone: _seesaw(f"mask-rcnn_{backbone}", PLAIN_MASK, NORMED_MASK) for backbone in ("r50", "r101")}
CASCADES = _seesaw("cascade-mask-rcnn_r101", PLAIN_MASK, NORMED_MASK)
NORMED_CLASSIFIER = {
    mask: OneOf(
        config
        for detector in ("mask-rcnn_r50", "mask-rcnn_r101", "cascade-mask-rcnn_r101")
        for config in _seesaw(detector, mask)
    )
    for mask in (PLAIN_MASK, NORMED_MASK)
}

FCN_HEAD = Beside(
    "model: head", "one 3x3 convolution (torchvision)", "two, and their input beside their output (mmseg)"
)
FCN_STEM = Beside("model: stem", "one 7x7 convolution", "three 3x3 convolutions (ResNetV1c)")
COSINE = Beside("model: classifier", "linear", "cosine")
NORMED = Beside("model: mask head", "plain", "normalised")
COCO_START = Beside("model: initial weights", "ImageNet", "a detector trained on COCO")
ATSS_HEAD = Beside("model: box quality branch", "centerness, GIoU (mmdet's ATSS)", "IoU branch")
YOLOX_HEAD = Beside("model: head", "no anchors, SimOTA, objectness (mmdet's YOLOX)", "two anchors, ATSS, IoU branch")

NETWORKS: dict[str, Term] = {
    "ResNet-10": _classifier("resnet10"),
    "ResNet-32": _classifier("resnet32"),
    "ResNet-50": _classifier("resnet50"),
    "ResNet-152": _classifier("resnet152"),
    "ResNeXt-50": _classifier("resnext50_32x4d"),
    "Mask R-CNN R50-FPN": _mask_rcnn("r50"),
    "Mask R-CNN R50": _mask_rcnn("r50"),
    "Mask R-CNN R50-FPN (linear classifier)": _mask_rcnn("r50"),
    "Mask R-CNN R50-FPN (cosine classifier)": _mask_rcnn("r50", COSINE),
    "Mask R-CNN R50-FPN normed mask": _mask_rcnn("r50", NORMED),
    "Mask R-CNN R101-FPN": _mask_rcnn("r101"),
    "Mask R-CNN R101": _mask_rcnn("r101"),
    "Mask R-CNN R101-FPN normed mask": _mask_rcnn("r101", NORMED),
    "Mask R-CNN X101-32x4d-FPN": _mask_rcnn("x101-32x4d"),
    "Mask R-CNN X101-64x4d-FPN": _mask_rcnn("x101-64x4d"),
    "Faster R-CNN R50-FPN": _faster_rcnn("r50"),
    "Faster R-CNN R50-FPN (COCO-initialised)": _faster_rcnn("r50", COCO_START),
    "Faster R-CNN R101-FPN": _faster_rcnn("r101"),
    "Cascade R101": _detector("cascade_rcnn/cascade-rcnn_r101_fpn_1x_coco"),
    "Cascade Mask R-CNN R101-FPN": _detector("cascade_rcnn/cascade-mask-rcnn_r101_fpn_1x_coco", *CASCADES),
    "EFL improved baseline R50": _detector("atss/atss_r50_fpn_1x_coco", beside=(ATSS_HEAD,)),
    "EFL improved baseline R101": _detector("atss/atss_r101_fpn_1x_coco", beside=(ATSS_HEAD,)),
    "YOLOX-IP-S": _detector("yolox/yolox_s_8xb8-300e_coco", beside=(YOLOX_HEAD,)),
    "YOLOX-IP-M": _detector("yolox/yolox_m_8xb8-300e_coco", beside=(YOLOX_HEAD,)),
    "FCN-R50-D8": _fcn("resnet50"),
    "FCN-R101-D8": _fcn("resnet101"),
}


# -- metrics -------------------------------------------------------------------------------------------------

_ALONE = ("AP", "AP50", "AP75")
_ENDINGS = {"APs": "ap_s", "APm": "ap_m", "APl": "ap_l", "APr": "ap_r", "APc": "ap_c", "APf": "ap_f", "AR": "ar"}
_BOX = {f"bbox_{name}": name.lower() for name in _ALONE} | {f"bbox_{a}": b for a, b in _ENDINGS.items()}
_MASK = {f"mask_{name}": f"mask_{name.lower()}" for name in _ALONE}
_MASK |= {f"mask_{name}": f"mask_{_ENDINGS[name]}" for name in ("APr", "APc", "APf")}

METRICS: dict[str, str] = {
    **{name: name for name in ("top1", "top5", "many", "medium", "few")},
    **_BOX,
    **_MASK,
    "mIoU": "miou",
    "mIoU_ss": "miou",
    "mAcc": "macc",
    **{f"{group}_IoU": f"published_miou_{group}" for group in ("head", "body", "tail")},
    **{f"{group}_Acc": f"published_macc_{group}" for group in ("head", "body", "tail")},
}
