"""Evaluation in a process of its own, so that its memory, its time and its failure are not those of training.

Where Ray is there it is a Ray task, on any node of the cluster that has the memory; else a child process.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from eqbench import cluster
from eqbench.errors import EqbenchError
from eqbench.evaluation.failure import EvaluationFailed
from eqbench.evaluation.lvis import MAX_DETECTIONS, EvaluatorName, IouType

__all__ = ["EvaluationFailed", "evaluate_apart", "memory_needed"]

ATTEMPTS = 3
SHARE_OF_A_NODE = 0.5
"""Of the memory that Ray counts on the largest node, what is asked for at most: a request that nothing can meet waits
for ever, and other tasks hold some."""

Answer: TypeAlias = tuple[dict[str, dict[str, Any]], EqbenchError | None, str]
"""Results by type of IoU; or what failed, with its traceback."""


def evaluate_apart(
    annotations: Path,
    shards: Sequence[Path],
    iou_types: Sequence[IouType] = ("bbox",),
    max_dets: int = MAX_DETECTIONS,
    evaluator: EvaluatorName = "hotcoco",
    exhaustive: bool = False,
    groups: Mapping[int, str] | None = None,
    memory_bytes: int | None = None,
) -> dict[str, dict[str, Any]]:
    """`eqbench.evaluation.lvis.evaluate` for each of `iou_types`, in another process; the shards stay.

    Args:
        annotations, shards: files, on a cluster ones that every node reads by the same path.
        memory_bytes: what the evaluation is expected to need; an estimate by default.

    Raises:
        InputError: the annotations are not as expected.
        EvaluationFailed: everything else that can go wrong, e.g. the process was killed.
    """
    job = {
        "annotations": Path(annotations).absolute(),
        "results": [Path(shard).absolute() for shard in shards],
        "iou_types": tuple(iou_types),
        "max_dets": max_dets,
        "evaluator": evaluator,
        "exhaustive": exhaustive,
        "groups": None if groups is None else dict(groups),
    }
    if _ray_is_here():
        answer = _in_ray(job, memory_bytes or memory_needed(annotations, shards, evaluator))
    else:
        answer = _in_child(job)
    results, error, trace = answer
    if error is not None:
        error.add_note(trace)
        raise error
    return results


def memory_needed(annotations: Path, shards: Sequence[Path], evaluator: EvaluatorName) -> int:
    """Bytes that an evaluation takes at most, from the sizes of its files.

    hotcoco needed 0.9 GB for annotations of 607 MB; predictions pass through it, some images at a time. The official
    package holds everything as Python objects, and several for each pair of image and category: 5.6 GB for 5,000 images
    and 1,203 categories (31 MB of annotations).
    """
    sizes = [sum(file.stat().st_size for file in files if file.exists()) for files in ([annotations], shards)]
    per_byte = {"hotcoco": (2, 2), "lvis": (150, 15)}[evaluator]
    return 512 * 2**20 + sum(size * factor for size, factor in zip(sizes, per_byte, strict=True))


def judge(job: Mapping[str, Any]) -> Answer:
    """What the other process does."""
    from eqbench.evaluation.lvis import evaluate

    options = {key: job[key] for key in ("max_dets", "evaluator", "exhaustive", "groups")}
    try:
        results = {kind: evaluate(job["annotations"], job["results"], kind, **options) for kind in job["iou_types"]}
    except EqbenchError as error:
        return {}, error, traceback.format_exc()
    except Exception as error:
        return {}, EvaluationFailed(f"evaluation failed: {type(error).__name__}: {error}"), traceback.format_exc()
    return results, None, ""


def _ray_is_here() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _in_ray(job: Mapping[str, Any], memory: int) -> Answer:
    """As a Ray task, tried again when its worker or node was lost.

    Ray does not do so itself: without end, it would repeat a task that its own memory monitor kills. It prefers this
    node, which has the annotations, and is not in the placement group of the training worker, which has no room.
    """
    import ray
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    lost = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task = ray.remote(num_cpus=0, max_retries=0)(judge)
    reason = ""
    for _ in range(ATTEMPTS):
        running = task.options(memory=_allowed(memory), name="evaluation", scheduling_strategy=here).remote(job)
        try:
            answer: Answer = ray.get(running)
            return answer
        except exceptions.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            if not isinstance(error, lost):
                raise EvaluationFailed(f"evaluation failed in Ray: {reason}") from error
            memory *= 2 if isinstance(error, exceptions.OutOfMemoryError) else 1
        except BaseException:
            ray.cancel(running, force=True)
            raise
    raise EvaluationFailed(
        f"evaluation failed: its Ray worker was lost {ATTEMPTS} times, probably out of memory; the last time {reason}"
    )


def _allowed(memory: int) -> int:
    """As much of `memory` as may be asked for."""
    largest = max((node.get("memory", 0.0) for node in cluster.node_resources()), default=0.0)
    return int(min(memory, SHARE_OF_A_NODE * largest))


def _in_child(job: Mapping[str, Any]) -> Answer:
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "eqbench.evaluation.apart"],
        input=pickle.dumps(job),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode == 0 and done.stdout:
        answer: Answer = pickle.loads(done.stdout)
        return answer
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        why = f"was killed by {name}{', probably out of memory' if name == 'SIGKILL' else ''}"
    else:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = f"ended with code {done.returncode}: {lines[-1] if lines else 'it said nothing'}"
    raise EvaluationFailed(f"evaluation failed: its process {why}")


def main() -> None:
    """Read a job from standard input, write its answer to standard output."""
    with suppress(OSError):  # when memory is short, this process goes and training stays
        Path("/proc/self/oom_score_adj").write_text("1000")
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a package prints does not belong to the answer
    pickle.dump(judge(pickle.load(sys.stdin.buffer)), answer)
    answer.close()


if __name__ == "__main__":
    main()
