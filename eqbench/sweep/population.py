"""Population based training: members that train side by side, the worst of which go on from the weights of the best.

Jaderberg et al., Population Based Training of Neural Networks (https://arxiv.org/abs/1711.09846). Every `every_epochs`
all members wait for each other (`population_scheduler`). Then each of the worst `quantile` takes weights, optimizer and
values of one of the best, and its values are changed (`population_decision`). Here: what a sweep file may ask for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eqbench.errors import InputError
from eqbench.run_spec import Membership, RunSpec
from eqbench.sweep.space import is_number, spelled
from eqbench.value_schedule import LOSS, OPTIMIZER, with_values

if TYPE_CHECKING:
    from eqbench.suite_yaml import Place
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.schema import SchedulerConfig
    from eqbench.sweep.space import Parameter, Value
    from eqbench.validation import Problem

NAME = "pbt"
FEWEST_MEMBERS = 2
FIXED = (f"{LOSS}name", f"{OPTIMIZER}name")


def check_population(sweep: Sweep, places: Mapping[str, Place]) -> Iterator[Problem]:
    """What is not possible with the scheduler pbt; nothing with any other."""
    section, default = sweep.section, sweep.default_specs()[0]
    if section.scheduler.name != NAME:
        return
    here = ("sweep", "scheduler")
    if section.search.name != "random":
        yield (
            ("sweep", "search"),
            f"{section.search.name} learns which values are good, and with pbt they change while a trial is trained; "
            "expected random",
        )
    if section.trials is not None and section.trials < FEWEST_MEMBERS:
        yield ("sweep", "trials"), f"{section.trials}, expected at least {FEWEST_MEMBERS} members of a population"
    for parameter in section.space.parameters:
        if problem := _immutable(parameter) or _reshapes(sweep, parameter):
            yield places[parameter.path], problem
    every, evaluated = options_of(section.scheduler)["every_epochs"], default.train.evaluate_every_epochs
    if every % evaluated:
        yield (
            here,
            f"pbt compares members every {every} epochs (every_epochs), train.evaluate_every_epochs is {evaluated}; "
            "expected every_epochs to be a multiple of it",
        )
    if (workers := default.resources.num_workers) > 1:
        yield (
            here,
            f"pbt trains a member in one process, and resources.num_workers is {workers}: a group of workers cannot "
            "wait for other runs and go on from their weights",
        )


def _immutable(parameter: Parameter) -> str:
    """Why a parameter cannot change while a run is trained, or nothing."""
    if parameter.when:
        return "has a condition (when), and pbt changes all values of a member alike; expected none"
    if parameter.path in FIXED or not parameter.path.startswith((LOSS, OPTIMIZER)):
        return "cannot change while a run is trained, as pbt needs it; expected loss.*, train.lr or train.optimizer.*"
    return ""


def _reshapes(sweep: Sweep, parameter: Parameter) -> str:
    """Why the weights of one member would not fit another with other values of this parameter, or nothing."""
    from eqbench import plugins

    if not parameter.path.startswith(LOSS):
        return ""
    spec = sweep.default_specs()[0]
    given = {"data": sweep.dataset, "model": spec.model}
    shapes: dict[str, Value] = {}
    for value in parameter.values or (parameter.low, parameter.high):
        plugin = with_values(spec, {parameter.path: within(parameter, value)}).loss
        with contextlib.suppress(InputError, ValueError, TypeError):  # reported where the constructors are tried
            task = plugins.construct("task", spec.task.name, spec.task.params, **given, loss=plugin)
            loss = task.build_loss()
            shapes[repr((loss.columns, {key: list(each.shape) for key, each in loss.state_dict().items()}))] = value
    if len(shapes) < 2:
        return ""
    first, second, *_ = map(spelled, shapes.values())
    return (
        f"{first} and {second} give models of different shapes, and pbt moves weights between them; expected one shape"
    )


def within(parameter: Parameter, value: Value) -> Value:
    """The nearest value that a parameter takes: between its bounds, whole for `integer`."""
    if parameter.low is None or parameter.high is None or not is_number(value):
        return value
    if parameter.kind == "integer":
        return int(min(max(round(value), int(parameter.low)), int(parameter.high)))
    return float(min(max(value, parameter.low), parameter.high))


def options_of(config: SchedulerConfig) -> dict[str, Any]:
    from eqbench.sweep.schema import SCHEDULERS

    return SCHEDULERS[NAME].model_validate(config.options).model_dump()


def as_member(spec: RunSpec, sweep: Sweep, number: int) -> RunSpec:
    """A run as a member: it has an identity of its own, and no name that speaks of the values it begins with."""
    member = Membership(sweep=sweep.digest, member=number)
    return spec.model_copy(update={"population": member, "loss_label": f"{sweep.swept} member {number}"})
