"""The CUDA kernels without a GPU: what they compute under Triton's interpreter, and what they compile to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-20000:] + result.stderr[-5000:]
    return result.stdout


def test_kernels_under_the_interpreter() -> None:
    program = str(HERE / "triton_program.py")
    assert "skip" not in run("-m", "pytest", "-x", "-p", "no:cacheprovider", program, TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_kernels_on_the_gpu() -> None:
    program = str(HERE / "triton_program.py")
    run("-m", "pytest", "-x", "-p", "no:cacheprovider", program, TRITON_INTERPRET="0")


def test_kernels_compile_for_hopper(tmp_path: Path) -> None:
    out = run("-m", "tests.losses.triton_compilation", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    kernels = [json.loads(line) for line in out.splitlines()]
    assert {kernel["kernel"] for kernel in kernels} == {
        "_scale",
        "sigmoid_tiles",
        "softmax_columns",
        "softmax_samples",
        "softmax_whole",
    }
    for kernel in kernels:
        assert kernel["registers"] * kernel["threads"] <= 2**16, kernel
        assert kernel["shared"] <= 48 * 2**10, kernel
        assert kernel["stack"] <= 256, kernel
        # One after the other, loads would leave the memory idle most of the time.
        assert kernel["widest_load"] * kernel["loads_together"] >= 256, kernel
        assert kernel["loads_together"] >= 8 or kernel["kernel"] != "softmax_whole", kernel
