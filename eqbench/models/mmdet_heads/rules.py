"""Which loss fits which of mmdet's heads, from the head's configuration alone.

A head's rule says what its code in mmdet does with the loss: which columns of logits it has, what it makes scores of,
what it gives as targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eqbench.errors import nearest
from eqbench.losses.base import Loss
from eqbench.losses.sigmoid import scores_are_sigmoid
from eqbench.models.mmdet_heads.adapters import ActivatedLoss, ClassificationLoss, DenseLoss, RegionLoss


@dataclass(frozen=True)
class HeadRule:
    """What a head does with its loss.

    Attributes:
        adapter: how it calls it.
        layers: its attributes that are the last layers of classification, or lists of them.
        columns: of logits: as many as the loss has, C + 1, C or C + 1, or C.
        own_sigmoid: scores are the sigmoid of the logits, whatever the loss is; else they are the loss's.
        background: samples of background are among the loss's.
        quality: what stands for the quality of a box; None if nothing does.
        compares: asks for the loss of single samples, to compare them.
    """

    adapter: type[ClassificationLoss]
    layers: tuple[str, ...]
    columns: Literal["any", "background", "either", "classes"]
    own_sigmoid: bool = False
    background: bool = True
    quality: str | None = None
    compares: bool = False


REGION = HeadRule(RegionLoss, ("fc_cls",), "any")
RULES: dict[str, HeadRule] = {
    "BBoxHead": REGION,
    "ConvFCBBoxHead": REGION,
    "Shared2FCBBoxHead": REGION,
    "Shared4Conv1FCBBoxHead": REGION,
    "DoubleConvFCBBoxHead": HeadRule(RegionLoss, ("fc_cls",), "background"),
    "RetinaHead": HeadRule(DenseLoss, ("retina_cls",), "either"),
    "RetinaSepBNHead": HeadRule(DenseLoss, ("retina_cls",), "either"),
    "ATSSHead": HeadRule(DenseLoss, ("atss_cls",), "either"),
    "FCOSHead": HeadRule(DenseLoss, ("conv_cls",), "either"),
    "PAAHead": HeadRule(DenseLoss, ("atss_cls",), "classes", own_sigmoid=True, compares=True),
    "GFLHead": HeadRule(DenseLoss, ("gfl_cls",), "classes", own_sigmoid=True, quality="IoU"),
    "TOODHead": HeadRule(
        ActivatedLoss, ("tood_cls", "cls_prob_module"), "classes", own_sigmoid=True, quality="alignment metric"
    ),
    "YOLOXHead": HeadRule(
        DenseLoss, ("multi_level_conv_cls",), "classes", own_sigmoid=True, background=False, quality="IoU"
    ),
}
ROI_HEADS = (
    "StandardRoIHead",
    "CascadeRoIHead",
    "HybridTaskCascadeRoIHead",
    "DoubleHeadRoIHead",
    "DynamicRoIHead",
    "MaskScoringRoIHead",
)


def adapter_for(head: Mapping[str, Any], loss: Loss) -> dict[str, Any]:
    """What `loss_cls` of a head's configuration becomes."""
    rule = RULES[head["type"]]
    return {"type": rule.adapter, "loss": loss, "use_sigmoid": loss.columns == loss.num_classes}


def fit(model: Mapping[str, Any], head: Mapping[str, Any], loss: Loss | None = None) -> str | None:
    """Why a head is not served, or a loss cannot be trained in it; None if it can. Builds nothing.

    Args:
        model: the detector's configuration.
        head: that of one of its heads.
        loss: the run's, for the classes of the data; None: whether the head is served at all.
    """
    reason = fit_model(model) or fit_head(head, model.get("train_cfg"))
    return reason if reason or loss is None else fit_loss(head["type"], loss)


def fit_model(model: Mapping[str, Any]) -> str | None:
    """Why the heads of a detector are not served at all."""
    regions = model.get("roi_head") or {}
    if model.get("semantic_head") or regions.get("semantic_head"):
        return f"{model.get('type')} with a semantic_head needs semantic maps, which data sets of boxes do not have"
    if regions and regions.get("type") not in ROI_HEADS:
        return f"{regions.get('type')} is not among the two-stage heads that are served: {', '.join(ROI_HEADS)}"
    if regions and not model.get("rpn_head"):
        return f"{model.get('type')} has no rpn_head, and needs the proposals of another detector"
    return None


def fit_head(head: Mapping[str, Any], train_cfg: Any) -> str | None:
    """Why a head is not served, whatever the loss."""
    kind = head.get("type")
    if kind not in RULES:
        hint = nearest(str(kind), RULES)
        return f"{kind} uses its loss in a way of its own; the heads that are served are {', '.join(RULES)}{hint}"
    if kind == "TOODHead" and isinstance(train_cfg, Mapping) and train_cfg.get("initial_epoch", 0) > 0:
        return (
            f"TOODHead trains its first {train_cfg['initial_epoch']} epochs with a loss of its own: override "
            "model.train_cfg.initial_epoch: 0"
        )
    return None


def fit_loss(kind: str, loss: Loss) -> str | None:
    """Why a loss does not fit a head of this type."""
    rule, name, extra = RULES[kind], type(loss).__name__, loss.columns - loss.num_classes
    wanted = {"any": range(loss.columns), "background": (1,), "either": (0, 1), "classes": (0,)}[rule.columns]
    if loss.uses_quality and rule.quality is None:
        givers = ", ".join(each for each, other in RULES.items() if other.quality)
        return f"{name} needs the quality of boxes, which {kind} does not give; {givers} do"
    if rule.background and loss.num_labels == loss.num_classes:
        hint = _hint(loss, objectness=True) if rule.columns == "any" else ""
        return f"{kind} has samples of background, for which {name} has no label{hint}"
    if extra not in wanted:
        possible = " or ".join(f"C + {each}" if each else "C" for each in wanted)
        own = f"C + {extra}" if extra else "C"
        hint = _hint(loss, objectness=extra == 0) if extra in (0, 1) else ""
        return f"{kind} has {possible} columns of logits, {name} {own} (C classes){hint}"
    if rule.own_sigmoid and not scores_are_sigmoid(loss):
        return f"{kind} predicts with the sigmoid of each logit, {name} with another activation"
    if rule.compares and loss.random:
        return f"{kind} compares the losses of single anchors, and those of {name} are over classes drawn at random"
    return None


def _hint(loss: Loss, *, objectness: bool) -> str:
    """What to say of a loss that has the parameter `objectness`, and would fit with that value."""
    if getattr(loss, "objectness", objectness) is objectness:
        return ""
    return f"; with objectness: {str(objectness).lower()} it fits"
