"""Runs that were never interrupted, for comparison, each trained once; and torch as it was after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.seeding import make_deterministic

from .tiny_runs import attempt, planned


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> Iterator[None]:
    """Training in this process sets how torch computes, and its random state."""
    benchmark, random_state = torch.backends.cudnn.benchmark, torch.get_rng_state()
    yield
    make_deterministic(False)
    torch.backends.cudnn.benchmark = benchmark
    torch.set_rng_state(random_state)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunSpec], RunFolder]:
    """The finished run of a specification."""
    finished: dict[str, RunFolder] = {}

    def train_once(spec: RunSpec) -> RunFolder:
        key = spec.model_dump_json()
        if key not in finished:
            run = planned(tmp_path_factory.mktemp("uninterrupted") / spec.run_id, spec)
            assert attempt(run) == 0
            finished[key] = run
        return finished[key]

    return train_once
