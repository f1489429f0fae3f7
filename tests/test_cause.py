"""Why a run failed, in one line."""

from __future__ import annotations

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import WorkerGroupError

from eqbench.cause import LONGEST, cause, is_collateral, is_loss
from eqbench.errors import InputError

LOST = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.2]")
CUDA = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({0: LOST, 1: CUDA}, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ({0: CUDA, 1: LOST}, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ({0: LOST, 1: ActorDiedError()}, "a worker process died"),
        ({0: LOST}, "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by"),
        ({0: ActorDiedError()}, "a worker process died: killed, out of memory, or crashed"),
        ({0: LOST, 1: OutOfMemoryError("1 worker(s) were killed")}, "out of memory: a node ran low"),
        ({0: ValueError("first\n\n  second ")}, "ValueError: first; second"),
    ],
)
def test_the_cause_among_several_workers(failures: dict[int, Exception], said: str) -> None:
    assert cause(WorkerGroupError("failed", failures)).startswith(said)


def test_ours_need_no_more_words() -> None:
    ours = InputError("suite.yaml: train.epochs: 0, expected at least 1")
    ours.__cause__ = ValueError("inner")
    assert cause(ours) == f"InputError: {ours}"


def test_the_line_is_not_endless() -> None:
    assert len(cause(ValueError("x" * 2 * LONGEST))) == LONGEST


@pytest.mark.parametrize(
    "error",
    [
        LOST,
        RuntimeError("[enforce fail at ../third_party/gloo/gloo/transport/tcp/device.cc:84] rv != -1. Broken pipe"),
        RuntimeError("Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] timed out"),
        torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1970, remote process exited"),
        torch.distributed.DistNetworkError("Failed to recv, got 0 bytes. Connection was likely closed."),
    ],
)
def test_what_others_say_of_a_lost_worker(error: Exception) -> None:
    assert is_collateral(error)
    assert is_loss(WorkerGroupError("failed", {0: error}))
    assert is_loss(WorkerGroupError("failed", {0: error, 1: ActorDiedError()}))
    assert not is_loss(WorkerGroupError("failed", {0: error, 1: CUDA}))


@pytest.mark.parametrize(
    "error",
    [
        OSError("/data/igloo/x.jpg: connection refused"),
        RuntimeError("/data/igloo/x.jpg: connection refused"),
        RuntimeError("/data/gloo/x.jpg:12] connection reset"),
        ConnectionResetError("Connection reset by peer"),
        ConnectionRefusedError("Connection refused by bucket.example.org"),
        BrokenPipeError("Broken pipe"),
        RuntimeError("my_loss: NCCL and gloo are not what this watchdog is for"),
        CUDA,
        InputError("data/gloo: expected a folder"),
    ],
)
def test_an_error_of_a_worker_s_own(error: Exception) -> None:
    assert not is_collateral(error)
    assert not is_loss(WorkerGroupError("failed", {0: LOST, 1: error}))
    assert cause(WorkerGroupError("failed", {0: LOST, 1: error})).endswith(str(error))
