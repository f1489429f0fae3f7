"""One finding of the doctor, and how findings are shown."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

Status = Literal["ok", "warning", "problem"]
STYLES: dict[Status, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@dataclasses.dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, what was found, and what to do about it."""

    name: str
    status: Status
    found: str
    fix: str = ""


def exit_code(checks: Sequence[Check]) -> int:
    """3 if anything would not run here, else 0.

    >>> exit_code([Check("open files", "warning", "1024")])
    0
    """
    return 3 if any(check.status == "problem" for check in checks) else 0


def as_json(checks: Sequence[Check]) -> str:
    """A JSON list of objects with the keys name, status, found, fix."""
    return json.dumps([dataclasses.asdict(check) for check in checks], indent=1, ensure_ascii=False)


def print_report(checks: Sequence[Check], console: Console) -> None:
    """The findings as a table; below it every fix on a line of its own, unbroken, to be copied."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("check", "status", "found"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(Text(check.name), Text(check.status, STYLES[check.status]), Text(check.found))
    console.print(table)
    for check in checks:
        if check.fix:
            console.print(Text.assemble("\n", (check.name, STYLES[check.status]), f": {check.fix}"), soft_wrap=True)
    count = Counter(check.status for check in checks)
    console.print(f"\n{count['ok']} ok, {count['warning']} to note, {count['problem']} to mend")
