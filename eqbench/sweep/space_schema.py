"""The `space` of a sweep file: its parameters, and everything that is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eqbench.errors import nearest
from eqbench.suite_yaml import Place
from eqbench.sweep.known_paths import is_train_key, meant
from eqbench.sweep.space import KINDS, Kind, Parameter, Space, Value, is_number, same
from eqbench.validation import Problem, show

ROOTS = ("loss", "train", "model", "data", "task")
SHORT = {"train.lr": "train.optimizer.lr"}
KEYS = (*KINDS, "when")
EXAMPLE = "{uniform: [0.25, 4]}"
MAX_VALUES = 1000
LARGEST = 2**53
"""Whole numbers up to here are exact as floating point numbers."""

When = dict[str, tuple[Place, list[Value]]]


def read_space(data: object, place: Place, problems: list[Problem]) -> tuple[Space, dict[str, Place]]:
    """The parameters that could be read, and where each is written; what is wrong is added to `problems`."""
    if not isinstance(data, Mapping) or not data:
        found = "it is empty" if data is None or data == {} else show(data)
        problems.append((place, f"{found}, expected parameters, e.g. loss.tau: {EXAMPLE}"))
        return Space(()), {}
    parameters: dict[str, Parameter] = {}
    conditions: dict[str, When] = {}
    places: dict[str, Place] = {}
    unreadable: set[str] = set()
    for written, here, value in _entries(data, place):
        path = _whole(written)
        if path in places:
            problems.append((here, f"is the same parameter as {'.'.join(map(str, places[path][2:]))}"))
            continue
        places[path] = here
        if problem := _wrong_path(path):
            problems.append((here, problem))
            unreadable.add(path)
            continue
        parameter, conditions[path] = _read_parameter(path, value, here, problems)
        if parameter is None:
            unreadable.add(path)
        else:
            parameters[path] = parameter
    return _with_conditions(parameters, conditions, places, unreadable, problems), places


def _entries(data: Mapping[str, Any], place: Place) -> list[tuple[str, Place, Any]]:
    """Path, place and value of each parameter.

    `-o sweep.space.loss.tau=...` writes `loss: {tau: ...}` beside `loss.tau`; it changes that one.
    """
    found = {key: ((*place, key), value) for key, value in data.items() if not _nested(key, value)}
    for key, value in data.items():
        if _nested(key, value):
            for nested, here, own in list(_flat(key, (*place, key), value, found)):
                path = next((known for known in found if _whole(known) == _whole(nested)), nested)
                found[path] = here, _changed(found[path][1], own) if path in found else own
    return [(path, here, value) for path, (here, value) in found.items()]


def _nested(key: str, value: object) -> bool:
    return key in ROOTS and isinstance(value, Mapping) and not any(own in KEYS for own in value)


def _flat(
    path: str, place: Place, value: Mapping[str, Any], known: Mapping[str, object]
) -> Iterator[tuple[str, Place, Any]]:
    for key, own in value.items():
        below, here = f"{path}.{key}", (*place, key)
        if isinstance(own, Mapping) and own and below not in known and not any(map(_is_key, own)):
            yield from _flat(below, here, own, known)
        else:
            yield below, here, own


def _is_key(name: str) -> bool:
    """Whether a name is a key of a parameter, or a misspelt one, and no part of a path."""
    return name in KEYS or bool(nearest(name, KEYS))


def _whole(path: str) -> str:
    return SHORT.get(path, path)


def _changed(before: object, own: object) -> object:
    if not isinstance(before, Mapping) or not isinstance(own, Mapping):
        return own
    another = any(key in KINDS for key in own)
    return {**{key: value for key, value in before.items() if not (another and key in KINDS)}, **own}


def _wrong_path(path: str) -> str | None:
    root, *below = path.split(".")
    if path == "task.name":
        return "is no part of a setting: another task reports other metrics"
    if root == "train" and len(below) == 1 and not is_train_key(below[0]) and (hint := meant(path)):
        return f"unknown key{hint}"
    if root in ROOTS and below and all(below):
        return None
    if root in ROOTS:
        return f"expected a name after {root}, e.g. {root}.name"
    if root in ("resources", "seeds", "name", "mlflow", "losses", "tasks"):
        return f"is no part of a setting (expected a path that starts with {', '.join(f'{each}.' for each in ROOTS)})"
    hint = ("" if below else meant(path)) or nearest(root, ROOTS)
    return f"unknown path{hint} (expected one that starts with {', '.join(f'{each}.' for each in ROOTS)})"


def _read_parameter(path: str, data: object, place: Place, problems: list[Problem]) -> tuple[Parameter | None, When]:
    if isinstance(data, list):
        data = {"grid": data}
    if not isinstance(data, Mapping):
        problems.append((place, f"{show(data)}, expected one of {', '.join(KINDS)} with values, e.g. {EXAMPLE}"))
        return None, {}
    before = len(problems)
    for key in data:
        if key not in KEYS:
            problems.append(((*place, key), f"unknown key{nearest(key, KEYS)} (known: {', '.join(KEYS)})"))
    when = _read_when(data.get("when", {}), (*place, "when"), problems)
    kinds = [kind for kind in KINDS if kind in data]
    if len(kinds) > 1:
        problems.append((place, f"{' and '.join(kinds)}, expected one of them"))
    elif not kinds and len(problems) == before:
        problems.append((place, f"has no values, expected one of {', '.join(KINDS)}, e.g. {EXAMPLE}"))
    if len(kinds) != 1:
        return None, when
    read = _values if kinds[0] in ("choice", "grid") else _bounds
    fields = read(path, kinds[0], data[kinds[0]], (*place, kinds[0]), problems)
    return (None if fields is None else Parameter(path, kinds[0], **fields)), when


def _bounds(path: str, kind: Kind, data: object, place: Place, problems: list[Problem]) -> dict[str, Any] | None:
    if path.endswith(".name"):
        problems.append((place, "a name, expected choice: with the names"))
        return None
    if not isinstance(data, list) or len(data) != 2:
        problems.append((place, f"{show(data)}, expected two numbers: the lowest and the highest value"))
        return None
    before = len(problems)
    for index, bound in enumerate(data):
        expected = None
        if not is_number(bound) or not math.isfinite(bound):
            expected = "a finite number"
        elif kind == "integer" and bound != int(bound):
            expected = "a whole number"
        elif kind == "integer" and abs(bound) > LARGEST:
            expected = f"a whole number of at most {LARGEST:,}"
        elif kind == "loguniform" and bound <= 0:
            expected = "more than 0 (equal ratios are equally likely)"
        if expected:
            problems.append(((*place, index), f"{show(bound)}, expected {expected}"))
    if len(problems) > before:
        return None
    low, high = float(data[0]), float(data[1])
    if low >= high:
        problems.append((place, f"{show(data)} is an empty range, expected the first to be lower than the second"))
        return None
    if not math.isfinite(high - low):
        problems.append((place, f"{show(data)}, expected bounds whose difference is finite"))
        return None
    return {"low": low, "high": high}


def _values(path: str, kind: Kind, data: object, place: Place, problems: list[Problem]) -> dict[str, Any] | None:
    if not isinstance(data, list) or not data:
        found = "an empty list" if data == [] else show(data)
        problems.append((place, f"{found}, expected a list of values"))
        return None
    if len(data) > MAX_VALUES:
        problems.append((place, f"{len(data):,} values, expected at most {MAX_VALUES:,}"))
        return None
    before = len(problems)
    name = path.endswith(".name")
    for index, value in enumerate(data):
        here = (*place, index)
        if name and not isinstance(value, str):
            problems.append((here, f"{show(value)}, expected a name"))
        elif kind == "grid" and not is_number(value):
            problems.append((here, f"{show(value)}, expected a number; values of any kind are {{choice: [...]}}"))
        elif isinstance(value, list | Mapping):
            problems.append((here, f"{show(value)}, expected a single value"))
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append((here, f"{show(value)}, expected a finite number"))
        elif any(same(value, earlier) for earlier in data[:index]):
            problems.append((here, f"{show(value)} is in the list already"))
    if len(problems) > before:
        return None
    return {"values": tuple(sorted(data) if kind == "grid" else data)}


def _read_when(data: object, place: Place, problems: list[Problem]) -> When:
    if not isinstance(data, Mapping) or (not data and data != {}):
        problems.append((place, f"{show(data)}, expected parameters and their values, e.g. {{loss.name: sigmoid_eql}}"))
        return {}
    when: When = {}
    for written, values in data.items():
        here: Place = (*place, written)
        accepted = list(values) if isinstance(values, list) else [values]
        path = _whole(str(written))
        if not accepted or any(isinstance(value, list | Mapping) for value in accepted):
            problems.append((here, f"{show(values)}, expected a value or a list of values"))
        elif path in when:
            problems.append((here, f"is the same parameter as {path}"))
        else:
            when[path] = here, accepted
    return when


def _with_conditions(
    parameters: Mapping[str, Parameter],
    conditions: Mapping[str, When],
    places: Mapping[str, Place],
    unreadable: set[str],
    problems: list[Problem],
) -> Space:
    """The parameters with their conditions checked, those that decide before those that they decide about."""
    checked: dict[str, Parameter] = {}
    for path, parameter in parameters.items():
        when = {}
        for parent, (here, accepted) in conditions[path].items():
            if problem := _wrong_condition(path, parent, accepted, parameters, unreadable):
                problems.append((here, problem))
            elif parent in parameters:
                when[parent] = tuple(accepted)
        checked[path] = Parameter(path, parameter.kind, parameter.low, parameter.high, parameter.values, when)
    ordered: dict[str, Parameter] = {}
    waiting = list(checked.values())
    while waiting:
        ready = [parameter for parameter in waiting if all(parent in ordered for parent in parameter.when)]
        if not ready:
            circle = _circle(waiting)
            names = " -> ".join([*circle, circle[0]])
            problems.append(((*places[circle[0]], "when"), f"the conditions go in a circle: {names}"))
            break
        ordered[ready[0].path] = ready[0]
        waiting.remove(ready[0])
    return Space(tuple(ordered.values()))


def _wrong_condition(
    path: str, parent: str, accepted: Sequence[Value], parameters: Mapping[str, Parameter], unreadable: set[str]
) -> str | None:
    if parent == path:
        return "is the parameter itself, expected another one of the space"
    if parent in unreadable:
        return None
    if parent not in parameters:
        others = [other for other in parameters if other != path]
        return f"is no parameter of this space{nearest(parent, others)} (others: {', '.join(others) or 'none'})"
    decides = parameters[parent]
    if decides.kind not in ("choice", "grid", "integer"):
        return f"has a range ({decides.describe()}), expected a parameter of the kind choice, grid or integer"
    for index, value in enumerate(accepted):
        if not decides.takes(value):
            candidates = [known for known in decides.values if isinstance(known, str)]
            hint = nearest(value, candidates) if isinstance(value, str) else ""
            return f"{show(value)} is no value of {parent}{hint} ({decides.describe()})"
        if any(same(value, earlier) for earlier in accepted[:index]):
            return f"{show(value)} is given twice"
    return None


def _circle(waiting: Sequence[Parameter]) -> list[str]:
    """Parameters that wait for each other, the first for the second and so on."""
    by_path = {parameter.path: parameter for parameter in waiting}
    trail = [waiting[0].path]
    while True:
        following = next(parent for parent in by_path[trail[-1]].when if parent in by_path)
        if following in trail:
            return trail[trail.index(following) :]
        trail.append(following)
