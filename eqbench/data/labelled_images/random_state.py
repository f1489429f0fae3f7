"""torch's random state for one sample: torchvision's transforms draw from it alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_random_state(seed: int) -> Iterator[None]:
    """torch's generator on the CPU set from `seed`, and as it was afterwards.

    Costs 5 microseconds; `torch.manual_seed` would look for accelerators, and take 100.
    """
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
