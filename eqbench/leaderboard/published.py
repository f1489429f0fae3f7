"""Published results: the numbers of other groups' repositories and papers, each with the place where it was read.

They come with the package, `published_results.yaml`. What a record means in eqbench's own terms is in
`published_terms`; whether a run agrees with it is decided in `verdict`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from eqbench.errors import InputError, nearest
from eqbench.recipe import Model

FILE = Path(__file__).with_name("published_results.yaml")
IMBALANCE = re.compile(r"(?P<metric>\w+)_IF(?P<factor>\d+)")
FIELDS = ("task", "dataset", "model", "schedule", "sampler", "loss")

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Source(Model):
    """Where numbers were read: a repository at a commit, or a paper."""

    repo: Text | None = None
    paper: Text | None = None
    path: Text | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        if self.repo is None and self.paper is None:
            raise ValueError("neither 'repo' nor 'paper'")
        return self

    @property
    def place(self) -> str:
        """The repository's owner and name without host and commit, else the paper.

        >>> Source(repo="github.com/tztztztztz/eqlv2@907fad9").place
        'tztztztztz/eqlv2'
        """
        return self.repo.removeprefix("github.com/").partition("@")[0] if self.repo else str(self.paper)

    def __str__(self) -> str:
        return ", ".join(part for part in (self.repo, self.paper, self.path) if part)


class Published(Model):
    """One row of a published table, in the words of its source; metrics in percent, as their names there."""

    task: Literal["classification", "detection", "instance_segmentation", "semantic_segmentation"]
    dataset: Text
    model: Text
    schedule: Text
    sampler: Text
    loss: Text
    metrics: Annotated[dict[Text, Number], Field(min_length=1)]
    source: Source
    note: str = ""

    @property
    def label(self) -> str:
        """`EQLv2 (tztztztztz/eqlv2)`."""
        return f"{self.loss} ({self.source.place})"


class _File(Model):
    format_version: Literal[1]
    compiled: str
    conventions: dict[str, str]
    missing: list[str]
    records: Annotated[list[Published], Field(min_length=1)]


def read(file: Path) -> list[Published]:
    """The records of a file, in its order.

    A record whose metrics are of several imbalance factors (`top1_IF100`, `top1_IF50`) becomes one of each, of the data
    set `... IF100` and so on. Records of one row that a source prints in several tables become one, unless they
    disagree on a number.

    Raises:
        InputError: it is not such a file; names the record and the field.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        records = _File.model_validate(content).records
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{file}: {place}: {first['msg']} ({error.error_count()} in all)") from error
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read as published results ({str(error).partition(chr(10))[0]})") from error
    return _together(single for record in records for single in _by_imbalance(record))


@cache
def records() -> tuple[Published, ...]:
    """All records that come with the package."""
    return tuple(read(FILE))


def search(*, metric: str | None = None, **wanted: str) -> list[Published]:
    """The records whose fields are these, upper and lower case aside, and that have the metric.

    Args:
        metric: a name as in the source, e.g. `mask_AP`.
        wanted: any of task, dataset, model, schedule, sampler, loss.

    Raises:
        InputError: an unknown field, or a value that no record has; names the nearest.

    >>> [round(record.metrics["mask_AP"], 1) for record in search(loss="EQLv2", dataset="LVIS v1.0", metric="mask_AP")]
    [23.7]
    """
    found = list(records())
    for field, value in wanted.items():
        if field not in FIELDS:
            raise InputError(f"{field!r}: expected one of {', '.join(FIELDS)}, metric{nearest(field, FIELDS)}")
        known = dict.fromkeys(getattr(record, field) for record in records())
        if value.casefold() not in (name.casefold() for name in known):
            raise InputError(f"{field} {value!r}: nothing is published of it{nearest(value, known)}")
        found = [record for record in found if getattr(record, field).casefold() == value.casefold()]
    if metric is None:
        return found
    metrics = {name.casefold(): name for record in records() for name in record.metrics}
    if metric.casefold() not in metrics:
        raise InputError(f"metric {metric!r}: nothing is published of it{nearest(metric, metrics.values())}")
    return [record for record in found if metrics[metric.casefold()] in record.metrics]


def _by_imbalance(record: Published) -> list[Published]:
    matches = {name: IMBALANCE.fullmatch(name) for name in record.metrics}
    factors: dict[str, dict[str, float]] = {}
    for name, match in matches.items():
        if match:
            factors.setdefault(match["factor"], {})[match["metric"]] = record.metrics[name]
    if not factors:
        return [record]
    return [
        record.model_copy(update={"dataset": f"{record.dataset} IF{factor}", "metrics": metrics})
        for factor, metrics in factors.items()
    ]


def _together(singles: Iterable[Published]) -> list[Published]:
    rows: dict[tuple[str, ...], list[Published]] = {}
    for record in singles:
        key = (*(getattr(record, field) for field in FIELDS[1:]), record.source.repo or record.source.place)
        row = rows.setdefault(key, [])
        for position, other in enumerate(row):
            if _agree(record.metrics, other.metrics):
                row[position] = other.model_copy(update={"metrics": {**other.metrics, **record.metrics}})
                break
        else:
            row.append(record)
    return [record for row in rows.values() for record in row]


def _agree(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether no number of one contradicts the other."""
    return all(a[name] == b[name] for name in a.keys() & b.keys())
