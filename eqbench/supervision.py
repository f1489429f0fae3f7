"""What watches over the training loop of one worker: it must not stand still, and a machine that goes must say so.

A worker that does not come back from a step (a lost collective, a file system that hangs, a deadlock) would hold its
machine for ever. `faulthandler` ends such a process from a thread in C, which no lock of Python can stop, and writes
down where every thread stood. To Ray it is a worker that died: the run goes on from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eqbench import distributed
from eqbench.run_folder import RunFolder

ITERATIONS_BETWEEN_AGREEMENTS = 8
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
        notice: whether a machine of the run has been told that it will go; asked every few iterations.
    """

    def __init__(self, seconds: float, file: Path, notice: Callable[[], bool] | None = None) -> None:
        self._seconds = seconds
        self._between = min(1.0, seconds / 10)
        self._file = file.open("ab")
        self._notice = notice
        self._told = False
        self._armed = float("-inf")

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
        if self._notice is None or self._told or iteration % ITERATIONS_BETWEEN_AGREEMENTS:
            return False
        self._told = distributed.any_rank(self._notice())
        return self._told

    def close(self) -> None:
        """Stop watching."""
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        if not Path(self._file.name).stat().st_size:
            Path(self._file.name).unlink()

    def _arm(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, file=self._file, exit=True)


@contextlib.contextmanager
def watching(run: RunFolder, minutes: float, notice: Callable[[], bool] | None = None) -> Iterator[Supervision]:
    """Watch over the loop of this worker while it trains `run`; `minutes` is what a step may take at most."""
    run.path.mkdir(parents=True, exist_ok=True)
    watched = Watched(60 * minutes, run.path / f"stuck_rank{distributed.rank()}.txt", notice)
    try:
        watched.stepped()
        yield watched
    finally:
        watched.close()


def stuck(run: RunFolder) -> list[str]:
    """A sentence for each worker of the run that was ended because it stood still."""
    files = [file for file in sorted(run.path.glob("stuck_rank*.txt")) if file.stat().st_size]
    if not files:
        return []
    minutes = run.read_spec().resources.stuck_minutes
    return [
        f"{file.stem.removeprefix('stuck_').replace('rank', 'rank ')} did not finish a step within {minutes:g} min and "
        f"was ended; where it stood: {file}"
        for file in files
    ]


class PreemptionNotice:
    """Whether Ray Train knows that a node of the worker group will go: a spot machine's notice, a node being drained.

    Ray's answer is a barrier of all workers, so that they agree; a thread of each worker asks for it now and then.
    """

    def __init__(self) -> None:
        self._came = threading.Event()
        threading.Thread(target=self._ask, name="preemption-notice", daemon=True).start()

    def __call__(self) -> bool:
        return self._came.is_set()

    def _ask(self) -> None:
        from ray.train import get_preemption_info

        with contextlib.suppress(Exception):  # the worker group is ending: nobody is asked any more
            while not self._came.wait(SECONDS_BETWEEN_NOTICES):
                if get_preemption_info() is not None:
                    self._came.set()
