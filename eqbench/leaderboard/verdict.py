"""Verdicts: whether a run agrees with what is published of its data set and loss, and reference rows for the board."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eqbench.errors import InputError
from eqbench.leaderboard.aggregate import Column
from eqbench.leaderboard.find import suite_of
from eqbench.leaderboard.published import Published, records
from eqbench.leaderboard.published_match import (
    Difference,
    data_differences,
    differences,
    published_dataset,
    same_loss,
    same_network,
)
from eqbench.leaderboard.published_recipes import loss_term
from eqbench.leaderboard.published_terms import METRICS
from eqbench.leaderboard.regression import UNDECIDED
from eqbench.leaderboard.results import Record, read, read_spec
from eqbench.leaderboard.seed_noise import Tolerance, tolerance
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.run_spec import RunSpec

NAMED_FIELDS = 3
Answer = Literal["within tolerance", "different", "not the same recipe", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """One metric: the mean over our seeds against a published number. `undecided`: no tolerance is known."""

    metric: str
    mean: float
    n: int
    published: float
    tolerance: Tolerance
    answer: Answer

    @property
    def difference(self) -> float:
        """Ours - published."""
        return self.mean - self.published

    def as_dict(self) -> dict[str, Any]:
        """As plain data; what does not exist is None."""
        return {
            "mean": _existing(self.mean),
            "n": self.n,
            "published": self.published,
            "difference": _existing(self.difference),
            "tolerance": _existing(self.tolerance.size),
            "tolerance_reason": self.tolerance.reason,
            "verdict": self.answer,
        }


@dataclass(frozen=True)
class Reference:
    """A published row beside our own.

    Attributes:
        loss: the loss of eqbench that it means; None if it has no counterpart.
        metrics: published numbers under our names of them.
        differing: the fields in which the recipes differ or are not known to be the same.
        own: the board has a finished run of that loss; else the loss is not compared.
        verdicts: of the metrics that both have; empty where the board has no finished run of that loss.
    """

    label: str
    loss: str | None
    metrics: dict[str, float]
    source: str
    differing: tuple[Difference, ...]
    own: bool = True
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""

    @property
    def same_recipe(self) -> bool | None:
        """None where nothing but the loss could be compared, and that is the same: nobody here ran the loss."""
        if self.differing:
            return False
        return True if self.own else None

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "label": self.label,
            "loss": self.loss,
            "source": self.source,
            "note": self.note,
            "same_recipe": self.same_recipe,
            "differing": [each._asdict() for each in self.differing],
            "metrics": self.metrics,
            "verdicts": {verdict.metric: verdict.as_dict() for verdict in self.verdicts},
        }


@dataclass(frozen=True)
class PublishedComparison:
    """A run and its other seeds against the published rows of its data set and loss, those that differ least first."""

    name: str
    run_id: str
    dataset: str
    seeds: tuple[int, ...]
    main_metric: str
    own: dict[str, float]
    references: tuple[Reference, ...]

    @property
    def judged_metric(self) -> str:
        """What decides: the main metric, or where no row of the recipe has it (most papers on instance segmentation
        report masks alone) the first that one has; empty if there is none.
        """
        judged = [verdict.metric for verdict in self._judged]
        return next((name for name in (self.main_metric, *self.own) if name in judged), "")

    @property
    def regression(self) -> bool:
        """Whether the judged metric is below a published one of the same recipe by more than the tolerance, or nothing
        says that it is not.
        """
        return not self._deciding or any(each.answer == "different" and each.difference < 0 for each in self._deciding)

    @property
    def verdict(self) -> str:
        """One sentence on what `regression` says."""
        if not self._deciding:
            same = [each for reference in self.references if reference.same_recipe for each in reference.verdicts]
            return f"{UNDECIDED}: {same[0].tolerance.reason if same else 'nothing of this recipe is published'}"
        worst = min(self._deciding, key=lambda each: each.difference + each.tolerance.size)
        answer = f"{'a regression' if self.regression else 'no regression'}: {worst.metric} {worst.mean:.2f}"
        return f"{answer}, published {worst.published:.2f}, tolerance {worst.tolerance.size:.2f}"

    @property
    def _judged(self) -> list[Verdict]:
        """Of all rows of the recipe, where a tolerance is known."""
        every = [verdict for reference in self.references for verdict in reference.verdicts]
        return [verdict for verdict in every if verdict.answer in ("within tolerance", "different")]

    @property
    def _deciding(self) -> list[Verdict]:
        return [verdict for verdict in self._judged if verdict.metric == self.judged_metric]

    def as_dict(self) -> dict[str, Any]:
        """As plain data; what does not exist is None."""
        own = {name: _existing(value) for name, value in self.own.items()}
        return {
            "run": {"name": self.name, "run_id": self.run_id, "metrics": own},
            "dataset": self.dataset,
            "seeds": list(self.seeds),
            "main_metric": self.main_metric,
            "judged_metric": self.judged_metric or None,
            "regression": self.regression,
            "verdict": self.verdict,
            "references": [reference.as_dict() for reference in self.references],
        }


def compare_to_published(run: RunFolder) -> PublishedComparison:
    """A finished run, with the finished runs of its suite that differ in the seed alone, against what is published.

    Raises:
        InputError: the run has not finished, or nothing is published of its data set and loss.
    """
    siblings = _siblings(run)
    spec = siblings[0].spec
    dataset = published_dataset(spec)
    if dataset is None:
        raise InputError(f"{spec.name}: nothing is published of data set {spec.data.name!r} with its options")
    found = [record for record in records() if record.dataset == dataset]
    of_loss = [record for record in found if same_loss(spec, record)]
    if not of_loss:
        losses = ", ".join(dict.fromkeys(record.loss for record in found))
        raise InputError(f"{spec.name}: nothing is published of {spec.loss.name} on {dataset}; there are {losses}")
    references = [_reference(record, spec, spec, siblings) for record in of_loss]
    references = [reference for reference in references if reference.metrics]
    return PublishedComparison(
        f"{siblings[0].suite}/{spec.name}",
        run.run_id,
        dataset,
        tuple(sorted(record.seed for record in siblings)),
        siblings[0].metrics[0],
        {name: siblings[0].number("metrics", name) for name in siblings[0].metrics},
        tuple(sorted(references, key=lambda reference: (len(reference.differing), reference.label))),
    )


def references(column: Column) -> list[Reference]:
    """The published rows of a board's column: same data set, judged in the same way, same network.

    Those with the recipe of the column come first, then the others by label; the fields that differ say how. A loss
    that the board has not is compared in everything but the loss.
    """
    finished = {
        label: [record for record in entry.records if record.finished] for label, entry in column.entries.items()
    }
    first = next((runs[0].spec for runs in finished.values() if runs), None)
    dataset = published_dataset(first) if first else None
    if first is None or dataset is None:
        return []
    found = []
    for record in records():
        if record.dataset != dataset or not same_network(first, record) or data_differences(first, record):
            continue
        of_loss = [runs for runs in finished.values() if runs and same_loss(runs[0].spec, record)]
        own = min(of_loss, key=lambda runs: len(differences(runs[0].spec, record)), default=[])
        reference = _reference(record, first, own[0].spec if own else None, own)
        if reference.metrics.keys() & set(column.metrics):
            found.append(reference)
    return sorted(found, key=lambda reference: (bool(reference.differing), reference.label))


def nearest_references(column: Column) -> list[Reference]:
    """Of `references`, for tables: those of the same recipe, and per loss the one that differs least."""
    found = references(column)
    own = {entry.records[0].spec.loss.name for entry in column.entries.values() if entry.finished}
    least: dict[str, Reference] = {}
    for reference in sorted(found, key=lambda each: len(each.differing)):
        if reference.loss in own:
            least.setdefault(str(reference.loss), reference)
    return [each for each in found if not each.differing or each is least.get(str(each.loss))]


def recipe_note(reference: Reference) -> str:
    """`same recipe` with the verdict on the first metric, or the first of the fields that differ."""
    if reference.same_recipe is None:
        return "the same but for the loss, which was not run"
    if reference.same_recipe:
        return f"same recipe{''.join(f'; {each.metric} {each.answer}' for each in reference.verdicts[:1])}"
    named = ", ".join(difference.field for difference in reference.differing[:NAMED_FIELDS])
    more = len(reference.differing) - NAMED_FIELDS
    return f"not the same recipe: {named}{f' and {more} more' if more > 0 else ''}"


def _reference(record: Published, column: RunSpec, own: RunSpec | None, runs: Sequence[Record]) -> Reference:
    metrics = {METRICS[name]: value for name, value in record.metrics.items() if name in METRICS}
    meant = loss_term(record.loss, record.dataset)
    spec = own or column
    differing = tuple(differences(spec, record, with_loss=own is not None))
    verdicts = [_verdict(spec.task.name, name, runs, value, not differing) for name, value in metrics.items() if runs]
    return Reference(
        record.label,
        meant.name if meant else None,
        metrics,
        str(record.source),
        differing,
        bool(runs),
        tuple(verdict for verdict in verdicts if verdict.n),
        record.note,
    )


def _verdict(task: str, metric: str, runs: Sequence[Record], published: float, same_recipe: bool) -> Verdict:
    values = [value for value in (run.number("metrics", metric) for run in runs) if not math.isnan(value)]
    mean = math.fsum(values) / len(values) if values else math.nan
    allowed = tolerance(task, metric, values, published) if values else Tolerance(math.nan, "no result")
    answer: Answer = "not the same recipe"
    if same_recipe and math.isnan(allowed.size):
        answer = "undecided"
    elif same_recipe:
        answer = "within tolerance" if abs(mean - published) <= allowed.size + 1e-9 else "different"
    return Verdict(metric, mean, len(values), published, allowed, answer)


def _siblings(run: RunFolder) -> list[Record]:
    """The run, then the other finished runs of its suite that differ from it in the seed alone."""
    suite = suite_of(run)
    own = Record(suite, read_spec(run), run.intact_result(), planned=True, attempts=run.attempts)
    if not own.finished:
        raise InputError(f"{run.path}: {own.spec.name}: {own.reason}; expected a finished run")
    others, _ = read([SuiteFolder(run.path.parents[1 + suite.count("/")], suite)])
    recipe = _but_for_the_seed(own.spec)
    by_seed = {
        record.seed: record
        for record in others
        if record.finished
        and (record.seed != own.seed and record.spec.loss == own.spec.loss and record.spec.budget == own.spec.budget)
        and _but_for_the_seed(record.spec) == recipe
    }
    return [own, *(by_seed[seed] for seed in sorted(by_seed))]


def _but_for_the_seed(spec: RunSpec) -> Mapping[str, Any]:
    return {"recipe": spec.recipe, "population": spec.population}


def _existing(value: float) -> float | None:
    return None if math.isnan(value) else value
