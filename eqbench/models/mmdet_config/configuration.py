"""A configuration of mmdet with a user's overrides, and what is set in it for the data and the loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eqbench.errors import InputError
from eqbench.models.mmdet_config import wiring
from eqbench.models.mmdet_config.files import read_file
from eqbench.models.mmdet_config.overrides import Overrides

MAX_DETECTIONS = 300
Transforms = list[dict[str, Any]]
LOADING = ({"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True})


@dataclass(frozen=True)
class Configuration:
    """What is used of a configuration of mmdet.

    Attributes:
        name: as the user gave it.
        model: of the detector, without pretrained weights.
        train_pipeline, test_pipeline: transforms, the loading of the image first.
    """

    name: str
    model: dict[str, Any]
    train_pipeline: Transforms
    test_pipeline: Transforms

    @property
    def has_masks(self) -> bool:
        """The detector predicts masks, and is trained with them."""
        return bool(self.model.get("mask_head") or (self.model.get("roi_head") or {}).get("mask_head"))

    @property
    def most_detections(self) -> int | None:
        """How many detections an image has at most; None for no limit."""
        settings = self.model.get("test_cfg") or {}
        most: int = (settings.get("rcnn") or settings).get("max_per_img", -1)
        return most if most > 0 else None

    def heads(self) -> dict[str, dict[str, Any]]:
        """The heads that classify, by their place below `model`.

        Raises:
            InputError: there is none, in a place where mmdet's one-stage and two-stage detectors have it.
        """
        regions = self.model.get("roi_head") or {}
        place, found = ("roi_head.bbox_head", regions.get("bbox_head")) if regions else ("bbox_head", None)
        if not regions:
            found = self.model.get("bbox_head")
        if isinstance(found, dict):
            return {place: found}
        if isinstance(found, list) and found:
            return {f"{place}.{stage}": head for stage, head in enumerate(found)}
        raise InputError(
            f"config: {self.name!r}: {self.model.get('type')} has no bbox_head for the run's loss to classify in; "
            "expected a two-stage detector, or a one-stage detector of boxes"
        )


def read(config: str, overrides: Mapping[str, Any]) -> Configuration:
    """A configuration by name with the user's overrides.

    Channels that follow from others, where the overrides do not set them, are made to fit: those that the neck takes
    from a ResNet, and those that heads take from the neck.

    An image has up to 300 detections, as LVIS's protocol counts, where no override says otherwise.

    Raises:
        InputError: there is no such configuration, or an override does not fit it.
    """
    content = read_file(config)
    if not isinstance(content.get("model"), dict):
        raise InputError(f"config: {config!r} has no model")
    before = copy.deepcopy(content["model"])
    Overrides(config, content).apply(overrides)
    model = content["model"]
    wiring.fit_channels(before, model, overrides)
    _remove_pretrained(model)
    _split_stages(model)
    if not any(key.endswith("max_per_img") and "rpn" not in key for key in overrides):
        _allow_detections(model)
    return Configuration(config, model, *_pipelines(config, content))


def set_classes(configuration: Configuration, num_classes: int) -> None:
    """Sets the number of classes in every head, those of masks too; proposals and semantic heads keep theirs."""
    for head in configuration.heads().values():
        head["num_classes"] = num_classes
    for parent in _mappings(configuration.model, skip=("rpn_head", "semantic_head", "loss_cls")):
        if "num_classes" in parent:
            parent["num_classes"] = num_classes


def _remove_pretrained(model: dict[str, Any]) -> None:
    """What mmdet would download: a file named in `backbone_weights` takes its place."""
    for parent in list(_mappings(model)):
        given = parent.get("init_cfg")
        rules = given if isinstance(given, list) else [given]
        if any(isinstance(rule, dict) and rule.get("type") == "Pretrained" for rule in rules):
            del parent["init_cfg"]
        if parent.get("pretrained"):
            parent["pretrained"] = None if isinstance(parent["pretrained"], str) else False


def _allow_detections(model: dict[str, Any]) -> None:
    """As many detections as LVIS's protocol counts; configurations for COCO stop at 100."""
    settings = model.get("test_cfg") or {}
    settings = settings.get("rcnn") or settings
    if 0 < settings.get("max_per_img", 0) < MAX_DETECTIONS:
        settings["max_per_img"] = MAX_DETECTIONS


def _split_stages(model: dict[str, Any]) -> None:
    """A cascade whose stages share one configuration: one for each, since each has a loss of its own."""
    regions = model.get("roi_head") or {}
    if isinstance(regions.get("bbox_head"), dict) and "num_stages" in regions:
        regions["bbox_head"] = [copy.deepcopy(regions["bbox_head"]) for _ in range(regions["num_stages"])]


def _pipelines(config: str, content: dict[str, Any]) -> tuple[Transforms, Transforms]:
    for key in ("train_pipeline", "test_pipeline"):
        if not isinstance(content.get(key), list):
            raise InputError(f"config: {config!r} has no {key}")
    train, test = content["train_pipeline"], content["test_pipeline"]
    if train[0]["type"] != LOADING[0]["type"]:  # of a data set whose images are mixed, which loads them first
        train = [*copy.deepcopy(_loading(content)), *train]
    return train, [transform for transform in test if transform["type"] != "LoadAnnotations"]


def _loading(content: dict[str, Any]) -> Transforms:
    data: Any = (content.get("train_dataloader") or {}).get("dataset") or {}
    while isinstance(data, dict) and "dataset" in data:
        data = data["dataset"]
    steps: Transforms = data.get("pipeline") or []
    return steps if steps and steps[0]["type"] == LOADING[0]["type"] else list(LOADING)


def _mappings(value: Any, skip: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """All dictionaries within a value, outer ones first."""
    if isinstance(value, dict):
        yield value
        for key, part in value.items():
            if key not in skip:
                yield from _mappings(part, skip)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _mappings(part, skip)
