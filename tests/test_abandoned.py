"""Placement groups of programs and trials that were killed: which ones are removed. What Ray answers is given here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eqbench.abandoned import LOOKS, Empty, free_abandoned

ENDED, RUNNING, OUTLIVED = "01000000", "02000000", "03000000"


def group(number: int, job: str, state: str = "CREATED", is_detached: bool = False) -> SimpleNamespace:
    name = f"{number:028x}{job}"
    return SimpleNamespace(placement_group_id=name, creator_job_id=job, state=state, is_detached=is_detached)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of what is removed, from a cluster with one program that has ended and one that has not."""
    import ray
    import ray.util.state

    found: list[str] = []
    states = {ENDED: "SUCCEEDED", RUNNING: "RUNNING", OUTLIVED: "SUCCEEDED"}
    jobs = [SimpleNamespace(job_id=job, status=status) for job, status in states.items()]
    groups = [
        group(1, ENDED),
        group(2, ENDED, state="PENDING"),
        group(3, ENDED, state="REMOVED"),
        group(4, ENDED, is_detached=True),
        group(5, RUNNING),
        group(6, RUNNING),
        group(7, RUNNING, state="PENDING"),
        group(8, OUTLIVED),
    ]
    actors = [SimpleNamespace(job_id=job) for job in (RUNNING, OUTLIVED)]

    def remove(given: Any) -> None:
        found.append(given.id.hex())

    context = SimpleNamespace(gcs_address="head:6379", get_job_id=lambda: RUNNING)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray.util.state, "list_jobs", lambda **_: jobs)
    monkeypatch.setattr(ray.util.state, "list_actors", lambda **_: actors)
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


def test_one_of_our_own_that_stays_empty_is_removed(removed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.util.state

    def living(**options: Any) -> list[SimpleNamespace]:
        assert options["filters"] == [("state", "!=", "DEAD"), ("job_id", "=", RUNNING)]
        return [SimpleNamespace(placement_group_id=taken), SimpleNamespace(placement_group_id=None)]

    monkeypatch.setattr(ray.util.state, "list_actors", living)
    empty = Empty()
    taken = group(6, RUNNING).placement_group_id
    assert [empty.look() for _ in range(LOOKS - 1)] == [0] * (LOOKS - 1)
    taken = group(5, RUNNING).placement_group_id
    assert empty.look() == 0
    taken = group(6, RUNNING).placement_group_id
    assert [empty.look() for _ in range(LOOKS)] == [0] * (LOOKS - 1) + [1]
    assert removed == [group(5, RUNNING).placement_group_id]
