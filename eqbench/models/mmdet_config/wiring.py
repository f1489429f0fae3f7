"""Numbers of channels that follow from others in a detector's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESNETS = frozenset({"ResNet", "ResNetV1d", "ResNeXt"})
BASIC_DEPTHS = (18, 34)


def fit_channels(before: dict[str, Any], model: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Makes the neck take what the backbone gives, and the heads what the neck gives, in `model`, in place.

    Only where an override changed the giving side and none set the taking side.

    Args:
        before: the model's configuration before the overrides.
        model: after them.
        overrides: by dotted key.
    """
    neck, old_neck = first(model.get("neck")), first(before.get("neck"))
    given, old_given = (channels(each.get("backbone") or {}) for each in (model, before))
    is_set = any(key.startswith("model.neck") and key.endswith("in_channels") for key in overrides)
    if neck is not None and given is not None and given != old_given and not is_set:
        neck["in_channels"] = given
    if neck is None or old_neck is None or neck.get("out_channels") == old_neck.get("out_channels"):
        return
    for path, parent, key in _takers(model):
        if parent.get(key) == old_neck.get("out_channels") and f"{path}.{key}" not in overrides:
            parent[key] = neck["out_channels"]


def channels(backbone: Mapping[str, Any]) -> list[int] | None:
    """Channels of the feature maps that a ResNet gives; None for other backbones.

    >>> channels({"type": "ResNet", "depth": 18})
    [64, 128, 256, 512]
    """
    if backbone.get("type") not in RESNETS:
        return None
    width = backbone.get("base_channels", 64) * (1 if backbone.get("depth") in BASIC_DEPTHS else 4)
    return [width * 2**stage for stage in backbone.get("out_indices", (0, 1, 2, 3))]


def first(neck: Any) -> dict[str, Any] | None:
    """The neck, or the first of several in a row."""
    neck = neck[0] if isinstance(neck, list) and neck else neck
    return neck if isinstance(neck, dict) else None


def _takers(model: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Path, mapping and key of each number of channels that comes from the neck."""
    found = []
    regions = model.get("roi_head") or {}
    for name in ("rpn_head", "bbox_head"):
        found += [(path, head, "in_channels") for path, head in _each(f"model.{name}", model.get(name))]
    for name, key in (
        ("bbox_roi_extractor", "out_channels"),
        ("mask_roi_extractor", "out_channels"),
        ("bbox_head", "in_channels"),
        ("mask_head", "in_channels"),
    ):
        found += [(path, part, key) for path, part in _each(f"model.roi_head.{name}", regions.get(name))]
    return found


def _each(path: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        return [(path, value)]
    return [(f"{path}.{index}", part) for index, part in enumerate(value or [])]
