"""What a run takes: time, memory, workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch

from eqbench import distributed
from eqbench.recording import peak_memory_mb
from eqbench.run_spec import RunSpec


def cost(spec: RunSpec, train_seconds: float, evaluate_seconds: float, device: torch.device) -> dict[str, Any]:
    """What the run took: seconds of training over all attempts, seconds of the last evaluation, memory, workers."""
    return {
        "train_seconds": train_seconds,
        "evaluate_seconds": evaluate_seconds,
        "seconds_per_step": train_seconds / spec.budget.iterations,
        "samples_per_second": spec.budget.samples / max(train_seconds, 1e-9),
        "peak_memory_mb": peak_memory_mb(device),
        "num_workers": distributed.world_size(),
        "device": device.type,
    }


class Stopwatch:
    """Seconds of training, those of earlier attempts included."""

    def __init__(self, elapsed: float) -> None:
        self._since = time.monotonic() - elapsed

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count."""
        started = time.monotonic()
        yield
        self._since += time.monotonic() - started
