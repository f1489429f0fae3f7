"""What a user changes in a configuration of mmdet: dotted keys and values, as they come from YAML."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from eqbench.errors import InputError, nearest
from eqbench.models.mmdet_config.constructors import parameters_of

TOPS = ("model", "train_pipeline", "test_pipeline")
"""The parts of a configuration that are used; the suite says the rest."""
DECIDED = {
    "num_classes": "the data set decides it",
    "loss_cls": "the loss of the run takes its place",
    "pretrained": "the model's backbone_weights say what it starts from",
}
TEST_KEYS = frozenset({"max_per_img", "min_bbox_size", "nms", "nms_pre", "score_thr"})
TUPLES = frozenset({"scale", "scales", "img_scale", "img_scales", "crop_size", "size", "ratio_range"})
"""Keys whose lists of numbers mmdet and mmcv take as tuples only."""


class Overrides:
    """Changes a configuration in place.

    A key must exist, or be a parameter of what the mapping around it describes (`type`). A mapping as value is
    merged; with `_delete_: true` in it it replaces what was there, whatever its keys.

    Args:
        config: name, for messages.
        content: the configuration.
    """

    def __init__(self, config: str, content: dict[str, Any]) -> None:
        self._config = config
        self._content = content

    def apply(self, overrides: Mapping[str, Any]) -> None:
        """
        Raises:
            InputError: a key does not exist, or is not the user's to set.
        """
        for key, value in overrides.items():
            parts = str(key).split(".")
            self._check_decided(key, parts, value)
            if parts[0] not in TOPS:
                raise self._error(key, f"expected a key below {', '.join(TOPS)}: the suite itself says the rest")
            place: Any = self._content
            for depth, part in enumerate(parts[:-1]):
                place = self._step(key, place, part, ".".join(parts[:depth]))
            self._set(key, place, parts[-1], value, ".".join(parts[:-1]))

    def _step(self, key: str, place: Any, part: str, where: str) -> Any:
        self._check_exists(key, place, part, where)
        return place[int(part)] if isinstance(place, list | tuple) else place[part]

    def _set(self, key: str, place: Any, part: str, value: Any, where: str) -> None:
        if isinstance(place, list):
            self._check_exists(key, place, part, where)
            place[int(part)] = self._merged(key, place[int(part)], value, part, f"{where}.{part}")
            return
        if not isinstance(place, dict):
            raise self._error(key, f"{where} is {place!r}, which has no keys")
        if part not in place and part not in parameters(place, where):
            self._check_exists(key, place, part, where)
        place[part] = self._merged(key, place.get(part), value, part, f"{where}.{part}")

    def _merged(self, key: str, old: Any, value: Any, name: str, where: str) -> Any:
        """What `value` makes of `old`."""
        if not isinstance(value, Mapping):
            return as_tuples(value, name, old)
        if value.get("_delete_") or not isinstance(old, dict):
            return {each: as_tuples(part, each, None) for each, part in value.items() if each != "_delete_"}
        for each in sorted(value, key=lambda each: each != "type"):  # the type first: it says which keys there are
            self._set(f"{key}.{each}", old, each, value[each], where)
        return old

    def _check_exists(self, key: str, place: Any, part: str, where: str) -> None:
        where = where or "the configuration"
        if isinstance(place, list | tuple):
            if not part.isdecimal() or int(part) >= len(place):
                raise self._error(key, f"{where} is a list of {len(place)}, expected 0..{len(place) - 1} for {part!r}")
        elif not isinstance(place, dict):
            raise self._error(key, f"{where} is {place!r}, which has no keys")
        elif part not in place and part in parameters(place, where):
            raise self._error(key, f"{where}.{part} is not set: give the whole mapping, {where}.{part}: {{...}}")
        elif part not in place:
            candidates = sorted({*place, *parameters(place, where)})
            hint = nearest(part, candidates) or f" (there are {', '.join(candidates)})"
            more = "; to add a key, give the whole mapping with `_delete_: true`" if "type" not in place else ""
            raise self._error(key, f"{where} has no {part!r}{hint}{more}")

    def _check_decided(self, key: str, parts: Sequence[str], value: Any) -> None:
        if parts[0] != "model" or "rpn_head" in parts:
            return
        if parts[1:3] == ["backbone", "init_cfg"]:
            raise self._error(key, DECIDED["pretrained"])
        for part in parts:
            if part in DECIDED:
                raise self._error(key, DECIDED[part])
        if isinstance(value, Mapping):
            for each, inner in value.items():
                self._check_decided(f"{key}.{each}", [*parts, str(each)], inner)
        elif isinstance(value, list | tuple):
            for index, inner in enumerate(value):
                self._check_decided(f"{key}.{index}", [*parts, str(index)], inner)

    def _error(self, key: str, problem: str) -> InputError:
        return InputError(f"overrides: {key!r}: {problem} ({self._config})")


def parameters(place: Mapping[str, Any], where: str) -> frozenset[str]:
    """Keys that a mapping at a place of the configuration may get beside those it has."""
    if where in ("model.test_cfg", "model.test_cfg.rcnn"):
        return TEST_KEYS
    return parameters_of(place.get("type")) or frozenset()


def as_tuples(value: Any, name: str, old: Any) -> Any:
    """A value from YAML, its lists turned into tuples where `old` has tuples or mmdet insists on them.

    >>> as_tuples([[96, 96], [128, 128]], "scales", None)
    [(96, 96), (128, 128)]
    >>> as_tuples([0, 1, 2], "out_indices", (0, 1, 2, 3))
    (0, 1, 2)
    """
    if isinstance(value, Mapping):
        return {key: as_tuples(part, key, None) for key, part in value.items() if key != "_delete_"}
    if not isinstance(value, list | tuple):
        return copy.deepcopy(value)
    inner = old[0] if isinstance(old, list | tuple) and old else None
    parts = [as_tuples(part, name, inner) for part in value]
    numbers = bool(parts) and all(isinstance(part, int | float) for part in parts)
    return tuple(parts) if isinstance(old, tuple) or (name in TUPLES and numbers) else parts
