"""When a run started, and when it was last seen alive."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from eqbench.run_folder import RunFolder


def was_started(run: RunFolder) -> bool:
    """Whether anything of this run has happened yet."""
    return run.attempts > 0 or run.events_file.exists() or run.result_file.exists()


def started_ms(run: RunFolder) -> int:
    """The first sign of a run, in unix milliseconds."""
    times = [float(event["time_ms"]) for event in run.read_events()[:1]]
    started = read_json(run.state_file).get("started")
    if started:
        times.append(started * 1000)
    return int(min(times, default=time.time() * 1000))


def last_sign_ms(run: RunFolder) -> int:
    """The last sign of a run that has no result, in unix milliseconds; now, if there was none."""
    times = [float(event["time_ms"]) for event in run.read_events()[-1:]]
    times.append(read_json(run.state_file).get("started", 0) * 1000)
    return int(max(times) or time.time() * 1000)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty when there is none."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(file.read_text())
        if isinstance(content, dict):
            return content
    return {}
