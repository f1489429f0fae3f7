"""What the doctor says about folders, memory and limits."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from eqbench.doctor import machine


def test_storage_that_does_not_exist_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    check = machine.disk("storage", tmp_path / "not" / "yet", "--storage FOLDER")
    assert check.found.startswith(f"{tmp_path}/not/yet: ")
    assert check.status in ("ok", "warning")
    assert list(tmp_path.iterdir()) == []


def test_storage_below_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    check = machine.disk("storage", file / "runs", "--storage FOLDER")
    assert (check.status, check.fix) == ("problem", "--storage FOLDER")
    assert f"{file} is not a folder" in check.found


def test_storage_with_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISK_WANTED", 10**21)
    check = machine.disk("storage", tmp_path, "--storage FOLDER")
    assert check.status == "warning"
    assert "--storage FOLDER" in check.fix


@pytest.mark.parametrize(
    ("memory", "shared", "status", "fix"),
    [
        (8, 4.0, "ok", ""),
        (8, 0.064, "warning", "--shm-size=2g"),
        (512, 12.0, "ok", ""),
        (512, 8.0, "warning", "--shm-size=10g"),
        (8, None, "ok", ""),
    ],
)
def test_shared_memory(memory: int, shared: float | None, status: str, fix: str) -> None:
    check = machine.shared_memory(memory * machine.GB, None if shared is None else int(shared * machine.GB))
    assert check.status == status
    assert fix in check.fix


@pytest.mark.parametrize(
    ("soft", "hard", "status", "fix"),
    [
        (1024, 4096, "warning", "ulimit -n 4096"),
        (1024, resource.RLIM_INFINITY, "warning", "ulimit -n 65536"),
        (256, 1024, "warning", "limits.conf"),
        (4096, 4096, "ok", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", ""),
    ],
)
def test_open_files(soft: int, hard: int, status: str, fix: str) -> None:
    check = machine.open_files(soft, hard)
    assert check.status == status
    assert fix in check.fix


def test_ray_folder_follows_its_variable() -> None:
    assert machine.ray_folder({"RAY_TMPDIR": "/scratch/me", "TMPDIR": "/scratch"}) == Path("/scratch/me/ray")
    assert machine.ray_folder({"TMPDIR": "/scratch"}) == Path("/scratch/ray")
