"""Checkpoints survive a kill and a full disk at any moment, and what is damaged is noticed."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eqbench.checkpoint import CheckpointError, Checkpoints
from eqbench.run_folder import RunFolder

from .same_runs import differences
from .tiny_runs import die_before_operation, in_process

STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(1000.0), "count": torch.tensor(3)},
    "optimizer": {"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "ema": None,
    "elapsed": 1.5,
}


def state(iteration: int) -> dict[str, Any]:
    return {**STATE, "model": {**STATE["model"], "count": torch.tensor(iteration)}}


def saved(folder: Path, *iterations: int) -> Checkpoints:
    checkpoints = Checkpoints(folder / "checkpoints")
    for iteration in iterations:
        checkpoints.save(iteration, state(iteration))
    return checkpoints


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    iteration, loaded, damaged = checkpoints.load_newest()
    assert (iteration, damaged) == (5, [])
    assert differences(loaded, state(5)) == []


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent").load_newest() == (0, {}, [])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    assert saved(tmp_path, 5, 10, 10, 15).iterations() == [10, 15]


# -- damage ------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    file = path / "state.pt"
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_byte(path: Path) -> None:
    file = path / "state.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = path / "manifest.json"
        file.write_text(json.dumps(change(json.loads(file.read_text()))))

    return damage


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def replace_by_a_file(path: Path) -> None:
    empty(path)
    path.rmdir()
    path.write_text("")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated state": truncate,
    "flipped byte": flip_a_byte,
    "no state": lambda path: (path / "state.pt").unlink(),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "cut-off manifest": lambda path: (path / "manifest.json").write_text('{"version": 1, "fi'),
    "binary manifest": lambda path: (path / "manifest.json").write_bytes(bytes(range(256))),
    "empty manifest": lambda path: (path / "manifest.json").write_text(""),
    "list as manifest": manifest(lambda content: [content]),
    "manifest without files": manifest(lambda content: {**content, "files": {}}),
    "manifest with a list of files": manifest(lambda content: {**content, "files": ["state.pt"]}),
    "manifest without digest": manifest(lambda content: {**content, "files": {"state.pt": {}}}),
    "unknown version": manifest(lambda content: {**content, "version": 99}),
    "empty folder": empty,
    "file instead of a folder": replace_by_a_file,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(damage: Callable[[Path], None], tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    damage(checkpoints.path(10))
    iteration, loaded, messages = checkpoints.load_newest()
    assert iteration == 5
    assert differences(loaded, state(5)) == []
    assert [str(checkpoints.path(10)) in message for message in messages] == [True]
    assert "\n" not in messages[0]


def test_messages_tell_what_is_wrong(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    flip_a_byte(checkpoints.path(5))
    DAMAGE["unknown version"](checkpoints.path(10))
    iteration, loaded, messages = checkpoints.load_newest()
    assert (iteration, loaded) == (0, {})
    assert "version 99 is not known here; expected 1" in messages[0]
    assert "does not match its SHA-256" in messages[1]


def test_a_damaged_checkpoint_makes_way_for_the_next(tmp_path: Path) -> None:
    """Training goes on behind it; it would otherwise take the place of an intact one among the newest two."""
    checkpoints = saved(tmp_path, 5, 20)
    flip_a_byte(checkpoints.path(20))
    for iteration in (10, 15):
        checkpoints.save(iteration, state(iteration))
    assert checkpoints.iterations() == [10, 15]
    assert checkpoints.load_newest()[2] == []


def test_a_damaged_checkpoint_is_written_again(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    replace_by_a_file(checkpoints.path(10))
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        checkpoints.load(10)
    checkpoints.save(10, state(10))
    assert checkpoints.load_newest()[0] == 10


# -- kills and full disks ----------------------------------------------------------------------------------------


def save_and_die(folder: Path, iteration: int, operation: int) -> None:
    die_before_operation(operation, folder)
    saved(folder, iteration)


@pytest.mark.parametrize("iteration", [15, 10], ids=["new", "again"])
def test_killed_before_any_change_of_the_file_system(iteration: int, tmp_path: Path) -> None:
    """Either the old checkpoints are there or the new one is, and nothing else is left after cleaning."""
    operation = 1
    while True:
        folder = tmp_path / f"{operation}"
        checkpoints = saved(folder, 5, 10)
        code = in_process(save_and_die, folder, iteration, operation)
        newest, loaded, damaged = checkpoints.load_newest()
        assert newest >= 5
        assert differences(loaded, state(newest)) == []
        assert damaged == []
        checkpoints.clean()
        checkpoints.save(20, state(20))
        names = sorted(path.name for path in checkpoints.folder.iterdir())
        assert len(names) == 2
        assert names[1] == "000000020"
        if code == 0:
            break
        operation += 1
    assert operation > 5


def save_on_a_full_disk(folder: Path, largest_file: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    try:
        saved(folder, 15)
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (folder / "message").write_text(str(error))


@pytest.mark.parametrize("largest_file", [0, 100, 3000])
def test_full_disk(largest_file: int, tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    assert in_process(save_on_a_full_disk, tmp_path, largest_file) == 0
    message = (tmp_path / "message").read_text()
    assert message.startswith(f"checkpoint of iteration 15 not written to {checkpoints.path(15)}: ")
    assert "File too large" in message
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["000000005", "000000010"]
    assert checkpoints.load_newest()[0] == 10


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointError, match="Not a directory"):
        saved(tmp_path, 5)


def test_power_may_fail_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded is on disk before the checkpoint, and all of that before it bears its name."""
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    run = RunFolder(tmp_path)
    run.append_event(5, 40, {"train/loss": 1.0})
    saved(tmp_path, 5)
    temporary = f".000000005.{os.getpid()}.tmp"
    assert flushed == ["events.jsonl", "state.pt", "manifest.json", temporary, "checkpoints"]
