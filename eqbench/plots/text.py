"""Text as pictures and pages can show it."""

from __future__ import annotations


def cleaned(text: str) -> str:
    r"""On one line, with a replacement for what no font and no document can show.

    >>> cleaned("a\tb\nc\x1b[0m")
    'a b c�[0m'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def shortened(text: str, longest: int = 24) -> str:
    """At most `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
