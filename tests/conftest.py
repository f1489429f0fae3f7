"""Settings of all tests."""

from __future__ import annotations

import os

# The tensors of the tests are small: with more threads than free cores, threads mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
