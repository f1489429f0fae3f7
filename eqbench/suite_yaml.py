"""The YAML of suite files as plain data, with the line that each part of it stands on.

It is that of YAML 1.2 where 1.1 surprises: `1e-4` is a number, `no` and `2026-01-01` are text. Duplicate
keys, aliases, tags and numbers that are not finite are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from eqbench.errors import InputError
from eqbench.validation import dotted, show

Place = tuple[str | int, ...]


def parse(text: str, file: str) -> tuple[Any, dict[Place, str]]:
    """Plain data, and `file:line` of every place in it.

    Raises:
        InputError: the text is not YAML, or not plain data.
    """
    sources: dict[Place, str] = {}
    try:
        node = yaml.compose(text, _Loader)
        return (None if node is None else _plain(node, (), file, sources)), sources
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark and not file.startswith("-o ") else ""
        context = f" ({error.context})" if error.context else ""
        raise InputError(f"{file}{line}: not valid YAML: {error.problem}{context}") from error
    except yaml.reader.ReaderError as error:
        raise InputError(
            f"{file}: not a text file (character {error.character!r} at position {error.position}), "
            "expected a suite in YAML"
        ) from error
    except RecursionError as error:
        raise InputError(f"{file}: lists or mappings are nested too deeply") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            message = "aliases are not supported, write the value out"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=self.current_event.start_mark)
        return super().compose_node(parent, index)


def _whole_number(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > 20 or abs(int(digits)) >= 2**63:
        raise ValueError("expected a number of at most 64 bits")
    return int(digits)


def _number(text: str) -> float:
    value = float(re.sub(r"(?i)\.(?=inf|nan)|_", "", text))
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value + 0.0  # -0.0 becomes 0.0: one number, one spelling


_SCALARS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "null": (r"~|null|Null|NULL|", "~nN", lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    "int": (r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789", _whole_number),
    "float": (
        r"[-+]?(?=[^eE]*[.eE])([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _number,
    ),
}
_PREFIX = "tag:yaml.org,2002:"
for _kind, (_pattern, _first, _) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"{_PREFIX}{_kind}", re.compile(rf"^(?:{_pattern})$"), [*_first, *([""] if _kind == "null" else [])]
    )


def _plain(node: yaml.Node, place: Place, file: str, sources: dict[Place, str]) -> Any:
    match node:
        case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
            return _mapping(node, place, file, sources)
        case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
            items = {(*place, index): item for index, item in enumerate(node.value)}
            sources.update({here: f"{file}:{item.start_mark.line + 1}" for here, item in items.items()})
            return [_plain(item, here, file, sources) for here, item in items.items()]
        case yaml.ScalarNode(tag="tag:yaml.org,2002:str"):
            return node.value
    kind = node.tag.removeprefix(_PREFIX)
    where = f"{sources.get(place, file)}: {dotted(place)}".removesuffix(": ")
    if kind not in _SCALARS or not isinstance(node, yaml.ScalarNode):
        raise InputError(f"{where}: the tag {node.tag.replace(_PREFIX, '!!')} is not supported")
    try:
        return _SCALARS[kind][2](node.value)
    except ValueError as error:
        raise InputError(f"{where}: {show(node.value)}, {error}") from error


def _mapping(node: yaml.MappingNode, place: Place, file: str, sources: dict[Place, str]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{file}:{line}: a list or mapping as key, expected text")
        key = key_node.value
        here = (*place, key)
        if key in plain:
            name = dotted(here)
            raise InputError(f"{file}:{line}: {name}: duplicate key, it is on line {lines[key]} already")
        lines[key] = line
        sources[here] = f"{file}:{line}"
        plain[key] = _plain(value_node, here, file, sources)
    return plain
