"""What commands print: text, JSON, or whatever rich can show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench.errors import EnvironmentProblem

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output, with colours and tables where it is a terminal."""
    from rich.console import Console

    return Console()


def write(text: str, out: Path | None) -> None:
    """Write to a file, or to standard output without one.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"--out {out}: cannot be written ({error.strerror})") from error


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
