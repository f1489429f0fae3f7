"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The tensors of the tests are small: with more threads than free cores, threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# No token is written into the home folder of who runs the tests.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
