"""Whether a detector predicts with the activation that its loss is trained for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqbench.errors import InputError
from eqbench.losses.base import Loss
from eqbench.models.mmdet_heads.rules import RULES

REGIONS = 5
SIZE = 64


@torch.no_grad()
def check_activation(place: str, head: Any, loss: Loss) -> None:
    """Gives random logits to a head's own prediction and compares its scores with the loss's.

    Args:
        place: of the head in the detector, for the message.
        head: one of mmdet's.
        loss: what it trains.

    Raises:
        InputError: they differ.
    """
    find = region_scores if RULES[type(head).__name__].layers == ("fc_cls",) else dense_scores
    where = f"{place} ({type(head).__name__}) with {type(loss).__name__}"
    try:
        found, expected = find(head, loss)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: does not predict from {loss.columns} columns of logits: {error}") from error
    if found.shape != expected.shape:
        raise InputError(
            f"{where}: predicts {tuple(found.shape)} scores where the loss has {tuple(expected.shape)}: "
            "training and inference do not use the same activation"
        )
    difference = float((found - expected).abs().max())
    if not difference < 1e-4:
        raise InputError(
            f"{where}: its scores differ by up to {difference:.3g} from those the loss is trained for: "
            "training and inference do not use the same activation"
        )


def region_scores(head: Any, loss: Loss) -> tuple[Tensor, Tensor]:
    """(REGIONS, C) scores of the head, and of the loss."""
    device = next(head.parameters()).device
    logits = random_logits(REGIONS, loss.columns).to(device)
    regions = torch.tensor([0.0, 8, 8, 40, 40], device=device).expand(REGIONS, 5)
    outputs = 4 if head.reg_class_agnostic else 4 * loss.num_classes
    deltas = logits.new_zeros(REGIONS, outputs) if head.with_reg else None
    meta = {"img_shape": (SIZE, SIZE), "scale_factor": (1.0, 1.0)}
    found = head.predict_by_feat((regions,), (logits,), (deltas,), [meta], rcnn_test_cfg=None)[0].scores
    # Without the last column, as mmdet's multiclass_nms drops it.
    return found[:, :-1], loss.scores(logits)


def dense_scores(head: Any, loss: Loss) -> tuple[Tensor, Tensor]:
    """Scores of the head for maps of one place each, by class and size, and those of the loss."""
    from mmengine.config import ConfigDict

    device = next(head.parameters()).device
    kind, levels = type(head).__name__, head.prior_generator.num_levels
    anchors = getattr(head, "num_base_priors", 1)
    logits = random_logits(levels * anchors, loss.columns).to(device)
    maps = [each.reshape(1, -1, 1, 1) for each in logits.chunk(levels)]
    bins = getattr(head, "reg_max", 0) + 1
    boxes = [logits.new_ones(1, anchors * 4 * bins, 1, 1) for _ in range(levels)]
    certain = [logits.new_full((1, anchors, 1, 1), 50.0) for _ in range(levels)]
    given = [maps, boxes]
    if kind == "TOODHead":
        given[0] = [each.sigmoid() for each in maps]
    if kind in ("ATSSHead", "FCOSHead", "PAAHead", "YOLOXHead"):
        given.append(certain)
    everything: dict[str, Any] = {"score_thr": 0.0, "nms_pre": 10**6, "min_bbox_size": -1, "max_per_img": -1}
    everything["nms"] = {"type": "nms", "iou_threshold": 1.0}
    meta = {"img_shape": (SIZE, SIZE), "scale_factor": (1.0, 1.0)}
    suppress = kind == "PAAHead"  # which has no other way; at this threshold nothing is suppressed
    found = head.predict_by_feat(*given, batch_img_metas=[meta], cfg=ConfigDict(everything), with_nms=suppress)[0]
    expected = loss.scores(logits)
    labels = torch.arange(loss.num_classes, device=device).expand_as(expected)
    if kind == "YOLOXHead":  # predicts the best class of each place
        expected, labels = expected.max(1)
    if kind == "PAAHead":  # the geometric mean with the quality of the box, 1 here
        expected = expected.sqrt()
    return ordered(found.scores, found.labels), ordered(expected, labels)


def ordered(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores by label, and within a label by size."""
    by_size = scores.flatten().sort()
    by_label = labels.flatten()[by_size.indices].sort(stable=True)
    return by_size.values[by_label.indices]


def random_logits(rows: int, columns: int) -> Tensor:
    return 2 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
