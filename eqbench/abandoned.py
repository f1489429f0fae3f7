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

logger = logging.getLogger(__name__)

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
MOST = 10_000
SECONDS_TO_ANSWER = 10
SECONDS_BETWEEN_LOOKS = 30.0
LOOKS = 3
"""A group of ours that is found empty so many times in a row is nobody's: Ray puts workers into one within seconds."""


def free_abandoned() -> int:
    """Remove the placement groups of programs that have ended, on the connected cluster; how many there were.

    Those that were made to outlive their program (`lifetime="detached"`) stay, and all of a program with an actor that
    outlives it.
    """
    from ray.util.state import list_actors, list_jobs

    with _answers() as cluster:
        alive = {actor.job_id for actor in list_actors(filters=[("state", "!=", "DEAD")], **cluster)}
        ended = {job.job_id for job in list_jobs(**cluster) if job.status in ENDED} - alive
        return _remove(_ids(group for group in _groups(cluster) if group.creator_job_id in ended))
    return 0


@contextlib.contextmanager
def freeing_our_own() -> Iterator[None]:
    """Meanwhile, remove placement groups of this program that stay empty: of trials whose process was killed."""
    over = threading.Event()

    def look() -> None:
        empty = Empty()
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
    """Placement groups of this program that have no actor in them, and how many times in a row that was so."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def look(self) -> int:
        """Look once; how many groups were removed."""
        import ray
        from ray.util.state import list_actors

        job = ray.get_runtime_context().get_job_id()
        with _answers() as cluster:
            created = _ids(each for each in _groups(cluster) if each.creator_job_id == job and each.state == "CREATED")
            living: Any = [("state", "!=", "DEAD"), ("job_id", "=", job)]
            taken = {actor.placement_group_id for actor in list_actors(filters=living, detail=True, **cluster)}
            self._times = {name: self._times.get(name, 0) + 1 for name in created if name not in taken}
            return _remove(name for name, times in self._times.items() if times >= LOOKS)
        return 0


@contextlib.contextmanager
def _answers() -> Iterator[dict[str, Any]]:
    """Where to ask, for functions of Ray's State API; one that does not answer is only logged."""
    import ray
    from ray.util.state.exception import RayStateApiException

    try:
        yield {"address": ray.get_runtime_context().gcs_address, "limit": MOST, "timeout": SECONDS_TO_ANSWER}
    except (RayStateApiException, ConnectionError, RuntimeError) as error:
        logger.warning("not looked for what killed programs have left reserved (%s)", error)


def _groups(cluster: dict[str, Any]) -> list[Any]:
    from ray.util.state import list_placement_groups

    groups = list_placement_groups(detail=True, **cluster)
    return [group for group in groups if group.state != "REMOVED" and not group.is_detached]


def _ids(groups: Iterable[Any]) -> list[str]:
    return [group.placement_group_id for group in groups]


def _remove(names: Iterable[str]) -> int:
    import ray
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup

    groups = [PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))) for name in names]
    for group in groups:
        remove_placement_group(group)
    return len(groups)
