"""Jobs of a cluster for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def job_table(address: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    """Jobs of a cluster, as `Job.describe` has them, for a terminal."""
    shown = Table(title=address, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    shown.add_column("job", no_wrap=True)
    for heading in ("suite", "status", "start", "duration"):
        shown.add_column(heading, justify="right" if heading == "duration" else "left", overflow="fold")
    for entry in entries:
        start = "" if entry["start"] is None else entry["start"][:19].replace("T", " ")
        took = "" if entry["seconds"] is None else str(timedelta(seconds=round(entry["seconds"])))
        status = entry["status"] + (f": {entry['message']}" if entry["message"] else "")
        kind = " (sweep)" if entry["kind"] == "sweep" else ""
        shown.add_row(*map(Text, (entry["id"], entry["suite"] + kind, status, start, took)))
    return shown
