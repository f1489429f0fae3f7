"""Settings of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
    """Tests with the Ray that is shared come last, since no other may find one."""
    items.sort(key=lambda item: "local_ray" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[None]:
    """A local Ray of two CPUs; it takes seconds to start."""
    import ray

    from eqbench import cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.DRIVER_ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setattr(cluster, "local_cpus", lambda: 2)
        with cluster.connected():
            assert ray.cluster_resources()["CPU"] == 2
            yield
        assert not ray.is_initialized()


@pytest.fixture(scope="module")
def local_ray(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The Ray that tests share, and a new current folder for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("module"))
        yield
