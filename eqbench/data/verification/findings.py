"""What a check of a data set has found: problems and notes, grouped by kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eqbench.data.verification.names import printable

KEPT = 20
"""Of a kind; further ones are only counted."""


@dataclass
class Kind:
    """What is alike: `number` of them, `left_out` of them not in `items`; `advice` says what to do."""

    advice: str = ""
    number: int = 0
    left_out: int = 0
    items: list[str] = field(default_factory=list)


class Findings:
    """Collects what is wrong, and what is merely worth knowing.

    Args:
        limit: how many of each kind are kept; None for all.

    >>> found = Findings()
    >>> found.problem("files missing", "train/7.jpg", advice="unpack the archive again")
    >>> found.ok, found.problems["files missing"].number
    (False, 1)
    """

    def __init__(self, limit: int | None = KEPT) -> None:
        self.limit = limit
        self.problems: dict[str, Kind] = {}
        self.notes: dict[str, Kind] = {}

    def problem(self, kind: str, what: str, *, advice: str = "", number: int = 1) -> None:
        """Something is wrong.

        Args:
            kind: what problems like this one have in common, in a few words, e.g. "files missing".
            what: this one: file, line or record, value, what was expected.
            advice: what to do about problems of this kind; said once.
            number: how many cases `what` stands for.
        """
        self._add(self.problems, kind, what, advice, number)

    def note(self, kind: str, what: str, *, advice: str = "", number: int = 1) -> None:
        """Nothing is wrong, but it is worth knowing; arguments as of `problem`."""
        self._add(self.notes, kind, what, advice, number)

    @property
    def ok(self) -> bool:
        """There is no problem."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            name: [
                {"kind": kind, "number": group.number, "items": group.items, "advice": group.advice}
                for kind, group in kinds.items()
            ]
            for name, kinds in (("problems", self.problems), ("notes", self.notes))
        }

    def _add(self, kinds: dict[str, Kind], name: str, what: str, advice: str, number: int) -> None:
        kind = kinds.setdefault(name, Kind())
        kind.advice = kind.advice or advice
        kind.number += number
        if self.limit is None or len(kind.items) < self.limit:
            kind.items.append(printable(what))
        else:
            kind.left_out += number
