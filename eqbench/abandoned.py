"""What a killed program, or a killed trial of one that goes on, has left reserved on a cluster.

Ray frees the resources of a process that ends. It misses a placement group that was on its way to Ray at that moment:
this is registered afterwards, and holds its CPUs and GPUs for nobody until somebody removes it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from eqbench.room import HEAD

logger = logging.getLogger(__name__)

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
MOST = 10_000
SECONDS_TO_ANSWER = 10
SECONDS_BETWEEN_LOOKS = 30.0
LOOKS = 3
"""A group of Ray Train found empty so many times in a row is nobody's: it puts workers into one within seconds."""
LIVING = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "RESTARTING", "ALIVE", "RESTARTING")
"""States of actors, asked for in this order: who goes on to another one meanwhile is found there."""
HELPERS = ("PlacementGroupCleaner", "_AutoscalingCoordinatorActor")
"""Actors of Ray's own that outlive a program, the first of them for ever where its trial was killed too early."""


def free_abandoned() -> int:
    """Remove the placement groups of programs that have ended, on the connected cluster; how many there were.

    Those that were made to outlive their program (`lifetime="detached"`) stay, and all of a program with an actor of
    its own that outlives it.
    """
    import ray

    with _answers(ray.get_runtime_context().gcs_address) as cluster:
        return _free_abandoned(cluster)
    return 0


def _free_abandoned(cluster: dict[str, Any]) -> int:
    from ray.util.state import list_jobs

    alive = {actor.job_id for actor in _living(cluster) if actor.class_name not in HELPERS}
    ended = {job.job_id for job in list_jobs(**cluster) if job.status in ENDED} - alive
    return _remove(_ids(group for group in _groups(cluster) if group.creator_job_id in ended))


@contextlib.contextmanager
def freeing_our_own() -> Iterator[None]:
    """Meanwhile, remove placement groups of this program that stay empty: of trials whose process was killed.

    And those of programs that were killed shortly before, whose groups Ray may have registered since.
    """
    import ray

    context = ray.get_runtime_context()  # which would start Ray, were it asked for once this program has disconnected
    empty = Empty(context.get_job_id(), context.gcs_address)
    over = threading.Event()

    def look() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            empty.look()

    thread = threading.Thread(target=look, name="abandoned-groups", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Empty:
    """Placement groups of a program that have no actor in them, and how many times in a row that was so.

    Only those that Ray Train has made for a trial, which is on the head. Ray Tune frees its own; they may be empty for
    long, as it comes to start an actor only when the program has done what there is to do at the end of a run.

    Args:
        job: the program's.
        address: of its cluster.
    """

    def __init__(self, job: str, address: str) -> None:
        self._job = job
        self._address = address
        self._times: dict[str, int] = {}

    def look(self) -> int:
        """Look once, if this program is still connected; how many groups were removed, of ended programs too."""
        import ray

        if not ray.is_initialized():
            return 0
        with _answers(self._address) as cluster:
            freed = _free_abandoned(cluster)
            ours = [group for group in _groups(cluster) if group.creator_job_id == self._job]
            made = [group for group in ours if not _on_head(group)]
            created = _ids(group for group in made if group.state == "CREATED") if len(made) < len(ours) else []
            taken = {actor.placement_group_id for actor in _living(cluster, ("job_id", "=", self._job))}
            self._times = {name: self._times.get(name, 0) + 1 for name in created if name not in taken}
            return freed + _remove(name for name, times in self._times.items() if times >= LOOKS)
        return 0


@contextlib.contextmanager
def _answers(address: str) -> Iterator[dict[str, Any]]:
    """How to ask, for functions of Ray's State API; a cluster that does not answer is only logged."""
    from ray.util.state.exception import RayStateApiException

    try:
        yield {"address": address, "limit": MOST, "timeout": SECONDS_TO_ANSWER}
    except (RayStateApiException, ConnectionError, RuntimeError) as error:
        logger.warning("not looked for what killed programs have left reserved (%s)", error)


def _living(cluster: dict[str, Any], *filters: tuple[str, str, str]) -> list[Any]:
    """Actors that are not dead. A cluster remembers many that are, and sends them unless it is asked for a state."""
    from ray.util.state import list_actors

    wanted: list[Any] = [[("state", "=", state), *filters] for state in LIVING]
    return [actor for each in wanted for actor in list_actors(filters=each, detail=True, **cluster)]


def _groups(cluster: dict[str, Any]) -> list[Any]:
    """Placement groups that are there, as far as they are among the first `MOST` that the cluster remembers."""
    from ray.util.state import list_placement_groups

    groups = list_placement_groups(detail=True, raise_on_missing_output=False, **cluster)
    return [group for group in groups if group.state != "REMOVED" and not group.is_detached]


def _on_head(group: Any) -> bool:
    return any(HEAD in bundle["unit_resources"] for bundle in group.bundles)


def _ids(groups: Iterable[Any]) -> list[str]:
    return [group.placement_group_id for group in groups]


def _remove(names: Iterable[str]) -> int:
    import ray
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup

    removed = 0
    for name in names:
        if ray.is_initialized():  # else it would start Ray
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))
            removed += 1
    return removed
