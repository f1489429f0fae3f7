"""Two runs on the same images: their stored predictions, resampled together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from eqbench.evaluation import image_totals
from eqbench.evaluation.image_totals import ByImage
from eqbench.leaderboard import bootstrap
from eqbench.leaderboard.bootstrap import Interval
from eqbench.leaderboard.results import Record
from eqbench.leaderboard.stored_detections import Annotations, Columns, Unavailable, shards_of
from eqbench.run_folder import RunFolder

SAME = ("task_version", "data_digest", "protocol")
TOLERANCE = 1e-6
"""Percent; by how much a metric of stored predictions may differ from the result's, which is rounding."""


class Resampled(NamedTuple):
    """How many images there are, how often they were drawn anew, and the interval of B - A by metric; or why there are
    none.
    """

    number: int
    resamples: int
    intervals: dict[str, Interval]
    why_not: str


def resample(runs: Sequence[RunFolder], records: Sequence[Record], by_class: Sequence[Columns]) -> Resampled:
    """The paired bootstrap over the images that runs A and B were evaluated on.

    Args:
        by_class: the columns of `per_class.parquet` of both.

    Raises:
        InputError: the predictions of a run are not in the format that they are stored in.
    """
    a, b = records
    if differ := [name for name in SAME if getattr(a.spec, name) != getattr(b.spec, name)]:
        return _without(f"the runs differ in {', '.join(differ)}")
    if not all(by_class):
        return _without("the classes of a run are not stored")
    ids = [run.run_id for run in runs]
    annotations = Annotations([record.spec for record in records])
    try:
        found = [_by_image(run, columns, annotations) for run, columns in zip(runs, by_class, strict=True)]
    except Unavailable as error:
        return _without(str(error))
    of_a, of_b = found
    if of_a is None or of_b is None:
        return _without(f"no predictions by image are stored for {absent(ids, found)}")
    for run_id, totals, record in zip(ids, (of_a, of_b), records, strict=True):
        if foreign := _foreign(totals, record):
            return _without(f"the predictions stored for {run_id} give {foreign}")
    if not of_a.same_images(of_b):
        return _without("the labels stored for the two runs differ")
    if of_a.number < bootstrap.FEWEST:
        return _without(f"{of_a.number} images are too few")
    resamples = min(of_a.resamples, of_b.resamples)
    return Resampled(of_a.number, resamples, bootstrap.over_images(of_a, of_b, resamples), "")


def absent(ids: Sequence[str], values: Sequence[Any]) -> str:
    """The runs that have nothing."""
    return " and ".join(dict.fromkeys(name for name, value in zip(ids, values, strict=True) if not value))


def _without(reason: str) -> Resampled:
    return Resampled(0, 0, {}, f"no bootstrap over images: {reason}")


def _by_image(run: RunFolder, columns: Columns, annotations: Annotations) -> ByImage | None:
    if shards_of(run):
        matched: ByImage = annotations.match(run, columns)
        return matched
    groups = {"": columns["group"]}
    if "published_group" in columns:
        groups["published_"] = columns["published_group"]
    return image_totals.read(run.evaluation, groups)


def _foreign(totals: ByImage, record: Record) -> str:
    """A metric of which the predictions give another value than the result has; empty if they belong to it."""
    for name, value in totals.of_all().items():
        stored = record.number("metrics", name)
        if name in record.metrics and not np.isclose(value, stored, rtol=0, atol=TOLERANCE, equal_nan=True):
            return f"{name} {value:.2f}, and its result is {stored:.2f}"
    return ""
