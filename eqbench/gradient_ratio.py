"""The gradient ratio as eqbench reports it, of any loss: accumulated gradients of positives over those of negatives.

A loss may limit its own ratio, or assume one before any evidence (`statistics.ratio`); what is compared between losses
is neither limited nor assumed. Legend: C classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def of_totals(positive: Floats, negative: Floats) -> Floats:
    """Ratio of each class, from totals added up over the losses of a model.

    >>> of_totals(np.array([1.0, 3.0, 2.0, 0.0]), np.array([2.0, 1.0, 0.0, 0.0])).tolist()
    [0.5, 3.0, inf, nan]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.asarray(positive, np.float64) / np.asarray(negative, np.float64)
    return ratio


def of_group(ratios: Floats) -> float:
    """Median over the classes of a group that have any gradient; NaN if none has.

    >>> of_group(np.array([4.0, math.nan, 1.0, 2.0])), of_group(np.array([math.nan]))
    (2.0, nan)
    """
    known = ratios[~np.isnan(ratios)]
    return float(np.median(known)) if known.size else math.nan
