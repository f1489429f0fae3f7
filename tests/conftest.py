"""Settings of all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The tensors of the tests are small: with more threads than free cores, threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# No token is written into the home folder of who runs the tests.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes (`pytest -n 2 --dist loadgroup`) one runs all tests with Ray, from the start."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
