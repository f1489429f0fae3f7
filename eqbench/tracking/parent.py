"""The parent run in MLflow of one `eqbench run`: its suite file, what was made of all its runs, how many ended how."""

from __future__ import annotations

from eqbench.tracking import board, schema
from eqbench.tracking import invocation as invocations
from eqbench.tracking.invocation import Invocation
from eqbench.tracking.problem import FilesRefused
from eqbench.tracking.store import Experiment, TrackedRun
from eqbench.tracking.uploads import Uploads

NOTE = "mlflow.note.content"


def create(experiment: Experiment, invocation: Invocation, uploads: Uploads) -> TrackedRun:
    """A new parent run, which is RUNNING. Files that are refused now are sent with its end."""
    tracked = experiment.create(invocation.name, _first_tags(invocation), round(invocation.started * 1000))
    uploads.add(tracked, invocations.files(invocation))
    return tracked


def end(invocation: Invocation, tracked: TrackedRun, status: str, ended: float, uploads: Uploads) -> None:
    """Its files, the number of its runs by how they ended, the leaderboard's numbers and text, then its status.

    A description that somebody has written in MLflow stays.

    Raises:
        FilesRefused: all is done but for files.
    """
    ended_ms = round(ended * 1000)
    counts = {f"runs/{what}": float(count) for what, count in invocation.counts.items()}
    numbers, left_out = board.metrics(invocation, room=schema.MAX_METRIC_KEYS - len(counts))
    points = [schema.Point(key, value, ended_ms, 0) for key, value in {**counts, **numbers}.items()]
    refusal = uploads.add(tracked, invocations.files(invocation))
    tracked.add_points(schema.news(points, tracked.last_steps)[0])
    tags = {"eqbench.status_detail": invocation.status_detail, "eqbench.metrics_left_out": left_out or None}
    if tracked.tags.get(NOTE) == _first_tags(invocation).get(NOTE):
        tags |= _first_tags(invocation, board.text(invocation))
    tracked.set_tags(schema.tag_values(tags))
    tracked.set_ended(status, ended_ms)
    if refusal:
        raise FilesRefused from refusal


def _first_tags(invocation: Invocation, board_text: str = "") -> dict[str, str]:
    return schema.parent_tags(invocation.invocation_id, invocation.description, invocation.command, board_text)
