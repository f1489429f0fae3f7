"""Whether two image files are the same."""

from __future__ import annotations

from pathlib import Path


def same_content(one: Path, other: Path) -> bool:
    """Byte for byte; False where a file cannot be read, which is looked at elsewhere."""
    try:
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False
