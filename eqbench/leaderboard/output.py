"""Where `eqbench leaderboard` writes to, and in which format."""

from __future__ import annotations

from pathlib import Path

from eqbench.errors import InputError, nearest

SUFFIXES = {"table": ".txt", "html": ".html", "csv": ".csv", "markdown": ".md", "latex": ".tex", "json": ".json"}
"""Of a file in each format."""


def output(format_name: str | None, out: str | None, as_json: bool) -> tuple[str, Path | None]:
    """Format and file; no file is the terminal. In a folder, the file is called `leaderboard`.

    What has no suffix is a folder, unless a file is there already. The suffix of a file says its format, if it is not
    given.

    Raises:
        InputError: unknown format, or one that contradicts `--json` or the suffix of the file.
    """
    if format_name is not None and format_name not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"format {format_name!r}: expected one of {known}{nearest(format_name, SUFFIXES)}")
    if as_json and format_name not in (None, "json"):
        raise InputError(f"--json and --format {format_name} exclude each other; leave out one of them")
    chosen = "json" if as_json else format_name
    if out is None:
        return chosen or "table", None
    place = Path(out).expanduser()
    if out.endswith("/") or _is_folder(place):
        chosen = chosen or "table"
        return chosen, place / f"leaderboard{SUFFIXES[chosen]}"
    return _of_file(chosen, place), place


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir() or not (place.suffix or place.exists())
    except OSError:  # e.g. too long a name, which writing tells
        return False


def _of_file(chosen: str | None, file: Path) -> str:
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()} | {"": "table"}
    told = by_suffix.get(file.suffix.lower())
    if chosen is None and told is None:
        expected = ", ".join(SUFFIXES.values())
        raise InputError(f"--out {file}: {file.suffix} names no format; expected one of {expected}, or --format")
    if chosen is not None and told not in (None, "table", chosen):
        raise InputError(f"--out {file} is for {told}, --format says {chosen}; leave out --format or change the suffix")
    return chosen or str(told)
