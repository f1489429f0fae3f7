"""What the doctor says about GPUs and the compiler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eqbench.doctor import devices

H100 = ["NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15"]


@pytest.mark.parametrize(
    ("cuda", "visible", "status", "words"),
    [
        ("13.0", None, "problem", "for CUDA 13.0 cannot use them"),
        ("13.0", "0", "problem", "570.86.15"),
        ("13.0", "", "ok", "hidden by CUDA_VISIBLE_DEVICES"),
        ("13.0", "-1", "ok", "CPU only"),
        (None, None, "problem", "a build without CUDA"),
    ],
)
def test_gpus_that_torch_cannot_use(cuda: str | None, visible: str | None, status: str, words: str) -> None:
    check = devices.unusable_gpus(H100, "2.14.1", cuda, visible)
    assert check.status == status
    assert words in check.found


@pytest.mark.parametrize(
    ("script", "listed", "complaint"),
    [
        (f"echo '{H100[0]}'", H100, ""),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", [], "Failed to initialize NVML"),
        ("exit 9", [], "exit code 9"),
    ],
)
def test_nvidia_smi_is_read(
    script: str, listed: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found, reason = devices.nvidia_smi()
    assert found == listed
    assert reason.startswith(complaint)
    assert bool(reason) == bool(complaint)


def test_no_nvidia_smi_means_no_gpu_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.nvidia_smi() == ([], "")


@pytest.mark.parametrize("command", ["no-such-compiler", "false"])
def test_a_compiler_that_is_absent_or_fails_is_a_warning(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", command)
    check = devices.compiler()
    assert check.status == "warning"
    assert command in check.found
    assert "apt-get install" in check.fix
