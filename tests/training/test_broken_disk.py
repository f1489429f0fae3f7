"""What a damaged checkpoint and a full disk do to a run: as little as possible, and the result says what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqbench.checkpoint import Checkpoints
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.trial import train_and_record

from .same_runs import assert_same_run, differences, events, last_state
from .tiny_runs import CODE, CPU, attempt, planned, tiny_spec

KILLED = -9
Uninterrupted = Callable[[RunSpec], RunFolder]


def result_of(run: RunFolder) -> dict[str, Any]:
    result = run.read_result()
    assert result is not None
    return result


def damage(run: RunFolder, *iterations: int) -> None:
    for iteration in iterations:
        file = Checkpoints(run.checkpoints).path(iteration) / "state.pt"
        file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("damaged", "goes_on_from"), [([8], 4), ([4, 8], 0)])
def test_a_damaged_checkpoint_is_passed_over_and_told(
    damaged: list[int],
    goes_on_from: int,
    tmp_path: Path,
    uninterrupted: Uninterrupted,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = tiny_spec(record_every=1)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, die_at_step=9) == KILLED
    assert Checkpoints(run.checkpoints).iterations() == [4, 8]
    damage(run, *damaged)
    assert train_and_record(run, CPU, code=CODE) is None
    assert_same_run(run, uninterrupted(spec))
    warnings = result_of(run)["warnings"]
    for iteration, warning in zip(reversed(damaged), warnings, strict=True):
        assert warning.startswith(str(Checkpoints(run.checkpoints).path(iteration)))
        assert "does not match its SHA-256" in warning
    assert f"continuing from iteration {goes_on_from}" in caplog.text


def test_training_goes_on_when_checkpoints_cannot_be_written(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    spec = tiny_spec(record_every=1)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, die_at_step=5) == KILLED
    before = last_state(run)
    assert attempt(run, largest_file=15_000) == 0
    assert run.newest_checkpoint == 4
    assert differences(last_state(run), before) == []
    warnings = result_of(run)["warnings"]
    for iteration, warning in zip((8, 12), warnings, strict=True):
        assert warning.startswith(f"checkpoint of iteration {iteration} not written to ")
        assert "File too large" in warning
    assert events(run) == events(uninterrupted(spec))
    assert result_of(run)["metrics"] == result_of(uninterrupted(spec))["metrics"]


def test_a_disk_too_full_for_records_stops_the_run_until_there_is_room(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """Events are the first file of this run to reach the limit, in the middle of a line."""
    spec = tiny_spec(model="training.tiny_runs:WithDropout", epochs=8, record_every=1, evaluate_every_epochs=8)
    run = planned(tmp_path / "run", spec)
    assert attempt(run, largest_file=6000) == 1
    assert (run.path / "failure.txt").read_text() == f"[Errno 27] File too large: '{run.events_file}'\n"
    assert run.events_file.stat().st_size == 6000
    assert run.read_result() is None
    reached = run.read_events()[-1]["iteration"]
    assert 5 < reached < 30
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


def test_a_folder_that_is_gone_is_raised_for_another_try(tmp_path: Path) -> None:
    run = planned(tmp_path / "run", tiny_spec(iterations=1))
    run.evaluation.write_text("a file where a folder should be")
    with pytest.raises(OSError, match="evaluation"):
        train_and_record(run, CPU, code=CODE)
    assert run.read_result() is None
    assert run.newest_checkpoint == 1
