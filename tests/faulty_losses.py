"""Losses for suites of the tests: one that raises, one that diverges, one that waits in the middle of an epoch."""

from __future__ import annotations

import os
import time
from pathlib import Path

from eqbench.losses.batch import Batch, Terms
from eqbench.losses.cross_entropy import CrossEntropy


class Breaks(CrossEntropy):
    """Raises at its first batch."""

    def terms(self, batch: Batch) -> Terms:
        raise RuntimeError("the loss is broken\nand a second line")


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
