"""Random state is a function of seeds, and determinism can be switched on and off."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from eqbench.seeding import derive_seed, make_deterministic, seed_everything

DERIVED = 5729425620413627479


def drawn() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(())), float(torch.randn(()))]


def test_equal_parts_give_equal_draws() -> None:
    seed_everything(7, 3, 0)
    once = drawn()
    drawn()
    seed_everything(7, 3, 0)
    assert drawn() == once


def test_every_part_matters() -> None:
    seeds = {derive_seed(*parts) for parts in ((7, 3, 0), (7, 0, 3), (7, 3, 1), (8, 3, 0), (7, 3), (73, 0), (7, "30"))}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_what_they_have_always_been() -> None:
    """If this fails, a run that goes on after an update does not equal one that was never interrupted."""
    assert derive_seed(0, "model") == DERIVED


def test_determinism_is_switched_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    make_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.benchmark


def test_a_workspace_that_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make_deterministic(True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
