"""What a data set says it holds: classes, counts and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Decode = Callable[[Path, str], list[tuple[str, str]]]
"""Looks into one file, given the root and the path below it; gives (kind, text) of each finding.

A kind that begins with "note:" is a note, any other a problem. It is a module's function, so that another process
can be given it, and raises nothing for a damaged file.
"""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A data set as its lists and annotation files describe it.

    Attributes:
        class_names: (C,)
        group_names: from frequent to rare.
        groups: (C,) one of `group_names` each.
        unit: what `counts` counts.
        counts: (C,) int64 by split; the first split is the one that is trained on.
        files: by split, paths below the root that have to exist; a file may be in several splits.
        decode: looks into one of the files.
        digest: what runs on this data set carry as their data digest, with default options.
        digests: of all ways in which runs use these same files with default thresholds of the groups, `digest` among
            them; it alone if none are given. Runs with other thresholds have a digest that is not here.
        where_to_get: what to do about files that are missing: where they are to be had, what to link.
    """

    class_names: Sequence[str]
    group_names: Sequence[str]
    groups: Sequence[str]
    unit: Literal["images", "instances", "pixels"]
    counts: Mapping[str, NDArray[np.int64]]
    files: Mapping[str, Sequence[str]]
    decode: Decode
    digest: str
    where_to_get: str = ""
    digests: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "digests", tuple(self.digests) or (self.digest,))
