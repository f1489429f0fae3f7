"""What a sweep file asks for and cannot have, found by building runs at the ends of its space; none is trained."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from eqbench.errors import InputError
from eqbench.suite_yaml import Place
from eqbench.sweep.evaluated_on import difference
from eqbench.sweep.objective import Constraint, Goal
from eqbench.sweep.schema import TUNE_SEARCHES
from eqbench.sweep.search import build
from eqbench.sweep.setting import MISSING, epochs_of
from eqbench.sweep.space import Parameter, Value, same, spelled
from eqbench.validation import Problem

if TYPE_CHECKING:
    from eqbench.run_spec import RunSpec
    from eqbench.sweep.definition import Sweep

MAX_TRIED = 50
"""Values of one parameter that are tried."""
MAX_SITUATIONS = 16
"""Combinations of the values that decide whether a parameter applies, under which it is tried."""
TRAINING_LOSS = "train/loss"
Values = dict[str, Value]


def check_objective(sweep: Sweep) -> Iterator[Problem]:
    """Metrics that the task does not report or that do not compare settings, and a constraint without its baseline."""
    objective = sweep.section.objective
    scaled = next((path for path in sweep.section.space.paths if path.startswith("loss.")), None)
    parts: list[Goal | Constraint] = [*objective.goals, *objective.constraints]
    for part in parts:
        if part.metric not in sweep.task_metrics:
            known = ", ".join(sweep.task_metrics)
            hint = _nearest_metric(part.metric, sweep.task_metrics)
            yield part.place, f"the task {sweep.task_label} does not report {part.metric}{hint} (known: {known})"
        elif part.metric == TRAINING_LOSS and part in objective.goals and scaled:
            yield (
                part.place,
                f"{part.metric} is itself what {scaled} changes: a smaller number may be another scale and no better "
                "setting; expected a metric of the evaluation, e.g. "
                f"{sweep.task_metrics[0]}",
            )
    if objective.relative and sweep.baseline is None:
        yield (
            next(constraint.place for constraint in objective.constraints if constraint.relative),
            "a constraint is counted from the baseline, and there is none: expected another loss before the swept one "
            f"({sweep.swept}) in losses",
        )


def _nearest_metric(metric: str, known: Sequence[str]) -> str:
    """What may have been meant, by names without `val/`, which all have in common."""
    own = [name.removeprefix("val/") for name in known]
    close = difflib.get_close_matches(metric.removeprefix("val/"), own, n=1, cutoff=0.6)
    return f"; did you mean {known[own.index(close[0])]!r}?" if close else ""


def check_strategy(sweep: Sweep) -> Iterator[Problem]:
    """A search that the space does not allow, a scheduler that runs or objective do not allow."""
    section = sweep.section
    of_search = list(_check_search(sweep))
    yield from of_search
    if section.scheduler.name != "none":
        yield from _check_scheduler(sweep)
    if of_search:
        return
    try:
        build(section.search, section.space, section.objective, 1)
    except InputError as error:  # a package that is not installed, an option that the search has not
        yield ("sweep", "search"), re.sub(r"^sweep\.search(\.\w+)?: ", "", str(error))


def _check_search(sweep: Sweep) -> Iterator[Problem]:
    section = sweep.section
    search, space = section.search.name, section.space
    if search == "grid":
        for parameter in space.parameters:
            if parameter.kind not in ("choice", "grid"):
                message = f"{parameter.path} is {parameter.describe()}, expected choice or grid for a grid search"
                yield ("sweep", "search"), message
        if not any(parameter.size is None or parameter.kind == "integer" for parameter in space.parameters):
            yield from _too_many(sweep)
    if search in TUNE_SEARCHES and space.conditional:
        conditional = next(parameter.path for parameter in space.parameters if parameter.when)
        yield ("sweep", "search"), f"{search} knows no conditions ({conditional} has one), expected optuna or random"
    if search in TUNE_SEARCHES and section.objective.several:
        goals = len(section.objective.goals)
        yield ("sweep", "search"), f"{search} searches for one goal, expected optuna or random for {goals}"


def _too_many(sweep: Sweep) -> Iterator[Problem]:
    try:
        sweep.section.space.grid()
    except ValueError as error:
        yield ("sweep", "space"), str(error)


def _check_scheduler(sweep: Sweep) -> Iterator[Problem]:
    section, place = sweep.section, ("sweep", "scheduler")
    name, epochs = section.scheduler.name, sweep.epochs
    if section.objective.several:
        goals = " and ".join(goal.metric for goal in section.objective.goals)
        yield place, f"{name} compares trials by one number, and the objective has several: {goals}; expected none"
    if len(sweep.seeds) > 1:
        yield place, f"{name} compares single runs, and there are {len(sweep.seeds)} seeds; expected one seed, or none"
    every = sweep.default_specs()[0].train.evaluate_every_epochs
    if every >= epochs:
        yield (
            place,
            f"{name} needs an evaluation on the way, and train.evaluate_every_epochs is {every} of {epochs:g} epochs",
        )
    for key in ("grace_epochs", "every_epochs"):
        if (value := section.scheduler.options.get(key, 0)) >= epochs:
            yield (*place, key), f"{value:g}, expected less than the {epochs:g} epochs of a run"


def check_space(sweep: Sweep, places: Mapping[str, Place]) -> list[Problem]:
    """Parameters that do not exist, values that a constructor refuses, and parameters that change nothing."""
    problems: list[Problem] = []
    impossible: dict[str, list[Value]] = {}
    for parameter in sorted(sweep.section.space.parameters, key=lambda parameter: not parameter.path.endswith(".name")):
        problems += [(places[parameter.path], message) for message in _refusals(sweep, parameter, impossible)]
    return problems


def _refusals(sweep: Sweep, parameter: Parameter, impossible: dict[str, list[Value]]) -> list[str]:
    """What is wrong with a parameter, each problem once.

    Args:
        impossible: refused values of the parameters before, under which nothing is tried; gets those of this one.
    """
    values = _tried_values(parameter)
    situations = list(itertools.islice(_situations(sweep, parameter, impossible), MAX_SITUATIONS))
    refused: dict[str, list[tuple[int, int]]] = {}
    runs: dict[str, RunSpec] = {}
    measured: dict[str, None] = {}
    for (which, value), (where, situation) in itertools.product(enumerate(values), enumerate(situations)):
        built = _built(sweep, {**situation, parameter.path: value})
        if isinstance(built, InputError):
            refused.setdefault(_about(parameter, str(built)), []).append((which, where))
        else:
            runs[built.run_id] = built
            if found := _measured_otherwise(sweep, built):
                measured[found] = None
    if not refused and len(values) > 1 and len(runs) == 1:
        return ["changes nothing: its values all give the same run"]
    messages = [*_other_budgets(sweep, list(runs.values())), *measured]
    for message, cases in refused.items():
        first, where = cases[0]
        everywhere = len({where for _, where in cases}) == len(situations)
        if everywhere:
            impossible.setdefault(parameter.path, []).extend(values[which] for which in {which for which, _ in cases})
        else:
            setting = " and ".join(f"{path} {spelled(own)}" for path, own in situations[where].items())
            message += f", with {setting}; a parameter of some settings only has a condition (when)"
        if len({which for which, _ in cases}) < len(values) and spelled(values[first]) not in message:
            message = f"{spelled(values[first])}: {message}"
        messages.append(message)
    return messages


def _other_budgets(sweep: Sweep, specs: Sequence[RunSpec]) -> list[str]:
    """That a scheduler cannot compare trials which are trained for other numbers of epochs."""
    others = sorted({epochs for spec in specs if (epochs := epochs_of(spec)) != sweep.epochs})
    scheduler = sweep.section.scheduler.name
    if scheduler == "none" or not others:
        return []
    return [
        f"changes the budget, e.g. to {others[0]:g} epochs instead of {sweep.epochs:g}, and {scheduler} "
        "compares trials of one budget; expected the scheduler none, or a budget that stays (train.epochs)"
    ]


def _measured_otherwise(sweep: Sweep, spec: RunSpec) -> str | None:
    """That the objective's numbers of a run just built are measured on something else than those of the default."""
    metrics = [metric for metric in sweep.section.objective.metrics if metric != TRAINING_LOSS]
    default = sweep.default_specs()[0]
    if not metrics:
        return None
    found = difference((default, spec), (sweep.dataset_of(default), sweep.dataset_of(spec)), metrics)
    if found is None:
        return None
    return (
        f"changes what {' and '.join(metrics)} {'is' if len(metrics) == 1 else 'are'} measured on ({found}), so its "
        "settings cannot be compared; another data set or split is another sweep"
    )


