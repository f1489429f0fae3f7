"""Trains a member of a population: from one comparison with the others to the next, and on with what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eqbench import value_schedule
from eqbench.run_folder import RunFolder
from eqbench.trial import train_and_record

if TYPE_CHECKING:
    import torch


SECONDS_BETWEEN_REPORTS = 60.0
SECONDS_BETWEEN_LOOKS = 0.05


class Compared(BaseException):
    """Members are compared at this iteration. No error: training ends as if the process had ended there."""


def train_member(
    run: RunFolder, device: torch.device, code: dict[str, Any], every_epochs: int, report: Callable[[int], None]
) -> dict[str, str] | None:
    """Train until the end of the budget, or until `report` ends this thread where others need what it waits with.

    While it waits, nothing is held: neither the run's lock nor a model. It goes on, here or in another process, from
    the checkpoint and the values that its folder has then.

    Args:
        run: the run of a member.
        device: of this worker.
        code: see `eqbench.environment.git_state`.
        every_epochs: between two comparisons.
        report: called with an iteration after each evaluation, and again now and then while the member waits.

    Returns:
        See `eqbench.trial.train_and_record`.
    """
    budget = run.read_spec().budget

    def due(iteration: int) -> bool:
        return 0 < iteration < budget.iterations and iteration % (every_epochs * budget.iterations_per_epoch) == 0

    def evaluated(iteration: int) -> None:
        if due(iteration):
            raise Compared
        report(iteration)

    begins = not due(run.newest_checkpoint) or run.read_result() is not None
    while True:
        while due(iteration := run.newest_checkpoint) and value_schedule.compared(run) < iteration:
            report(iteration)
            _wait(run, iteration)
        try:
            with run.exclusively():
                return train_and_record(run, device, code=code, evaluated=evaluated, begins=begins)
        except Compared:
            begins = False


def _wait(run: RunFolder, iteration: int) -> None:
    """Until the member has been compared at `iteration`, or for so long that its place may be needed for another."""
    until = time.monotonic() + SECONDS_BETWEEN_REPORTS
    while time.monotonic() < until and value_schedule.compared(run) < iteration:
        time.sleep(SECONDS_BETWEEN_LOOKS)
