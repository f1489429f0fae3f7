"""What is wrong with a value, in plain words: pydantic's findings without pydantic's layout."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eqbench.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Problem = tuple[tuple[str | int, ...], str]
"""A place in nested data and what is wrong there."""

ANY_LENGTH = -1
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "none_required": "null",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "text",
    "too_long": "{max_length} or fewer entries",
    "too_short": "{min_length} or more entries",
    "tuple_type": "a list",
}


def show(value: object) -> str:
    """A value as a user would write it, cut to 60 characters.

    >>> show(True), show(None), show("x"), show([1])
    ('true', 'null', "'x'", '[1]')
    """
    if value is None or isinstance(value, bool):
        return str({None: "null", True: "true", False: "false"}[value])
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_few(values: Sequence[object], number: int = 5) -> str:
    """The first of many, with dots where there are more.

    >>> first_few([3, 4]), first_few("abcdef")
    ('3, 4', 'a, b, c, d, e, ...')
    """
    return ", ".join([*map(str, values[:number]), *(["..."] if len(values) > number else [])])


def wrong_length(value: object, annotation: object) -> str | None:
    """What is wrong with a list that has another length than the tuple that is wanted; None if it has not.

    >>> wrong_length([0.5], tuple[float, float] | None), wrong_length([1, 2], tuple[int, ...])
    ('1 number, expected 2 or null', None)
    """
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    choices = typing.get_args(annotation) if union else (annotation,)
    lengths = {_length(choice) for choice in choices} - {0}
    if not isinstance(value, list | tuple) or not lengths or lengths & {ANY_LENGTH, len(value)}:
        return None
    numbers = bool(value) and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
    unit = ("number" if numbers else "entry") if len(value) == 1 else ("numbers" if numbers else "entries")
    null = " or null" if type(None) in choices else ""
    return f"{len(value)} {unit}, expected {' or '.join(map(str, sorted(lengths)))}{null}"


def _length(annotation: object) -> int:
    """Of a tuple; `ANY_LENGTH` for a list or tuple without a fixed one, 0 for what is none."""
    items = typing.get_args(annotation)
    if annotation in (list, tuple) or typing.get_origin(annotation) is list or ... in items:
        return ANY_LENGTH
    return len(items) if typing.get_origin(annotation) is tuple else 0


def dotted(path: Iterable[str | int]) -> str:
    """A place in nested data by its name.

    >>> dotted(["tasks", 0, "train"])
    'tasks[0].train'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def expectation(error: ErrorDetails) -> str:
    """What was expected instead: `a whole number`, `at least 1`."""
    template = _EXPECTED.get(error["type"])
    if template is None:
        return error["msg"][:1].lower() + error["msg"][1:]
    return template.format(**error.get("ctx", {}))


def explain(error: ErrorDetails) -> str:
    """The offending value and what was expected, e.g. `-3, expected at least 1`."""
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "missing, but required"
        case "value_error":
            return str(context["error"])
        case "union_tag_not_found":
            return f"key {context['discriminator']} is missing"
        case "union_tag_invalid":
            return _choice(context["tag"], f"one of {context['expected_tags']}")
        case "literal_error":
            return _choice(error["input"], context["expected"])
    return f"{show(error['input'])}, expected {expectation(error)}"


def _choice(value: object, expected: str) -> str:
    allowed = re.findall(r"'([^']*)'", expected)
    return f"{show(value)}, expected {expected}{nearest(str(value), allowed)}"
