"""The folder of a suite and its mirror: plan, suite, trials, invocations, pictures; and the folders of its runs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eqbench import file_lock
from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import RunFolder, is_evaluation, write_atomically
from eqbench.storage.known_files import FILE, stamp_of
from eqbench.storage.mirror import Mirror
from eqbench.storage.place import located, place_of
from eqbench.storage.remote import Remote, Stamp
from eqbench.storage.run_mirror import MARK, PLANNED, RunMirror

logger = logging.getLogger(__name__)
LOCK = ".mirror.lock"
RUN_LOCK = ".lock"
SWEEPS = "sweeps"
RUN_FILES = ("run.yaml", "state.json", "result.json")
PATIENCE_SECONDS = 60.0
SECONDS_BETWEEN_LOOKS = 0.5
AT_ONCE = 8


def mirror_of(run: Path) -> RunMirror | None:
    """The mirror of a run's folder; None where that is not below a URI's working folder."""
    there = located(run)
    return None if there is None else RunMirror(run, *there)


@contextlib.contextmanager
def held(run: Path, patience: float = 0.0) -> Iterator[RunMirror | None]:
    """The mirror of a run whose lock is held meanwhile; None if another process of this machine holds it."""
    run.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(run / RUN_LOCK, patience) as lock:
        yield None if lock is None else mirror_of(run)


class SuiteMirror(Mirror):
    """The folder of a suite without those of its runs, and its mirror. Only for the holder of `held_suite`."""

    def __init__(self, folder: Path, remote: Remote, prefix: str) -> None:
        inside = list(folder.iterdir()) if folder.exists() else []
        runs = {each.name for each in inside if any((each / name).exists() for name in RUN_FILES)}
        super().__init__(folder, remote, prefix, frozenset({*runs, SWEEPS}))

    def fetch(self) -> dict[str, dict[str, Stamp]]:
        """Read what has changed there; what is there of each run, by its name."""
        there = self.listed()
        runs: dict[str, dict[str, Stamp]] = {}
        for path in there:
            name, _, rest = path.partition("/")
            if rest in RUN_FILES and not name.startswith("."):
                runs[name] = {}
        own = {}
        for path, stamp in there.items():
            name, _, rest = path.partition("/")
            if name in runs:
                runs[name][rest] = stamp
            elif name != SWEEPS and not name.startswith("."):
                own[path] = stamp
        self.fetch_files(own)
        return runs


@contextlib.contextmanager
def held_suite(folder: Path) -> Iterator[SuiteMirror | None]:
    """The mirror of a suite's folder, for one thread of this machine at a time; None where that has no URI.

    Raises:
        EnvironmentProblem: another process has had it for a minute.
    """
    if (there := located(folder)) is None:
        yield None
        return
    remote, prefix = there
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(folder / LOCK, PATIENCE_SECONDS) as lock:
        if lock is None:
            raise EnvironmentProblem(f"{folder}: another eqbench process has been reading {remote.shown} for a minute")
        yield SuiteMirror(folder, remote, prefix)


def fetch_suite(folder: Path) -> None:
    """Read what the mirror has of a suite and its runs, without checkpoints. Runs that are trained here are left."""
    asked = time.time_ns()
    with held_suite(folder) as mirror:
        if mirror is None:
            return
        runs = mirror.fetch()
    for file in folder.glob(f"*/{FILE}"):  # also of runs that were deleted there
        if file.parent.name != SWEEPS:
            runs.setdefault(file.parent.name, {})

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        list(pool.map(lambda name: _fetch(folder / name, runs[name], asked), runs))


def _fetch(run: Path, there: Mapping[str, Stamp], asked: int, patience: float = 0.0) -> None:
    """Read what the mirror has of a run, unless it is trained here; `there`: its files when that was `asked`."""
    with held(run, patience) as mirror:
        if mirror is not None:
            level = stamp_of(run / FILE)
            mirror.fetch(None if level and level[1] >= asked else there)


def fetch_run(run: Path, patience: float = 0.0) -> None:
    """Read what the mirror has of a run, without checkpoints, unless it is trained here."""
    mirror = mirror_of(run)
    if mirror is None or (not patience and file_lock.is_held(run / RUN_LOCK)):
        return
    asked = time.time_ns()
    _fetch(run, mirror.listed(), asked, patience)  # listed without the lock: a store that is away takes its time


def fetch_plans(storage: Path) -> None:
    """Read the plan of every suite and sweep behind the URI of a storage, by which they are found."""
    place = place_of(storage)
    if place is None or (remote := place.remote) is None:
        return
    suites = [path for path, stamp in remote.list(recursive=False).items() if stamp[0] < 0 and path[0] != "."]
    plans = ("plan.json", f"{SWEEPS}/plan.json", f"{SWEEPS}/sweep.json")
    wanted = [f"{suite}/{plan}" for suite in suites for plan in plans]
    for path, stamp in remote.stamps(wanted).items():
        folder = (place.local / path).parent
        if not (place.local / path).exists():
            with held_suite(folder) as mirror:
                if mirror is not None and mirror.receive(Path(path).name, stamp):
                    mirror.known.save()


def fetch_planned(run: Path) -> None:
    """Read what the driver has planned of a run; for each of its workers, whoever holds its lock."""
    if (mirror := mirror_of(run)) is None:
        return
    for name in PLANNED:
        if content := mirror.remote.read(mirror.at(name)):
            run.mkdir(parents=True, exist_ok=True)
            if not (run / name).exists() or (run / name).read_bytes() != content:
                write_atomically(run / name, content)


def runs_in(folder: Path) -> list[Path]:
    """The folders of the runs of a suite on this machine."""
    return sorted({file.parent for name in RUN_FILES for file in folder.glob(f"*/{name}")})


def stop(run: RunFolder, iteration: int, patience: float = PATIENCE_SECONDS) -> None:
    """Tell a run that has been marked to stop, if it is trained elsewhere; read its evaluation after `iteration`."""
    if place_of(run.path) is None:
        return
    with held(run.path) as mirror:
        if mirror is None:
            return
        mirror.push_mark()
        deadline = time.monotonic() + patience
        while True:
            mirror.fetch()
            evaluated = [event["iteration"] for event in run.read_events(newest_bytes=65536) if is_evaluation(event)]
            if max(evaluated, default=0) >= iteration or time.monotonic() > deadline:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def publish(folder: Path, runs: Iterable[Path] = ()) -> None:
    """Write what the driver has changed of a suite, and of those runs that are not being trained here."""
    with held_suite(folder) as mirror:
        if mirror is None:
            return
        mirror.push_files()

    def push(run: Path) -> None:
        with held(run) as mirror:
            if mirror is not None:
                mirror.push_notes()

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        list(pool.map(push, runs))


def settle(run: Path, patience: float = PATIENCE_SECONDS) -> None:
    """Make a run that nobody trains any more and its mirror the same."""
    if place_of(run) is None:
        return
    with held(run, patience) as mirror:
        if mirror is None:
            return
        if (run / MARK).exists():
            mirror.push_stopped()
        else:
            mirror.fetch()
            mirror.push(ending=True)


def try_to_settle(run: Path) -> None:
    """As `settle`; where that fails, the reason is logged: the next call that works on the suite does it."""
    try:
        settle(run)
    except (EnvironmentProblem, OSError) as error:
        logger.warning("%s", error)
