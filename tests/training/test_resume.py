"""A run that is killed, at any moment, and run again equals one that never was, bit for bit."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqbench.checkpoint import Checkpoints
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.trial import train_and_record

from .same_runs import assert_same_run
from .tiny_runs import CODE, CPU, at_step, attempt, planned, tiny_spec

KILLED = -9
Uninterrupted = Callable[[RunSpec], RunFolder]

EVERY_RECORD = {"record_every": 2, "checkpoint_minutes": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    "momentum and batch norm": {},
    "AdamW, averaged weights and clipping": {
        "optimizer": {"name": "adamw", "lr": 1e-2},
        "ema_decay": 0.9,
        "clip_norm": 0.5,
        "schedule": {"name": "multi_step", "warmup": {"iterations": 5}},
    },
    "accumulation in bf16": {"accumulate": 3, "precision": "bf16", "schedule": {"name": "poly"}},
    "fp16 with a gradient scaler": {"precision": "fp16", "norm": "group"},
    "dropout": {"model": "training.tiny_runs:WithDropout", "ema_decay": 0.5},
    "channels last": {"channels_last": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_killed_in_mid_epoch(options: dict[str, Any], tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """Four steps per epoch; killed in step 3 after the checkpoint of 2, and in step 9 after that of 8."""
    spec = tiny_spec(**options, **EVERY_RECORD)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, die_at_step=3) == KILLED
    assert run.newest_checkpoint == 2
    assert attempt(run, die_at_step=9) == KILLED
    assert run.newest_checkpoint == 8
    assert run.read_result() is None
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))
    assert run.attempts == 3


def test_without_a_checkpoint_in_the_epoch_it_goes_back_to_its_start(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    spec = tiny_spec(record_every=1)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, die_at_step=7) == KILLED
    assert run.newest_checkpoint == 4
    assert run.read_events()[-1]["iteration"] == 7
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


def test_killed_before_the_first_checkpoint(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    spec = tiny_spec(record_every=1)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, die_at_step=2) == KILLED
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


def test_killed_before_any_change_of_the_file_system(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """While an event, a table, a checkpoint or the result is written, before and after each rename and removal."""
    spec = tiny_spec(iterations=2, batch_size=16, checkpoint_minutes=0, record_every=1)
    reference = uninterrupted(spec)
    operation = 1
    while True:
        run = planned(tmp_path / f"{operation}", spec)
        code = attempt(run, die_at_operation=operation)
        if code == 0:
            break
        assert code == KILLED
        assert attempt(run) == 0
        assert_same_run(run, reference)
        assert not list(run.checkpoints.glob(".*"))
        operation += 1
    assert operation > 20


def test_interrupted_in_this_process(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """Ctrl-C, and a disk that is gone for a while, leave the run to be continued; here with batches loaded ahead."""
    spec = tiny_spec(record_every=1, checkpoint_minutes=0)
    run = planned(tmp_path / "run", tiny_spec(record_every=1, checkpoint_minutes=0, loader_processes=1))
    for step, error in ((2, KeyboardInterrupt()), (6, OSError("no such device"))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(at_step, step, lambda error=error: _raise(error))
            with pytest.raises(type(error)) as caught:
                train_and_record(run, CPU, code=CODE)
        traceback.clear_frames(caught.tb)  # what they hold would let loader processes wait for seconds
        assert run.newest_checkpoint == step
        assert run.read_result() is None
    assert train_and_record(run, CPU, code=CODE) is None
    assert_same_run(run, uninterrupted(spec))


def test_a_finished_run_that_is_trained_again_is_only_evaluated(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    spec = tiny_spec()
    run = planned(tmp_path / "run", spec)
    assert attempt(run) == 0
    state = Checkpoints(run.checkpoints).path(12) / "state.pt"
    before = state.stat().st_mtime_ns
    assert attempt(run, die_at_step=11) == 0
    assert state.stat().st_mtime_ns == before
    assert_same_run(run, uninterrupted(spec))


def _raise(error: BaseException) -> None:
    raise error
