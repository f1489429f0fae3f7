"""What a killed program has left reserved on a cluster.

Ray frees the resources of a program that ends. It misses a placement group that was on its way to Ray at that moment:
this is registered afterwards, and holds its CPUs and GPUs for nobody until somebody removes it.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
MOST = 10_000


def free_abandoned() -> int:
    """Remove the placement groups of programs that have ended, on the connected cluster; how many there were.

    Those that were made to outlive their program (`lifetime="detached"`) stay.
    """
    import ray
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup
    from ray.util.state import list_jobs, list_placement_groups
    from ray.util.state.exception import RayStateApiException

    address = ray.get_runtime_context().gcs_address
    try:
        ended = {job.job_id for job in list_jobs(address=address, limit=MOST) if job.status in ENDED}
        groups = list_placement_groups(address=address, limit=MOST, detail=True)
    except (RayStateApiException, ConnectionError, RuntimeError) as error:
        logger.warning("not looked for what killed programs have left reserved (%s)", error)
        return 0
    left = [
        group.placement_group_id
        for group in groups
        if group.state != "REMOVED" and group.creator_job_id in ended and not group.is_detached
    ]
    for name in left:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))
    return len(left)
