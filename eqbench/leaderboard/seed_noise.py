"""How far two runs of one recipe lie apart: by the seeds of one's own, or by rows that two repositories published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from scipy.special import stdtrit

from eqbench.leaderboard.published import Published, records
from eqbench.leaderboard.published_terms import METRICS
from eqbench.leaderboard.statistics import CONFIDENCE

FEWEST_SEEDS = 3
"""Own seeds from which their scatter counts; that of two says next to nothing."""
FEWEST_PAIRS = 2


class Row(NamedTuple):
    """One published row."""

    place: str
    loss: str
    schedule: str


class Repetition(NamedTuple):
    """Two rows of one data set, network, sampler, loss and length of training."""

    dataset: str
    sampler: tuple[str, str]
    a: Row
    b: Row


EQLV2, DISALIGN, DETECTRON2 = "tztztztztz/eqlv2", "Megvii-BaseDetection/DisAlign", "tztztztztz/eql.detectron2"
MULTISCALE = "90k iters, multiscale 640-800"

REPETITIONS = {
    "detection": (
        Repetition(
            "LVIS v1.0",
            ("RFS(t=0.001)", "RFS(t=0.001)"),
            Row(EQLV2, "CE", "1x (12 epochs)"),
            Row(EQLV2, "CE", "1x"),
        ),
        Repetition(
            "LVIS v0.5",
            ("random", "random"),
            Row(DETECTRON2, "CE (Mask R-CNN softmax)", '90k iters x 16 img (detectron2 "1x")'),
            Row(DISALIGN, "CE", MULTISCALE),
        ),
        Repetition(
            "LVIS v0.5",
            ("RFS(t=0.001)", "RFS"),
            Row(DETECTRON2, "CE", "1x (90k iters, ~24 epochs)"),
            Row(DISALIGN, "CE", MULTISCALE),
        ),
    ),
}
"""Plain cross entropy of Mask R-CNN R50-FPN with a linear classifier. Rows that do not state how long they trained, or
on how many GPUs and images at once as the other, are no repetitions: of classifiers none are published.
"""


class Noise(NamedTuple):
    """Standard deviation over repetitions, and the pairs of numbers it is from; as many degrees of freedom."""

    deviation: float
    pairs: tuple[str, ...]


class Tolerance(NamedTuple):
    """How far a published number may lie from ours, in points of the metric, and why; NaN where that is not known."""

    size: float
    reason: str


def tolerance(task: str, metric: str, values: Sequence[float], published: float) -> Tolerance:
    """The half width of the interval that one more run of the same recipe falls into, with 95 % probability.

    It is `t s sqrt(1 + 1 / n)`, the prediction interval about the mean of our n seeds, and half a unit of the published
    number's last digit. The standard deviation s is that of our own seeds from three on, below that of published
    repetitions; t is Student's for its degrees of freedom.
    """
    n = len(values)
    if n >= FEWEST_SEEDS:
        mean = math.fsum(values) / n
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
        degrees, reason = n - 1, f"scatter of our {n} seeds"
    else:
        deviation, pairs = published_noise(task).get(metric, Noise(math.nan, ()))
        degrees = len(pairs)
        if degrees < FEWEST_PAIRS:
            return Tolerance(math.nan, f"{n} of the {FEWEST_SEEDS} seeds that are needed, no published repetitions")
        reason = f"scatter of {degrees} published pairs: {', '.join(pairs)}"
    quantile = float(stdtrit(degrees, (1 + CONFIDENCE) / 2))
    return Tolerance(quantile * deviation * math.sqrt(1 + 1 / n) + _rounding(published), reason)


@cache
def published_noise(task: str) -> dict[str, Noise]:
    """Over the repetitions of a task, for each of our metrics."""
    found: dict[str, list[tuple[float, str]]] = {}
    for repetition in REPETITIONS.get(task, ()):
        a, b = rows(repetition)
        places = ", ".join(dict.fromkeys(row.source.place.rpartition("/")[2] for row in (a, b)))
        for name in sorted(a.metrics.keys() & b.metrics.keys() & METRICS.keys()):
            one, other = a.metrics[name], b.metrics[name]
            pair = f"{one:.1f} and {other:.1f} ({places}, {repetition.dataset})"
            found.setdefault(METRICS[name], []).append(((one - other) ** 2 / 2, pair))
    return {
        metric: Noise(math.sqrt(math.fsum(square for square, _ in each) / len(each)), tuple(pair for _, pair in each))
        for metric, each in found.items()
    }


def rows(repetition: Repetition) -> tuple[Published, Published]:
    """The two records."""
    a, b = (_row(repetition, row, sampler) for row, sampler in zip(repetition[2:], repetition.sampler, strict=True))
    return a, b


def _row(repetition: Repetition, row: Row, sampler: str) -> Published:
    networks = ("Mask R-CNN R50-FPN", "Mask R-CNN R50-FPN (linear classifier)")
    found = [
        record
        for record in records()
        if (record.dataset, record.sampler) == (repetition.dataset, sampler)
        and (record.source.place, record.loss, record.schedule) == row
        and (record.task == "classification" or record.model in networks)
    ]
    assert len(found) == 1, (row, len(found))
    return found[0]


def _rounding(published: float) -> float:
    """Half a unit of the last digit.

    >>> _rounding(44.4)
    0.05
    """
    _, _, digits = repr(float(published)).partition(".")
    return 0.5 * 10.0 ** -len(digits)
