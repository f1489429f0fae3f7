"""What a detector found in each image: its stored predictions, matched again with the annotations of its data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from eqbench import plugins
from eqbench.errors import EqbenchError, InputError
from eqbench.evaluation.lvis import IouType
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec

Columns = Mapping[str, Sequence[Any]]
SHARDS = "predictions-*.arrow"
PREFIXES: dict[str, IouType] = {"": "bbox", "mask_": "segm"}


class Unavailable(Exception):
    """The detections cannot be matched again; says why."""


def shards_of(run: RunFolder) -> list[Path]:
    """The predictions that a run has stored; none if it is no detector."""
    return sorted(run.evaluation.glob(SHARDS))


class Annotations:
    """What runs of one data set are judged with, read once for all of them."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._specs = specs

    def match(self, run: RunFolder, by_class: Columns) -> Any:
        """The `ResampledAP` of a run.

        Args:
            by_class: the columns of its `per_class.parquet`.

        Raises:
            Unavailable: the annotations are not where they were, or do not belong to the predictions.
        """
        from eqbench.evaluation.matched_detections import match
        from eqbench.evaluation.resampled_ap import ResampledAP

        classes = len(self._truth.category_ids)
        if len(by_class["group"]) != classes:
            raise Unavailable(f"{self._truth.name} has {classes} categories, the result {len(by_class['group'])}")
        shards = shards_of(run)
        try:
            kinds = {
                prefix: match(self._truth, shards, kind)
                for prefix, kind in PREFIXES.items()
                if f"{prefix}ap" in by_class
            }
        except EqbenchError as error:
            raise Unavailable(str(error)) from error
        if not kinds:
            raise Unavailable("the classes of a run have no average precision")
        return ResampledAP(kinds, by_class["group"])

    @cached_property
    def _truth(self) -> Any:
        """Of the first data set that is still there."""
        from eqbench.evaluation.ground_truth import GroundTruth

        problem = ""
        for spec in self._specs:
            try:
                return GroundTruth(*annotation_file(spec))
            except (EqbenchError, ValueError, OSError) as error:
                problem = problem or " ".join(str(error).split())
        raise Unavailable(f"the annotations are needed for it: {problem}")


def annotation_file(spec: RunSpec) -> tuple[Path, bool]:
    """The file that detections of a run are judged with, and whether it is exhaustive.

    Of eqbench's own data sets nothing else is looked for: images may be gone, and a miniature is not made anew.

    Raises:
        InputError: it is not there.
    """
    from eqbench.data import coco_format, lvis
    from eqbench.data.miniatures import data_folder
    from eqbench.data.scenes import Parameters

    parameters = dict(spec.data.params)
    if spec.data.name == "lvis_miniature":
        sizes = {name: parameters[name] for name in ("images", "classes", "seed", "size") if name in parameters}
        folder = Path(parameters["root"]).expanduser() if parameters.get("root") else data_folder()
        return lvis.annotation_file(folder / Parameters(**sizes).name, "v1", "val"), False
    if spec.data.name == "lvis":
        root = Path(parameters["root"]).expanduser()
        return lvis.annotation_file(root, parameters.get("version", "v1"), "val"), False
    if spec.data.name == "coco_format":
        root = Path(parameters["root"]).expanduser()
        return coco_format.annotation_file(root, parameters["eval_annotations"]), True
    data: Any = plugins.construct("dataset", spec.data.name, parameters)
    if not hasattr(data, "eval_annotations"):
        raise InputError(f"data set {spec.data.name!r} has no annotations of boxes")
    return data.eval_annotations, data.exhaustive
