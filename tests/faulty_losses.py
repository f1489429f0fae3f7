"""Losses for suites of the tests: they raise, diverge, end their process, or wait in the middle of an epoch."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from eqbench.losses.batch import Batch, Terms
from eqbench.losses.cross_entropy import CrossEntropy
from eqbench.supervision import PreemptionNotice


class Breaks(CrossEntropy):
    """Raises at its first batch."""

    def terms(self, batch: Batch) -> Terms:
        raise RuntimeError("the loss is broken\nand a second line")


class Dies(CrossEntropy):
    """Its process is killed at its first batch."""

    def terms(self, batch: Batch) -> Terms:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().terms(batch)


class Diverges(CrossEntropy):
    """Its gradient is not a number."""

    def terms(self, batch: Batch) -> Terms:
        terms = super().terms(batch)
        return terms._replace(gradient=terms.gradient * float("nan"))


class Waits(CrossEntropy):
    """Waits before the step of a process that the file `wait` in `folder` names, as long as that file exists.

    A process that waits says so with a file `waiting-<pid>`. One that is `patient` does not wait.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        folder: str,
        patient: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__(num_classes=num_classes, loss_weight=loss_weight, ignore_index=ignore_index)
        self._folder = Path(folder)
        self._patient = patient
        self._steps = 0

    def terms(self, batch: Batch) -> Terms:
        self._steps += 1
        wait = self._folder / "wait"
        if not self._patient and wait.exists() and int(wait.read_text()) == self._steps:
            (self._folder / f"waiting-{os.getpid()}").touch()
            while wait.exists():
                time.sleep(0.02)
        return super().terms(batch)


class MeetsTrouble(Waits):
    """In its first process it never returns from step 6; the next one waits before step 8, as `Waits` does."""

    def terms(self, batch: Batch) -> Terms:
        first = self._folder / "first"
        if self._steps == 5 and not first.exists():
            first.touch()
            threading.Event().wait()
        return super().terms(batch)


class MeetsNotice(Waits):
    """Waits before step 3 until its process has heard that a machine will go, and before step 10 as `Waits` does."""

    def terms(self, batch: Batch) -> Terms:
        if self._steps == 2 and not (self._folder / "noticed").exists():
            (self._folder / f"ready-{os.getpid()}").touch()
            while not any(isinstance(thread, PreemptionNotice) and thread() for thread in threading.enumerate()):
                time.sleep(0.02)
        return super().terms(batch)