def _built(sweep: Sweep, values: Values) -> RunSpec | InputError:
    """The first run of a setting, or why it cannot be built.

    What else the setting needs, since the file has no value for it, is given only if it is not possible without.
    """
    try:
        return sweep.built(values)[0]
    except InputError as error:
        refusal = error
    completed = _completed(sweep, values)
    if completed == values:
        return refusal
    try:
        return sweep.built(completed)[0]
    except InputError as error:
        return error if "missing, but" in str(refusal) else refusal


def _about(parameter: Parameter, text: str) -> str:
    """A setting's problems in one line, without the path that they are reported at."""
    lines = []
    for line in text.splitlines():
        for known in (parameter.path, parameter.path.partition(".")[0]):
            line = line.removeprefix(f"{known}: ")
        lines.append(line)
    if parameter.kind in ("uniform", "loguniform") and any("expected a whole number" in line for line in lines):
        return f"{parameter.kind} draws fractions, expected whole numbers, e.g. {{integer: [16, 64]}}"
    return "; ".join(lines)


def _tried_values(parameter: Parameter) -> list[Value]:
    if parameter.kind in ("choice", "grid"):
        if len(parameter.values) <= MAX_TRIED:
            return list(parameter.values)
        return [*parameter.values[: MAX_TRIED - 1], parameter.values[-1]]
    assert parameter.low is not None
    assert parameter.high is not None
    ends: list[Value] = [parameter.low, parameter.high]
    if parameter.kind == "integer":
        return [int(parameter.low), int(parameter.high)]
    return ends


