"""One `eqbench run` of a suite, on disk: what becomes the parent run in MLflow.

<storage>/<suite>/invocations/<id>/
    invocation.json    command, start, end, status, the runs it was to train
    suite.yaml         the suite as it was then
    artifacts/         what was made of all its runs: leaderboard, plots, the best setting of a sweep
    synced.json        where it has been sent
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from eqbench.run_folder import SuiteFolder, write_atomically

FOLDER = "invocations"


@dataclass(frozen=True)
class Invocation:
    """One `eqbench run`. Times are unix seconds; `status` is MLflow's, None while it goes on."""

    path: Path
    suite: str
    tracking_uri: str
    started: float
    command: str = ""
    description: str = ""
    run_ids: list[str] = field(default_factory=list)
    ended: float | None = None
    status: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    status_detail: str = ""

    @property
    def invocation_id(self) -> str:
        return self.path.name

    @property
    def file(self) -> Path:
        return self.path / "invocation.json"

    @property
    def suite_file(self) -> Path:
        return self.path / "suite.yaml"

    @property
    def name(self) -> str:
        """For people: `quickstart · 2026-11-22 15:40`, local time."""
        return f"{self.suite} · {datetime.fromtimestamp(self.started):%Y-%m-%d %H:%M}"

    def write(self) -> None:
        content = asdict(self)
        del content["path"]
        write_atomically(self.file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def start(
    folder: SuiteFolder, run_ids: Sequence[str], *, tracking_uri: str, command: str, description: str
) -> Invocation | None:
    """Record that an `eqbench run` begins that trains the runs `run_ids`, if there are any."""
    if not run_ids:
        return None
    started = time.time()
    path = folder.path / FOLDER / f"{datetime.fromtimestamp(started, UTC):%Y%m%d-%H%M%S-%f}"
    path.mkdir(parents=True)
    if folder.suite_file.exists():
        write_atomically(path / "suite.yaml", folder.suite_file.read_bytes())
    invocation = Invocation(path, folder.suite, tracking_uri, started, command, description, list(run_ids))
    invocation.write()
    return invocation


def extend(invocation: Invocation, run_ids: Sequence[str]) -> Invocation:
    """Record that it is to train more runs than it began with."""
    new = replace(invocation, run_ids=list(dict.fromkeys([*invocation.run_ids, *run_ids])))
    new.write()
    return new


def files(invocation: Invocation) -> list[tuple[Path, str]]:
    """Its suite file and each file in its `artifacts`, with the folder in MLflow."""
    root = invocation.path / "artifacts"
    found = sorted(file for file in root.rglob("*") if file.is_file())
    suite = [(invocation.suite_file, "config")] if invocation.suite_file.exists() else []
    return suite + [(file, file.parent.relative_to(root).as_posix().removeprefix(".")) for file in found]


def end(invocation: Invocation, folder: SuiteFolder, *, status: str, detail: str = "") -> Invocation:
    """Record how an `eqbench run` ended, with the number of its runs by how they ended."""
    results = [folder.run(run_id).read_result() for run_id in invocation.run_ids]
    counts = Counter(result["status"] if result else "unfinished" for result in results)
    ended = replace(
        invocation,
        ended=time.time(),
        status=status,
        counts=dict(sorted(counts.items())),
        status_detail=detail or ", ".join(f"{count} {what}" for what, count in sorted(counts.items())),
    )
    ended.write()
    return ended


def of_sweep(folder: SuiteFolder) -> bool:
    """Whether these are the runs of a sweep, `<name>/sweeps`: settings to choose from, not repetitions to average."""
    return "/" in folder.suite


def invocations_in(folder: SuiteFolder) -> list[Invocation]:
    """Every recorded `eqbench run` of a suite, oldest first. One that a crash left unreadable is left out."""
    found = []
    for file in sorted((folder.path / FOLDER).glob("*/invocation.json")):
        try:
            found.append(Invocation(file.parent, **json.loads(file.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return found


def end_stale(folder: SuiteFolder) -> None:
    """Record the end of every `eqbench run` that was killed. Only for the holder of the suite's lock."""
    for invocation in invocations_in(folder):
        if invocation.status is None:
            end(invocation, folder, status="KILLED", detail="its process ended before the suite did")
