"""Why a run failed, in one line, out of what Ray wraps around the error of a worker."""

from __future__ import annotations

import re

from eqbench.errors import EqbenchError

LONGEST = 500
GLOO = re.compile(r"\[(enforce fail at )?\S*\bgloo/\S+:\d+\]|Gloo connect")
"""How an error of Gloo begins, which has no type of its own."""


def cause(error: BaseException) -> str:
    """The error that a worker raised, of several the one that led to the others; ours say what there is to say."""
    from ray.exceptions import OutOfMemoryError, RayActorError

    failures = _failures(error)
    first = min(failures, key=_distance)
    if any(isinstance(each, OutOfMemoryError) for each in failures):
        return (
            "out of memory: a node ran low and Ray ended a worker; a larger train.accumulate has less of a batch in "
            "memory at once, fewer loader_processes need less, with more cpus_per_worker fewer runs share a node"
        )
    if isinstance(first, RayActorError):
        return "a worker process died: killed, out of memory, or crashed; its log is in Ray's session folder"
    lines = [line.strip() for line in str(first).splitlines() if line.strip()] or ["no message"]
    wrapped = any("Traceback (most recent call last)" in line for line in lines)  # Ray's, or a DataLoader's
    kind = type(first).__name__
    said = re.sub(rf"^[\w.]*\b{kind}: ", "", lines[-1]) if wrapped else "; ".join(lines)
    return f"{kind}: {said}"[:LONGEST]


def is_collateral(error: BaseException) -> bool:
    """Whether this is what a worker says when another one of its group is lost: an error of torch.distributed."""
    names = {each.__name__ for each in type(error).__mro__}
    return "DistError" in names or ("RuntimeError" in names and bool(GLOO.match(str(error))))


def is_loss(error: BaseException) -> bool:
    """Whether all that is known is that a worker was lost."""
    return min(map(_distance, _failures(error))) > 0


def _failures(error: BaseException) -> list[BaseException]:
    return [_innermost(each) for each in getattr(error, "worker_failures", {}).values()] or [_innermost(error)]


def _innermost(error: BaseException) -> BaseException:
    while hasattr(error, "cause") or not isinstance(error, EqbenchError):
        inner = getattr(error, "cause", None) or getattr(error, "health_check_failure", None) or error.__cause__
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    return error


def _distance(error: BaseException) -> int:
    """How far it is from what went wrong: an error of its own, a lost process, a lost connection to one."""
    from ray.exceptions import RayActorError

    if isinstance(error, RayActorError):
        return 1
    return 2 if is_collateral(error) else 0
