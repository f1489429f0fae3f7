"""What the numbers of a run are measured on: trials can be compared only where that is the same for all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from eqbench.data.labelled_images.image_list import ImageList
from eqbench.data.pixel_masks.labels import LabelMap

if TYPE_CHECKING:
    from eqbench.data.base import Dataset
    from eqbench.run_spec import RunSpec


def difference(specs: tuple[RunSpec, RunSpec], data: tuple[Dataset, Dataset], metrics: Sequence[str]) -> str | None:
    """In what the second run is measured otherwise than the first: `the class groups`; None if in nothing.

    Groups count only where one of `metrics` is that of a group: the training counts that decide them may change while
    `val/top1` is what it was.
    """
    first, second = specs
    if first.protocol != second.protocol:
        return f"the protocol: {second.protocol} in place of {first.protocol}"
    if first.data_digest == second.data_digest:
        return None
    ours, theirs = data
    if ours.num_classes != theirs.num_classes:
        return f"the classes: {theirs.num_classes} in place of {ours.num_classes}"
    if images(ours) != images(theirs):
        return "the evaluation images"
    grouped = [metric for metric in metrics if _is_of_a_group(metric, ours.group_names)]
    if grouped and list(ours.groups) != list(theirs.groups):
        return "the class groups"
    return None


def images(data: Dataset) -> tuple[int, str]:
    """How many evaluation images there are, and a digest of which, with which labels, as far as the data set says.

    Not of how they are cropped or resized: that is part of a setting.
    """
    evaluation: Any = data.eval
    content = hashlib.sha256()
    for name in ("images", "labels", "names", "image_ids"):
        content.update(name.encode() + _bytes(getattr(evaluation, name, None)))
    if (file := getattr(data, "eval_annotations", None)) is not None:
        content.update(str(file).encode())
    return len(evaluation), content.hexdigest()


def _bytes(values: Any) -> bytes:
    if isinstance(values, ImageList):
        return values.digest().encode()
    if isinstance(values, Tensor | np.ndarray):
        return np.ascontiguousarray(values).tobytes()
    if isinstance(values, LabelMap) or (isinstance(values, Sequence) and all(isinstance(each, str) for each in values)):
        return repr(values).encode("utf-8", "surrogatepass")
    return b""


def _is_of_a_group(metric: str, groups: Sequence[str]) -> bool:
    """`val/few`, `val/mask_ap_r`."""
    return metric.rpartition("/")[2].rpartition("_")[2] in groups
