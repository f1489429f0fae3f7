"""The `sweep` section of a sweep file as objects, and everything that is wrong with it, in one pass."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from eqbench.errors import InputError, nearest
from eqbench.recipe import Count, Model, WholeNumber
from eqbench.suite_yaml import Place
from eqbench.sweep.objective import Constraint, Goal, Objective
from eqbench.sweep.space import Parameter, Space
from eqbench.sweep.space_schema import read_space
from eqbench.validation import Problem, dotted, explain, show

MAX_TRIALS = 100_000
EXAMPLE = "{maximize: val/few}"
METRIC = r"(?:val/[\w.]+|train/loss)"
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
CONSTRAINT = re.compile(
    rf"\s*(?P<metric>{METRIC})\s*(?P<sign>>=|<=)\s*"
    rf"(?:(?P<number>[-+]?{NUMBER})|(?P<baseline>baseline)(?:\s*(?P<plus>[-+])\s*(?P<offset>{NUMBER}))?)\s*"
)


@dataclass(frozen=True)
class SearchConfig:
    """How settings are proposed; `options` are those that the file gives, `seed` left out."""

    name: str = "random"
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SchedulerConfig:
    """Which trials are ended early; `options` are those that the file gives."""

    name: str = "none"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """The `sweep` section. `loss` is the label of the swept loss; `trials` None means all settings of a grid search."""

    space: Space
    loss: str | None
    trials: int | None
    search: SearchConfig
    scheduler: SchedulerConfig
    objective: Objective


class _Seeded(Model):
    seed: WholeNumber = 0


class _Optuna(_Seeded):
    sampler: Literal["tpe", "nsgaii", "gp", "random", "qmc"] = "tpe"
    startup_trials: Count = 10


class _OfTune(_Seeded):
    """A search of Ray Tune; its options are its own."""

    model_config = ConfigDict(extra="allow")


class _Asha(Model):
    grace_epochs: Count = 1
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4


class _Median(Model):
    grace_epochs: Count = 1
    min_trials: Count = 3


class _PBT(Model):
    every_epochs: Count = 1
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    resample_probability: Annotated[float, Field(ge=0, le=1)] = 0.25


SEARCHES: dict[str, type[Model]] = {"random": _Seeded, "grid": Model, "optuna": _Optuna}
TUNE_SEARCHES = ("ax", "bayesopt", "bohb", "hebo", "hyperopt", "nevergrad", "zoopt")
SEARCHES |= dict.fromkeys(TUNE_SEARCHES, _OfTune)
SCHEDULERS: dict[str, type[Model]] = {"none": Model, "asha": _Asha, "median": _Median, "pbt": _PBT}
KEYS = ("loss", "space", "trials", "search", "scheduler", "objective")


def read_section(data: object, problems: list[Problem]) -> tuple[Section, dict[str, Place]]:
    """The section as far as it can be read, and where each parameter is written.

    Args:
        data: what stands under `sweep`.
        problems: gets everything that is wrong; what is returned is only to be used if nothing is added.
    """
    place: Place = ("sweep",)
    if not isinstance(data, Mapping):
        found = "it is empty" if data is None else show(data)
        problems.append((place, f"{found}, expected keys {', '.join(KEYS)}"))
        return Section(Space(()), None, None, SearchConfig(), SchedulerConfig(), Objective(())), {}
    for key in data:
        if key not in KEYS:
            problems.append(((*place, key), f"unknown key{nearest(key, KEYS)} (known: {', '.join(KEYS)})"))
    if "space" in data:
        space, places = read_space(data["space"], (*place, "space"), problems)
    else:
        problems.append(((*place, "space"), "missing, but required, e.g. space: {loss.tau: {uniform: [0.25, 4]}}"))
        space, places = Space(()), {}
    search, options = _named(data.get("search", "random"), SEARCHES, (*place, "search"), problems)
    seed = int(options.pop("seed", 0))
    scheduler, settings = _named(data.get("scheduler") or "none", SCHEDULERS, (*place, "scheduler"), problems)
    section = Section(
        space=space,
        loss=_label(data.get("loss"), (*place, "loss"), problems),
        trials=_trials(data, search, (*place, "trials"), problems),
        search=SearchConfig(search, seed, options),
        scheduler=SchedulerConfig(scheduler, settings),
        objective=_objective(data, (*place, "objective"), problems),
    )
    return section, places


def section_as_data(section: Section) -> dict[str, Any]:
    """Plain data of a section, as a sweep file has it; `section_from_data` reads it."""
    goals: list[dict[str, Any]] = [
        {"maximize" if goal.maximize else "minimize": goal.metric} for goal in section.objective.goals
    ]
    if section.objective.constraints:
        goals[0]["subject_to"] = [constraint.describe() for constraint in section.objective.constraints]
    return {
        "loss": section.loss,
        "space": {parameter.path: parameter_as_data(parameter) for parameter in section.space.parameters},
        "trials": section.trials,
        "search": {"name": section.search.name, **_seed(section.search), **section.search.options},
        "scheduler": {"name": section.scheduler.name, **section.scheduler.options},
        "objective": goals,
    }


def parameter_as_data(parameter: Parameter) -> dict[str, Any]:
    """A parameter as a sweep file has it."""
    values: list[Any] = list(parameter.values) or [parameter.low, parameter.high]
    if parameter.kind == "integer":
        values = [int(value) for value in values]
    when = {path: list(accepted) for path, accepted in parameter.when.items()}
    return {parameter.kind: values, **({"when": when} if when else {})}


def section_from_data(data: Mapping[str, Any]) -> Section:
    """A section from `section_as_data`.

    Raises:
        InputError: the data are no section.
    """
    problems: list[Problem] = []
    section, _ = read_section(data, problems)
    if problems:
        raise InputError("\n".join(f"{dotted(place)}: {message}" for place, message in problems))
    return section


def _seed(search: SearchConfig) -> dict[str, int]:
    return {"seed": search.seed} if "seed" in SEARCHES[search.name].model_fields else {}


def _label(value: object, place: Place, problems: list[Problem]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    problems.append((place, f"{show(value)}, expected the label of one of the losses"))
    return None


def _trials(data: Mapping[str, Any], search: str, place: Place, problems: list[Problem]) -> int | None:
    value = data.get("trials")
    if value is None:
        if search != "grid":
            problems.append((place, f"missing, but required: how many settings {search} search proposes"))
    elif not isinstance(value, int) or isinstance(value, bool):
        problems.append((place, f"{show(value)}, expected a whole number"))
        return None
    elif not 1 <= value <= MAX_TRIALS:
        problems.append((place, f"{value}, expected 1 to {MAX_TRIALS:,}"))
    return value


def _named(
    data: object, known: Mapping[str, type[Model]], place: Place, problems: list[Problem]
) -> tuple[str, dict[str, Any]]:
    """A name and its options, of those that are given; the first of the `known` where it cannot be read."""
    fallback = next(iter(known))
    entry = {"name": data} if isinstance(data, str) else data
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        problems.append((place, f"{show(data)}, expected a name, or a mapping with a name and options"))
        return fallback, {}
    options = {key: value for key, value in entry.items() if key != "name"}
    if entry["name"] not in known:
        names = ", ".join(known)
        here = (*place, "name") if isinstance(data, Mapping) else place
        problems.append((here, f"{show(entry['name'])}, expected one of {names}{nearest(entry['name'], known)}"))
        return fallback, {}
    model = known[entry["name"]]
    try:
        return entry["name"], model.model_validate(options).model_dump(exclude_unset=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            message = explain(detail)
            if detail["type"] == "extra_forbidden":
                fields = list(model.model_fields)
                hint = nearest(str(detail["loc"][0]), fields)
                message = f"unknown option of {entry['name']}{hint} (known: {', '.join(fields) or 'none'})"
            problems.append(((*place, *detail["loc"]), message))
    return entry["name"], {}


def _objective(data: Mapping[str, Any], place: Place, problems: list[Problem]) -> Objective:
    value = data.get("objective")
    if value is None or value == []:
        problems.append((place, f"missing, but required, e.g. objective: {EXAMPLE}"))
        return Objective(())
    goals: list[Goal] = []
    constraints: list[Constraint] = []
    entries = [((*place, index), entry) for index, entry in enumerate(value)] if isinstance(value, list) else []
    for here, entry in entries or [(place, value)]:
        goal = _goal(entry, here, problems)
        if goal is not None and any(goal.metric == other.metric for other in goals):
            problems.append((here, f"{goal.metric} is a goal already"))
        elif goal is not None:
            goals.append(goal)
        if isinstance(entry, Mapping) and "subject_to" in entry:
            constraints += _constraints(entry["subject_to"], (*here, "subject_to"), problems)
    return Objective(tuple(goals), tuple(constraints))


def _goal(entry: object, place: Place, problems: list[Problem]) -> Goal | None:
    known = ("maximize", "minimize", "subject_to")
    if not isinstance(entry, Mapping):
        problems.append((place, f"{show(entry)}, expected a goal, e.g. {EXAMPLE}"))
        return None
    unknown = [key for key in entry if key not in known]
    for key in unknown:
        problems.append(((*place, key), f"unknown key{nearest(key, known)} (known: {', '.join(known)})"))
    given = [key for key in known[:2] if key in entry]
    if len(given) != 1:
        if given:
            problems.append((place, "maximize and minimize, expected one of them; several goals are a list"))
        elif not unknown:
            problems.append((place, f"has no goal, expected maximize or minimize, e.g. {EXAMPLE}"))
        return None
    metric = entry[given[0]]
    if not isinstance(metric, str) or not re.fullmatch(METRIC, metric):
        guess = f"; did you mean 'val/{metric}'?" if isinstance(metric, str) and metric.isidentifier() else ""
        problems.append(((*place, given[0]), f"{show(metric)}, expected a metric: val/NAME or train/loss{guess}"))
        return None
    return Goal(metric, given[0] == "maximize", (*place, given[0]))


def _constraints(data: object, place: Place, problems: list[Problem]) -> list[Constraint]:
    found = []
    texts = [((*place, index), text) for index, text in enumerate(data)] if isinstance(data, list) else [(place, data)]
    for here, text in texts:
        match = CONSTRAINT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            expected = "METRIC >= NUMBER, METRIC >= baseline - NUMBER, or with <= or +"
            problems.append((here, f'{show(text)}, expected {expected}, e.g. "val/many >= baseline - 0.5"'))
            continue
        number = float(match["number"] or match["offset"] or 0)
        if not math.isfinite(number):
            problems.append((here, f"{show(text)}, expected a finite number"))
            continue
        signed = -number if match["plus"] == "-" else number
        relative = match["baseline"] is not None
        found.append(Constraint(match["metric"], match["sign"] == ">=", signed + 0.0, relative, here))
    return found
