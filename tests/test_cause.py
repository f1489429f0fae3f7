"""Why a run failed, in one line."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import WorkerGroupError

from eqbench.cause import LONGEST, cause
from eqbench.errors import InputError

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [192.0.2.2]:7465")
CUDA = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({0: LOST, 1: CUDA}, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ({0: CUDA, 1: LOST}, "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ({0: LOST, 1: ActorDiedError()}, "a worker process died"),
        ({0: LOST}, "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer"),
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
