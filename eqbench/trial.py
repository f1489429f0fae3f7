"""What happens inside one trial: a Ray Train worker group trains one run, and its end becomes the run's result."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench import environment, value_schedule
from eqbench.errors import EqbenchError
from eqbench.run_folder import RunFolder, is_evaluation
from eqbench.run_spec import RunSpec

if TYPE_CHECKING:
    import torch

    from eqbench.train_loop import Outcome

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_OF_AN_EVALUATION = 4 * 3600
"""At most: the other workers wait for the first one, which has it done."""


def run_trial(config: dict[str, Any]) -> None:
    """Train one run; its failure becomes its result.

    Evaluations reach Ray Tune from here, as the run's folder gets them, and from no other thread or process: Tune's
    own callback for Ray Train (`TuneReportCallback`) can block forever when the last report meets the trial's end.
    """
    from ray import tune
    from ray.exceptions import RayActorError

    run = RunFolder(Path(config["run"]))
    if not run.spec_file.exists():
        tune.report({"ended": True, "failure": f"{run.path} is not there: --storage must be shared by all machines"})
        return
    spec = run.read_spec()
    fitting = ThreadPoolExecutor(max_workers=1).submit(_fit, spec, config)
    reported = run.newest_checkpoint
    while not fitting.done():
        wait([fitting], timeout=SECONDS_BETWEEN_LOOKS)
        for iteration, metrics in _evaluations(run, after=reported).items():
            reported = iteration
            tune.report(report_of(spec, iteration, metrics))
    try:
        ending = fitting.result()
    except RayActorError:  # a helper process of Ray was lost, not a worker: Tune starts the trial again
        raise
    except Exception as error:
        ending = {"failure": cause(error), "traceback": traceback.format_exc()}
    if "failure" in ending:
        _write_error(run, ending)
    tune.report({"ended": True, **ending})


def report_of(spec: RunSpec, iteration: int, metrics: dict[str, float]) -> dict[str, Any]:
    """An evaluation as Ray Tune hears of it."""
    budget = spec.budget
    epoch = iteration / budget.iterations_per_epoch
    return {"iteration": iteration, "epoch": epoch, "last": iteration == budget.iterations, **metrics}


def run_alone(config: dict[str, Any]) -> None:
    """Train a run of one worker in this process, which may have trained others before: what it starts with is cheap.

    Between two runs nothing is left but what is loaded: random states, deterministic algorithms, weights and data are
    set by each run. When Ray Tune stops it, `tune.report` ends this thread.
    """
    import torch
    from ray import get_gpu_ids, tune

    from eqbench.member import train_member
    from eqbench.recording import reset_peak_memory

    with contextlib.suppress(FileNotFoundError):  # another machine of a cluster; there, Ray has set the folder
        os.chdir(config["folder"])
    run = RunFolder(Path(config["run"]))
    if not run.spec_file.exists():
        tune.report({"ended": True, "failure": f"{run.path} is not there: --storage must be shared by all machines"})
        return
    spec = run.read_spec()
    device = torch.device("cuda", 0) if get_gpu_ids() else torch.device("cpu")
    reset_peak_memory(device)

    def evaluated(iteration: int) -> None:
        tune.report(report_of(spec, iteration, _evaluations(run, after=iteration - 1).get(iteration, {})))

    if spec.population:
        failure = train_member(run, device, config["code"], config["every_epochs"], evaluated)
    else:
        with run.exclusively():
            failure = train_and_record(run, device, code=config["code"], evaluated=evaluated)
    if failure:
        _write_error(run, failure)
    tune.report({"ended": True, **(failure or {"result": json.dumps(run.read_result())})})


def _write_error(run: RunFolder, failure: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # a full disk may be what made it fail
        run.error_file.write_text(failure["traceback"])


def _evaluations(run: RunFolder, after: int) -> dict[int, dict[str, float]]:
    """All metrics of each iteration after `after` at which there was an evaluation."""
    metrics: dict[int, dict[str, float]] = {}
    evaluated = []
    for event in run.read_events(newest_bytes=65536):
        if event["iteration"] > after:
            metrics.setdefault(event["iteration"], {}).update(event["metrics"])
            evaluated += [event["iteration"]] if is_evaluation(event) else []
    return {iteration: metrics[iteration] for iteration in evaluated}


def _fit(spec: RunSpec, config: dict[str, Any]) -> dict[str, str]:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    resources = spec.resources
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    trainer = TorchTrainer(
        _worker,  # type: ignore[arg-type]  # Ray passes on what it returns
        train_loop_config=config,
        torch_config=TorchConfig(
            backend="nccl" if resources.gpus_per_worker else "gloo", timeout_s=SECONDS_OF_AN_EVALUATION
        ),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
        ),
        run_config=RunConfig(
            name=f"{spec.run_id}-{time.time_ns()}",
            storage_path=config["scratch"],
            failure_config=FailureConfig(max_failures=resources.max_failures),
        ),
    )
    ending: dict[str, str] = trainer.fit().return_value  # type: ignore[attr-defined]
    return ending


def _worker(config: dict[str, Any]) -> dict[str, str]:
    """What each worker of a run does; returns how it ended: `result` as JSON, or `failure` and `traceback`.

    The first worker's ending reaches the driver through Ray: a file that another machine has just written may not be
    visible there yet.
    """
    import ray.train
    import ray.train.torch

    with contextlib.suppress(FileNotFoundError):  # another machine of a cluster; there, Ray has set the folder
        os.chdir(config["folder"])  # relative paths in a suite are the user's
    run = RunFolder(Path(config["run"]))
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    alone = context.get_world_size() == 1
    with run.exclusively() if first else contextlib.nullcontext():
        failure = train_and_record(run, ray.train.torch.get_device(), code=config["code"], first=first, alone=alone)
    return failure or {"result": json.dumps(run.read_result() if first else None)}


def train_and_record(
    run: RunFolder,
    device: torch.device,
    *,
    code: dict[str, Any],
    first: bool = True,
    alone: bool = True,
    evaluated: Callable[[int], None] | None = None,
    begins: bool = True,
) -> dict[str, str] | None:
    """Train the run of a folder in this process (with or without Ray) and write its result.

    Args:
        evaluated: see `eqbench.train_loop.train`.
        begins: whether this counts as an attempt; not where a run only goes on after it waited for others.

    Returns:
        None, or why it failed (`failure`, `traceback`) when starting again would fail in the same way: a non-finite
        gradient, on all ranks at once, or any error of a lone worker's own. Other errors are raised: the loss of
        a worker makes the others raise, and starting again helps.
    """
    from eqbench.train_loop import ignore, train
    from eqbench.trainer import TrainingFailed

    spec = run.read_spec()
    if first and begins:
        run.start_attempt()
    try:
        outcome = train(value_schedule.in_force(spec, run), run, device, evaluated or ignore)
    except TrainingFailed as error:
        return {"failure": str(error), "traceback": traceback.format_exc()}
    except OSError:
        raise
    except Exception as error:
        if alone:
            return {"failure": cause(error), "traceback": traceback.format_exc()}
        raise
    if first:
        run.write_result(_finished_result(spec, run, outcome, code))
    return None


def _finished_result(spec: RunSpec, run: RunFolder, outcome: Outcome, code: dict[str, Any]) -> dict[str, Any]:
    from eqbench.recording import verified

    metrics = outcome.evaluation.metrics
    return {
        **_result_head(spec, run),
        "status": "finished",
        "status_detail": "",
        "main_metric": next(iter(metrics), ""),
        "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        "cost": outcome.cost,
        "environment": {**environment.describe_machine(), **code},
        "data_verified": (verified(spec.data.params.get("root"), spec.data_digest) or {}).get("level"),
        "skipped_steps": outcome.skipped_steps,
        "warnings": outcome.warnings,
    }


def stopped_result(spec: RunSpec, run: RunFolder, detail: str) -> dict[str, Any]:
    """The result of a run that was ended before its budget on purpose: the numbers of its last evaluation."""
    found = _evaluations(run, after=0)
    numbers = found[max(found)] if found else {}
    metrics = {name.removeprefix("val/"): value for name, value in numbers.items() if name.startswith("val/")}
    return {
        **unsuccessful_result(spec, run, "stopped", detail),
        "main_metric": next(iter(metrics), ""),
        "metrics": metrics,
    }


def unsuccessful_result(spec: RunSpec, run: RunFolder, status: str, detail: str) -> dict[str, Any]:
    """The result of a run that failed or was killed."""
    return {**_result_head(spec, run), "status": status, "status_detail": detail, "metrics": {}, "cost": {}}


def _result_head(spec: RunSpec, run: RunFolder) -> dict[str, Any]:
    return {
        "run_id": spec.run_id,
        "name": spec.name,
        "suite": spec.suite,
        "task": spec.task_label,
        "loss": spec.loss_label,
        "seed": spec.seed,
        "task_version": spec.task_version,
        "data_digest": spec.data_digest,
        "protocol": spec.protocol,
        "budget": {"iterations": spec.budget.iterations, "samples": spec.budget.samples},
        "attempts": run.attempts,
        "finished_at": time.time(),
    }


def cause(error: BaseException) -> str:
    """One line: the error that a worker raised, out of what Ray wrapped around it; ours say what there is to say."""
    from ray.exceptions import RayActorError

    failures = getattr(error, "worker_failures", None)
    if failures:
        error = next(iter(failures.values()))
    while hasattr(error, "cause") or not isinstance(error, EqbenchError):
        inner = getattr(error, "cause", None) or getattr(error, "health_check_failure", None) or error.__cause__
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    if isinstance(error, RayActorError):
        return "a worker process died: killed, out of memory, or crashed; its log is in Ray's session folder"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    wrapped = any("Traceback (most recent call last)" in line for line in lines)  # Ray's, or a DataLoader's
    kind = type(error).__name__
    said = re.sub(rf"^[\w.]*\b{kind}: ", "", lines[-1]) if wrapped else "; ".join(lines)
    return f"{kind}: {said}"[:500]
