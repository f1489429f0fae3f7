"""`eqbench ls`: what exists of each kind, with one line about it."""

from __future__ import annotations

from typing import Any, Literal

from eqbench import plugins

PLUGIN_KINDS: dict[str, plugins.KindName] = {
    "tasks": "task",
    "losses": "loss",
    "models": "model",
    "datasets": "dataset",
}
SUITE_KINDS: dict[str, Literal["suite", "sweep"]] = {"suites": "suite", "sweeps": "sweep"}
PUBLISHED = "published"
KINDS = (*PLUGIN_KINDS, *SUITE_KINDS, PUBLISHED)


def listing(kind: str) -> list[dict[str, Any]]:
    """Name and description of everything of a kind, one of `KINDS`; no plugin is imported to find out.

    >>> [entry["name"] for entry in listing("tasks")]
    ['classification', 'detection', 'segmentation']
    """
    if kind in SUITE_KINDS:
        from eqbench.suite import list_suites

        found = list_suites(SUITE_KINDS[kind])
        return [{"name": suite.name, "description": suite.question, "file": str(suite.file)} for suite in found]
    if kind == PUBLISHED:
        return _published()
    plugin_kind = PLUGIN_KINDS[kind]
    return [{"name": name, "description": plugins.describe(plugin_kind, name)} for name in plugins.names(plugin_kind)]


def _published() -> list[dict[str, Any]]:
    """What `eqbench compare RUN --to published` knows: data set, model and loss, then schedule, numbers and source."""
    from eqbench.leaderboard import published

    found = []
    for record in published.records():
        numbers = ", ".join(f"{name} {value:g}" for name, value in record.metrics.items())
        how = ", ".join(part for part in (record.schedule, record.sampler) if part)
        described = f"{how}: {numbers} ({record.source.place})"
        name = " · ".join((record.dataset, record.model, record.loss))
        found.append({"name": name, "description": described, **record.model_dump(mode="json")})
    return found
