"""Whether a run and a published record are of one recipe, and in which fields they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from eqbench.leaderboard.published import Published
from eqbench.leaderboard.published_recipes import SAMPLERS, SCHEDULES, loss_term
from eqbench.leaderboard.published_terms import DATASETS, NETWORKS, Fields, OneOf, Term
from eqbench.run_spec import RunSpec, flatten

NOT_RECORDED = "settings not recorded"
IMAGES_TOLERANCE = 0.01
"""Share of the training images by which a release's count may be off: some leave out images with damaged boxes."""


class Difference(NamedTuple):
    """A field in which a run and a published record differ, or may differ."""

    field: str
    ours: Any
    published: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.ours)}, published {_shown(self.published)}"


def published_dataset(spec: RunSpec) -> str | None:
    """The published name of a run's data set; None if nothing is published of it."""
    run = described(spec)
    return next((name for name, data in DATASETS.items() if _agrees(run, data.fields)), None)


def same_loss(spec: RunSpec, record: Published) -> bool:
    """Whether both names mean one loss; their parameters may differ."""
    loss = loss_term(record.loss, record.dataset)
    return loss is not None and loss.name == spec.loss.name


def same_network(spec: RunSpec, record: Published) -> bool:
    """Whether both are of one network; how its weights are initialised or its classifier is built may differ."""
    network = NETWORKS.get(record.model)
    return network is not None and _agrees(described(spec), network.fields)


def data_differences(spec: RunSpec, record: Published) -> list[Difference]:
    """Where the images differ, or how they are judged; the data set being the same."""
    data = DATASETS[record.dataset]
    found = _differing(described(spec), data.judged)
    images, repeated = spec.budget.samples_per_epoch, spec.train.sampler.name == "repeat_factor"
    most = math.inf if repeated else data.images * (1 + IMAGES_TOLERANCE)
    if not data.images * (1 - IMAGES_TOLERANCE) <= images <= most:
        found.append(Difference("training images", images, data.images))
    return found


def differences(spec: RunSpec, record: Published, *, with_loss: bool = True) -> list[Difference]:
    """Every field in which a run of the record's data set is not known to be as the record.

    Args:
        with_loss: the loss and its parameters are compared too, not only what else they ask for.
    """
    found = data_differences(spec, record)
    if not same_network(spec, record):
        found.append(Difference("model", network_name(spec), record.model))
    network = NETWORKS.get(record.model, Term())
    schedule = SCHEDULES.get((record.source.place, record.schedule))
    sampler = SAMPLERS.get(record.sampler)
    loss = loss_term(record.loss, record.dataset)
    if with_loss and (loss is None or loss.name != spec.loss.name):
        found.append(Difference("loss", spec.loss.name, record.loss))
    own = loss.term if loss else Term()
    terms = [term for term in (schedule, sampler, own) if term]
    # What a loss asks for goes before what the schedule says of all losses.
    wanted = {name: value for term in terms for name, value in term.fields.items()}
    wanted = {name: value for name, value in wanted.items() if with_loss or not name.startswith("loss.")}
    found += _by_name(_differing(described(spec), wanted))
    found += [Difference(*beside) for term in (network, *terms) for beside in term.beside]
    found += _not_recorded(spec, record, schedule, sampler, own)
    return list({difference.field: difference for difference in found}.values())


def described(spec: RunSpec) -> dict[str, Any]:
    """A run's description, flattened, and what follows from it: epochs and iterations of the budget and warm-up,
    `start_from` as the name of the run, torchvision's ImageNet weights as `ImageNet`.
    """
    fields = flatten(spec.model_dump(mode="json"))
    warmup = spec.train.schedule.warmup.iterations
    weights = spec.model.params.get("backbone_weights")
    return {
        "loss.params.loss_weight": 1.0,
        **fields,
        "train.epochs": spec.budget.iterations / spec.budget.iterations_per_epoch,
        "train.iterations": spec.budget.iterations,
        "train.schedule.warmup.epochs": warmup / spec.budget.iterations_per_epoch,
        "start_from": spec.origin.name if spec.origin else None,
        "model.params.overrides": spec.model.params.get("overrides"),
        "model.params.backbone_weights": "ImageNet" if "IMAGENET1K" in str(weights) else weights,
    }


def network_name(spec: RunSpec) -> str:
    """`classifier resnet50`, `mmdet_detector atss/atss_r50_fpn_1x_coco`."""
    parameters = spec.model.params
    parts = (parameters.get(name) for name in ("architecture", "backbone", "config"))
    return " ".join([spec.model.name, *(str(part) for part in parts if part)])


def _not_recorded(
    spec: RunSpec, record: Published, schedule: Term | None, sampler: Term | None, loss: Term
) -> Iterator[Difference]:
    train = spec.train
    if schedule is None:
        ours = (
            f"{spec.budget.iterations} iterations of {train.batch_size}, {train.optimizer.name}, {train.schedule.name}"
        )
        yield Difference("train.schedule", ours, f"{record.schedule} ({NOT_RECORDED})")
    if sampler is None:
        yield Difference("train.sampler", train.sampler.name, f"{record.sampler} ({NOT_RECORDED})")
    if not loss.recorded:
        yield Difference("loss.params", spec.loss.params, f"{record.loss} ({NOT_RECORDED})")


def _agrees(run: Fields, wanted: Fields) -> bool:
    return not _differing(run, wanted)


def _differing(run: Fields, wanted: Fields) -> list[Difference]:
    return [
        Difference(name, run.get(name), value) for name, value in wanted.items() if not _equal(run.get(name), value)
    ]


def _by_name(found: list[Difference]) -> list[Difference]:
    """Without the parameters of an optimizer, schedule or sampler that differs as a whole."""
    others = {each.field.removesuffix("name") for each in found if each.field.endswith(".name")}
    return [each for each in found if each.field.endswith(".name") or not each.field.startswith(tuple(others))]


def _equal(ours: Any, published: Any) -> bool:
    if isinstance(published, OneOf):
        return any(_equal(ours, value) for value in published)
    if isinstance(published, list):
        return isinstance(ours, Sequence) and len(ours) == len(published) and all(map(_equal, ours, published))
    if isinstance(published, float | int) and not isinstance(published, bool):
        return isinstance(ours, float | int) and math.isclose(ours, published, rel_tol=1e-4)
    return bool(ours == published)


def _shown(value: Any) -> str:
    if isinstance(value, OneOf):
        return " or ".join(map(_shown, value))
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)