def _situations(sweep: Sweep, parameter: Parameter, impossible: Mapping[str, list[Value]]) -> Iterator[Values]:
    """Values of the parameters that decide whether this one applies, or to which plugin it belongs."""
    space = sweep.section.space
    deciding: dict[str, tuple[Value, ...]] = {}

    def add(path: str, accepted: tuple[Value, ...]) -> None:
        for parent, values in space[path].when.items():
            add(parent, values)
        before = deciding.get(path, accepted)
        deciding[path] = tuple(value for value in accepted if any(same(value, other) for other in before))

    for parent, values in parameter.when.items():
        add(parent, values)
    for path in space.paths:
        owner = path.removesuffix("name")
        if path.endswith(".name") and parameter.path.startswith(owner) and path not in (*deciding, parameter.path):
            add(path, space[path].values)
    possible = [
        [value for value in values if not any(same(value, other) for other in impossible.get(path, []))]
        for path, values in deciding.items()
    ]
    for combination in itertools.product(*possible):
        yield dict(zip(deciding, combination, strict=True))


def _completed(sweep: Sweep, values: Values) -> Values:
    """`values`, and one of each other parameter that applies to them and for which the file has none."""
    space = sweep.section.space
    found = dict(values)
    for parameter in space.parameters:
        if parameter.path in found or sweep.default_value(parameter.path) is not MISSING:
            continue
        if space.active(parameter.path, found):
            found[parameter.path] = _tried_values(parameter)[0]
    return found
