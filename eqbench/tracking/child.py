"""One run in MLflow: its data set, its values, and everything that is final. Its folder on disk is the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.tracking import schema
from eqbench.tracking.artifacts import final_artifacts
from eqbench.tracking.lifetime import last_sign_ms, read_json
from eqbench.tracking.problem import FilesRefused
from eqbench.tracking.store import TrackedRun
from eqbench.tracking.uploads import Uploads

WITHOUT_FILES = "its files are not in MLflow yet: `eqbench sync` sends them"


def add_data(run: RunFolder, spec: RunSpec, tracked: TrackedRun, *, final: bool) -> None:
    """Link the data set as soon as it is described; a run that has ended without that has its name at least."""
    if tracked.has_data:
        return
    if (description := read_json(run.path / "dataset.json")) or final:
        tracked.set_data(schema.data_input(spec, description))


def add_events(run: RunFolder, tracked: TrackedRun) -> None:
    """Send the values that MLflow does not have."""
    points, left_out = schema.news(schema.event_points(run.read_events()), tracked.last_steps)
    tracked.add_points(points)
    if left_out:
        tracked.set_tags(schema.tag_values({"eqbench.metrics_left_out": ", ".join(sorted(left_out))}))


def finish(
    run: RunFolder,
    result: Mapping[str, Any] | None,
    tracked: TrackedRun,
    tags: Mapping[str, str],
    uploads: Uploads,
) -> None:
    """Everything that is final, the tags and the status last: a run that says it is valid is complete.

    Raises:
        FilesRefused: all is done but for files; the run has ended, and does not say that it is valid.
    """
    with TemporaryDirectory(prefix="eqbench-") as scratch:
        refusal = uploads.add(tracked, final_artifacts(run, result, Path(scratch)))
    if result and result["status"] == "finished":
        tracked.add_points(schema.news(schema.cost_points(result), tracked.last_steps)[0])
        tracked.set_params(schema.param_values(read_json(run.path / "params.json")))
    tracked.set_tags({**tags, **_incomplete(tags)} if refusal else tags)
    if result:
        tracked.set_ended(schema.STATUS[result["status"]], round(result["finished_at"] * 1000))
    else:
        tracked.set_ended("KILLED", last_sign_ms(run))
    if refusal:
        raise FilesRefused from refusal


def _incomplete(tags: Mapping[str, str]) -> dict[str, str]:
    detail = "; ".join(filter(None, [tags.get("eqbench.status_detail", ""), WITHOUT_FILES]))
    return schema.tag_values({"eqbench.valid": False, "eqbench.status_detail": detail})
