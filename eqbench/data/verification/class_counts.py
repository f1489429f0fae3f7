"""How long a data set's tail is: numbers by group and by class.

Legend: C classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.data.verification.contents import Contents
from eqbench.data.verification.names import printable

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class GroupSize:
    """The classes of a group, and how much of a split they have."""

    group: str
    classes: int
    samples: int
    share: float
    """Of all samples of the split, 0 to 1."""


@dataclass(frozen=True)
class SplitCounts:
    """How the samples of a split are distributed over the classes."""

    split: str
    samples: int
    largest: tuple[str, int]
    """Class with the most samples, and how many."""
    smallest: tuple[str, int]
    """Class with the fewest, of those that have any."""
    median: float
    empty: int
    """Classes without a sample."""
    imbalance_factor: float
    """Largest divided by smallest."""
    gini: float
    """0: all classes have the same number; near 1: one has all."""
    groups: list[GroupSize]


def split_counts(contents: Contents) -> list[SplitCounts]:
    """One for each split that has samples, in the order of `contents`."""
    return [_of_split(contents, split, counts) for split, counts in contents.counts.items() if counts.sum() > 0]


def as_json(contents: Contents, *, with_classes: bool) -> dict[str, Any]:
    """Everything as plain values; classes in the order of their labels."""
    found: dict[str, Any] = {
        "digest": contents.digest,
        "classes": len(contents.class_names),
        "unit": contents.unit,
        "splits": [asdict(each) for each in split_counts(contents)],
    }
    if with_classes:
        found["class_counts"] = [
            {
                "class": printable(name),
                "group": group,
                **{split: int(counts[row]) for split, counts in contents.counts.items()},
            }
            for row, (name, group) in enumerate(zip(contents.class_names, contents.groups, strict=True))
        ]
    return found


def gini(counts: Counts) -> float:
    """Gini coefficient of non-negative counts, not all zero.

    >>> import numpy as np
    >>> gini(np.array([5, 5, 5])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    ascending = np.sort(counts).astype(np.float64)
    number = len(ascending)
    ranks = np.arange(1, number + 1)
    return float(((2 * ranks - number - 1) * ascending).sum() / (number * ascending.sum()))


def by_frequency(contents: Contents) -> Counts:
    """(C,) classes in the order of their training samples, most first."""
    return np.argsort(-next(iter(contents.counts.values())), kind="stable")


def _of_split(contents: Contents, split: str, counts: Counts) -> SplitCounts:
    names = contents.class_names
    most = int(counts.argmax())
    fewest = int(np.where(counts > 0, counts, counts.max()).argmin())
    groups = np.array(contents.groups)
    total = int(counts.sum())
    return SplitCounts(
        split=split,
        samples=total,
        largest=(printable(names[most]), int(counts[most])),
        smallest=(printable(names[fewest]), int(counts[fewest])),
        median=float(np.median(counts)),
        empty=int((counts == 0).sum()),
        imbalance_factor=float(counts[most] / counts[fewest]),
        gini=gini(counts),
        groups=[
            GroupSize(group, int(inside.sum()), held := int(counts[inside].sum()), held / total)
            for group, inside in ((group, groups == group) for group in contents.group_names)
        ],
    )
