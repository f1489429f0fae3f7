"""What a run's result.json and a suite's plan.json hold, checked as they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from eqbench.errors import InputError

RESULT_VERSION = 1
RESULT_KEYS = {"status": str, "status_detail": str, "metrics": dict, "cost": dict}


class Damaged(InputError):
    """A file is there, and what is in it is not what eqbench writes."""


@dataclass(frozen=True)
class Plan:
    """The runs of the last `eqbench run`, in the suite's order; `left_out`: those that it was told to leave, and by
    which option."""

    run_ids: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def checked_run_id(text: str, place: object) -> str:
    """The same text; as the name of a folder it cannot lead elsewhere.

    Args:
        place: where it is from, for the message.

    Raises:
        Damaged: it is no run id.
    """
    if not re.fullmatch(r"\w[\w.-]*", text, re.ASCII):
        raise Damaged(f"{place}: {text[:80]!r} is no run id; expected letters, digits, '-', '_' and '.'")
    return text


def read_object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is not there.

    Raises:
        Damaged: it cannot be read as one.
    """
    try:
        content = from_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (IsADirectoryError, ValueError) as error:
        reason = "it is a folder" if isinstance(error, IsADirectoryError) else str(error)
        raise Damaged(f"{file}: cannot be read ({reason})") from error
    if not isinstance(content, dict):
        raise Damaged(f"{file}: cannot be read (it holds {type(content).__name__}, not an object)")
    return content


def read_attempts(file: Path) -> int:
    """How often a run was started, by its state.json; 0 where that does not say."""
    try:
        number = (read_object(file) or {}).get("attempt")
    except Damaged:
        return 0
    return number if type(number) is int and number > 0 else 0


def read_result(file: Path, *, cut_off_is_none: bool = False) -> dict[str, Any] | None:
    """The result of a run; None if the file is not there, or if it is no object and `cut_off_is_none`.

    Raises:
        InputError: a later, unknown version of the schema.
        Damaged: it cannot be read, or a field is not as expected.
    """
    try:
        result = read_object(file)
    except Damaged:
        if cut_off_is_none:
            return None
        raise
    if result is None or (cut_off_is_none and not result):
        return None
    _check_result(file, result)
    return result


def _check_result(file: Path, result: Mapping[str, Any]) -> None:
    if (own := result.get("schema_version")) != RESULT_VERSION:
        kind = InputError if isinstance(own, int) else Damaged
        raise kind(f"{file}: schema_version: {own!r} is not known here; expected {RESULT_VERSION}")
    for key, expected in RESULT_KEYS.items():
        if not isinstance(result.get(key), expected):
            raise Damaged(f"{file}: {key}: {result.get(key)!r}, expected a {expected.__name__}")
    if not isinstance(main := result.get("main_metric", ""), str):
        raise Damaged(f"{file}: main_metric: {main!r}, expected a str")


def read_plan(file: Path) -> Plan:
    """The plan in a file; an empty one if the file is not there.

    Raises:
        Damaged: it cannot be read as one.
    """
    try:
        if (content := read_object(file)) is None:
            return Plan()
        run_ids, left_out = content.get("run_ids"), content.get("left_out", {})
        if not isinstance(run_ids, list) or not all(isinstance(run_id, str) for run_id in run_ids):
            raise Damaged(f"{file}: run_ids: expected a list of run ids")
        for run_id in run_ids:
            checked_run_id(run_id, f"{file}: run_ids")
        if not isinstance(left_out, dict) or not all(isinstance(option, str) for option in left_out.values()):
            raise Damaged(f"{file}: left_out: expected an option for each run id")
    except Damaged as error:
        raise Damaged(f"{error}; delete it, and the next `eqbench run` writes it anew") from error
    return Plan(run_ids, left_out)
