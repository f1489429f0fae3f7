"""Placement groups of programs that were killed: which ones are removed. What Ray answers is given here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eqbench.abandoned import free_abandoned

ENDED, RUNNING = "01000000", "02000000"


def group(number: int, job: str, state: str = "CREATED", is_detached: bool = False) -> SimpleNamespace:
    name = f"{number:028x}{job}"
    return SimpleNamespace(placement_group_id=name, creator_job_id=job, state=state, is_detached=is_detached)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of what is removed, from a cluster with one program that has ended and one that has not."""
    import ray
    import ray.util.state

    found: list[str] = []
    jobs = [SimpleNamespace(job_id=ENDED, status="SUCCEEDED"), SimpleNamespace(job_id=RUNNING, status="RUNNING")]
    groups = [
        group(1, ENDED),
        group(2, ENDED, state="PENDING"),
        group(3, ENDED, state="REMOVED"),
        group(4, ENDED, is_detached=True),
        group(5, RUNNING),
    ]

    def remove(given: Any) -> None:
        found.append(given.id.hex())

    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="head:6379"))
    monkeypatch.setattr(ray.util.state, "list_jobs", lambda **_: jobs)
    monkeypatch.setattr(ray.util.state, "list_placement_groups", lambda **_: groups)
    monkeypatch.setattr(ray.util, "remove_placement_group", remove)
    return found


def test_only_those_of_ended_programs_are_removed(removed: list[str]) -> None:
    assert free_abandoned() == 2
    assert removed == [group(1, ENDED).placement_group_id, group(2, ENDED).placement_group_id]


def test_a_cluster_that_does_not_tell_is_left_alone(removed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.util.state
    from ray.util.state.exception import ServerUnavailable

    def refuse(**_: Any) -> None:
        raise ServerUnavailable

    monkeypatch.setattr(ray.util.state, "list_jobs", refuse)
    assert free_abandoned() == 0
    assert removed == []
