"""Placement groups of programs and trials that were killed: which ones are removed. What Ray answers is given here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from eqbench import abandoned
from eqbench.abandoned import LIVING, LOOKS, Empty, free_abandoned, freeing_our_own

ENDED, RUNNING, OUTLIVED = "01000000", "02000000", "03000000"
ADDRESS = "head:6379"
ON_A_NODE: tuple[dict[str, float], ...] = ({"CPU": 1.0}, {"CPU": 1.0})
ON_THE_HEAD: tuple[dict[str, float], ...] = ({"memory": 2.0**28, "node:__internal_head__": 1e-4},)


def group(
    number: int,
    job: str,
    state: str = "CREATED",
    is_detached: bool = False,
    bundles: Sequence[dict[str, float]] = ON_A_NODE,
) -> SimpleNamespace:
    return SimpleNamespace(
        placement_group_id=f"{number:028x}{job}",
        creator_job_id=job,
        state=state,
        is_detached=is_detached,
        bundles=[{"unit_resources": each} for each in bundles],
    )


def actor(
    job: str, state: str = "ALIVE", group: str | None = None, class_name: str = "RayTrainWorker"
) -> SimpleNamespace:
    return SimpleNamespace(job_id=job, state=state, placement_group_id=group, class_name=class_name)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of what is removed, from a cluster with one program that has ended and one that has not.

    As a cluster that remembers many dead actors, it answers only who asks for those of a state that it filters itself.
    """
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
        group(9, RUNNING, bundles=ON_THE_HEAD),
    ]
    helper = actor(ENDED, class_name="PlacementGroupCleaner")  # of Ray Train; it may stay for ever
    actors = [actor(RUNNING), actor(OUTLIVED, "RESTARTING"), actor(ENDED, "DEAD"), helper]

    def remove(given: Any) -> None:
        found.append(given.id.hex())

    def list_actors(address: str, filters: list[tuple[str, str, str]], **_: Any) -> list[SimpleNamespace]:
        (state,) = [value for key, is_, value in filters if (key, is_) == ("state", "=")]
        jobs = [value for key, is_, value in filters if (key, is_) == ("job_id", "=")]
        assert (address, state != "DEAD") == (ADDRESS, True)
        return [each for each in actors if each.state == state and each.job_id in (jobs or [each.job_id])]

    def list_placement_groups(raise_on_missing_output: bool, **_: Any) -> list[SimpleNamespace]:
        assert not raise_on_missing_output  # it remembers removed ones too, and cannot be asked for the others
        return groups

    context = SimpleNamespace(gcs_address=ADDRESS, get_job_id=lambda: RUNNING)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray.util.state, "list_jobs", lambda **_: jobs)
    monkeypatch.setattr(ray.util.state, "list_actors", list_actors)
    monkeypatch.setattr(ray.util.state, "list_placement_groups", list_placement_groups)
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


def test_those_that_ray_registers_later_are_removed_too(removed: list[str]) -> None:
    assert Empty(RUNNING, ADDRESS).look() == 2
    assert removed == [group(1, ENDED).placement_group_id, group(2, ENDED).placement_group_id]


def taking(monkeypatch: pytest.MonkeyPatch, *taken: SimpleNamespace) -> None:
    """Let these groups have an actor in them, and no other program be known."""
    import ray.util.state

    monkeypatch.setattr(ray.util.state, "list_jobs", lambda **_: [SimpleNamespace(job_id=RUNNING, status="RUNNING")])

    def list_actors(filters: list[tuple[str, str, str]], **_: Any) -> list[SimpleNamespace]:
        actors = [actor(RUNNING, group=each.placement_group_id) for each in taken]
        return [each for each in (*actors, actor(RUNNING)) if ("state", "=", each.state) in filters]

    monkeypatch.setattr(ray.util.state, "list_actors", list_actors)


def test_one_of_our_own_that_stays_empty_is_removed(removed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Empty(RUNNING, ADDRESS)
    taking(monkeypatch, group(6, RUNNING))
    assert [empty.look() for _ in range(LOOKS - 1)] == [0] * (LOOKS - 1)
    taking(monkeypatch, group(5, RUNNING))
    assert empty.look() == 0
    taking(monkeypatch, group(6, RUNNING))
    assert [empty.look() for _ in range(LOOKS)] == [0] * (LOOKS - 1) + [1]
    assert removed == [group(5, RUNNING).placement_group_id]


def test_those_that_ray_tune_has_not_come_to_use_are_left_alone(
    removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a trial on the head; or all, where the trials train by themselves and none is on the head."""
    import ray.util.state

    taking(monkeypatch, group(5, RUNNING), group(6, RUNNING))
    empty = Empty(RUNNING, ADDRESS)
    assert [empty.look() for _ in range(2 * LOOKS)] == [0] * 2 * LOOKS
    taking(monkeypatch)
    monkeypatch.setattr(ray.util.state, "list_placement_groups", lambda **_: [group(5, RUNNING), group(6, RUNNING)])
    assert [empty.look() for _ in range(2 * LOOKS)] == [0] * 2 * LOOKS
    assert removed == []


def test_who_goes_on_to_another_state_meanwhile_is_found() -> None:
    """In whatever way an actor goes on between two questions, it is in a state that is still to be asked for."""
    for now, then in (
        ("DEPENDENCIES_UNREADY", "PENDING_CREATION"),
        ("PENDING_CREATION", "ALIVE"),
        ("ALIVE", "RESTARTING"),
        ("RESTARTING", "ALIVE"),
    ):
        asked = LIVING.index(now)
        assert then in LIVING[asked:]


def test_who_has_disconnected_does_not_start_ray_again(removed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of Ray's functions do that, but for the one that tells."""
    import ray

    looks: list[bool] = []
    twice = threading.Event()
    started: list[str] = []

    def is_initialized() -> bool:
        looks.append(False)
        if len(looks) > 1:
            twice.set()
        return False

    def start(name: str) -> Any:
        started.append(name)
        twice.set()
        raise RuntimeError(name)

    monkeypatch.setattr(abandoned, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(ray, "is_initialized", is_initialized)
    monkeypatch.setattr(ray.util.state, "list_placement_groups", lambda **_: start("list_placement_groups"))
    with freeing_our_own():
        monkeypatch.setattr(ray, "get_runtime_context", lambda: start("get_runtime_context"))
        assert twice.wait(60)
    assert (started, removed) == ([], [])


def test_what_was_found_is_not_removed_by_who_has_disconnected_since(
    removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert free_abandoned() == 0
    assert removed == []
