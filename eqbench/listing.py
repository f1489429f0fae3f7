"""`eqbench ls`: what exists of each kind, with one line about it."""

from __future__ import annotations

from typing import Literal

from eqbench import plugins

PLUGIN_KINDS: dict[str, plugins.KindName] = {
    "tasks": "task",
    "losses": "loss",
    "models": "model",
    "datasets": "dataset",
}
SUITE_KINDS: dict[str, Literal["suite", "sweep"]] = {"suites": "suite", "sweeps": "sweep"}
KINDS = (*PLUGIN_KINDS, *SUITE_KINDS)


def listing(kind: str) -> list[dict[str, str]]:
    """Name and description of everything of a kind, one of `KINDS`; nothing is imported to find out.

    >>> [entry["name"] for entry in listing("tasks")]
    ['classification', 'detection', 'segmentation']
    """
    if kind in SUITE_KINDS:
        from eqbench.suite import list_suites

        found = list_suites(SUITE_KINDS[kind])
        return [{"name": suite.name, "description": suite.question, "file": str(suite.file)} for suite in found]
    plugin_kind = PLUGIN_KINDS[kind]
    return [{"name": name, "description": plugins.describe(plugin_kind, name)} for name in plugins.names(plugin_kind)]
