"""What watches over the training loop of one worker: it must not stand still, and a machine that goes must say so.

A worker that does not come back from a step (a lost collective, a file system that hangs, a deadlock) would hold its
machine for ever. `faulthandler` ends such a process from a thread in C, which no lock of Python can stop, and writes
down where every thread stood. To Ray it is a worker that died: the run goes on from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eqbench import distributed
from eqbench.run_folder import RunFolder

logger = logging.getLogger(__name__)

ITERATIONS_BETWEEN_AGREEMENTS = 64
"""At most, however short a step is: later ones may be longer."""
SECONDS_BETWEEN_NOTICES = 2.0
SECONDS_OF_AN_EVALUATION = 4 * 3600
"""At most: the other workers wait for the first one, which has it done."""


class Supervision:
    """What the loop tells and asks. This one is for a loop that nobody watches: nothing happens."""

    def stepped(self) -> None:
        """The loop has come this far."""

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """An evaluation may take longer than a step."""
        return contextlib.nullcontext()

    def leaving(self, iteration: int) -> bool:
        """Whether a machine of the run is about to go, said once to all workers after the same `iteration`."""
        return False


UNWATCHED = Supervision()


class Watched(Supervision):
    """Ends this process when it stands still, and passes on the notice that a machine will go.

    Args:
        seconds: within which a step has to finish.
        file: gets the stacks of a process that was ended.
        notice: how many machines of the run have been told that they will go; asked about every two seconds.
    """

    def __init__(self, seconds: float, file: Path, notice: Callable[[], int] | None = None) -> None:
        self._seconds = seconds
        self._between = min(1.0, seconds / 10)
        self._file = file.open("ab")
        self._notice = notice
        self._told = 0.0
        self._armed = float("-inf")
        self._agreed, self._every, self._since = 0, 1, time.monotonic()

    def stepped(self) -> None:
        now = time.monotonic()
        if now - self._armed >= self._between:
            self._arm(self._seconds)
            self._armed = now

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        self._arm(max(self._seconds, SECONDS_OF_AN_EVALUATION))
        yield
        self._arm(self._seconds)

    def leaving(self, iteration: int) -> bool:
        if self._notice is None or iteration - self._agreed < self._every:
            return False
        now = time.monotonic()
        told, going, seconds = self._told, *distributed.highest(self._notice(), (now - self._since) / self._every)
        enough = int(SECONDS_BETWEEN_NOTICES / max(seconds, 1e-9))
        self._every = max(1, min(enough, 2 * self._every, ITERATIONS_BETWEEN_AGREEMENTS))
        self._agreed, self._since, self._told = iteration, now, going
        return going > told

    def close(self) -> None:
        """Stop watching."""
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        path = Path(self._file.name)
        with contextlib.suppress(OSError):  # no reason to fail: it may be gone
            if not path.stat().st_size:
                path.unlink()

    def _arm(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, file=self._file, exit=True)


@contextlib.contextmanager
def watching(run: RunFolder, minutes: float, notice: Callable[[], int] | None = None) -> Iterator[Supervision]:
    """Watch over the loop of this worker while it trains `run`; `minutes` is what a step may take at most.

    All workers of the run call it before they begin, to agree on the number of the attempt.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    attempt = distributed.from_first_rank(run.attempts + 1)
    file = run.path / f"stuck_rank{distributed.rank()}_{os.getpid()}_{attempt}.txt"
    watched = Watched(60 * minutes, file, notice)
    try:
        watched.stepped()
        yield watched
    finally:
        watched.close()


def stuck(run: RunFolder, *, lately: bool = False) -> list[str]:
    """A sentence for each worker of the run that was ended because it stood still; `lately`: in the last attempt."""
    since = run.attempts if lately else 0
    files = [file for file in stuck_files(run) if _named(file)[1] >= since]
    if not files:
        return []
    minutes = run.read_spec().resources.stuck_minutes
    return [
        f"rank {_named(file)[0]} did not finish a step within {minutes:g} min and was ended; where it stood: {file}"
        for file in files
    ]


def stuck_files(run: RunFolder) -> list[Path]:
    """What workers of the run have left here that were ended because they stood still: where that was."""
    files = []
    for file in sorted(run.path.glob("stuck_rank*.txt")):
        with contextlib.suppress(FileNotFoundError):  # a worker of the group before has ended meanwhile
            files += [file] if file.stat().st_size else []
    return files


def _named(file: Path) -> tuple[str, int]:
    """Rank and attempt; 0 where the name does not say which.

    >>> _named(Path("stuck_rank3_4711_2.txt")), _named(Path("stuck_rank3.txt"))
    (('3', 2), ('3', 0))
    """
    rank, *rest = file.stem.removeprefix("stuck_rank").split("_")
    return rank, int(rest[1]) if len(rest) == 2 and rest[1].isdecimal() else 0


class PreemptionNotice(threading.Thread):
    """How many nodes of the worker group will go, by what Ray Train knows: spot machines, nodes being drained.

    Ray's answer is a barrier of all workers, so that they agree; a thread of each worker asks for it now and then.
    """

    def __init__(self) -> None:
        super().__init__(name="preemption-notice", daemon=True)
        self._going = 0
        self._closed = threading.Event()
        self.start()

    def __call__(self) -> int:
        return self._going

    def close(self) -> None:
        """Ask no more: the worker is ending, and with it the group."""
        self._closed.set()

    def run(self) -> None:
        from ray.train import get_preemption_info

        said = False
        while not self._closed.wait(SECONDS_BETWEEN_NOTICES):
            try:
                info = get_preemption_info()
                self._going = len(info.preempted_node_ids) if info else 0
                said = False
            except Exception as error:
                if not (said or self._closed.is_set()):
                    logger.warning("no notice of a machine that will go is heard: %s: %s", type(error).__name__, error)
                said = True
