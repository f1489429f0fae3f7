"""What is wrong with a value, in plain words: pydantic's findings without pydantic's layout."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from eqbench.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Problem = tuple[tuple[str | int, ...], str]
"""A place in nested data and what is wrong there."""

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
