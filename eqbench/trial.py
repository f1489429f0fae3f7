"""What happens inside one trial: a Ray Train worker group trains one run, and its end becomes the run's result."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqbench import stopping, value_schedule
from eqbench.errors import EqbenchError
from eqbench.run_folder import RunFolder
from eqbench.run_result import evaluations, finished_result
from eqbench.run_spec import RunSpec

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

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
        for iteration, metrics in evaluations(run, after=reported).items():
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
        tune.report(report_of(spec, iteration, evaluations(run, after=iteration - 1).get(iteration, {})))

    if spec.population:
        failure = train_member(run, device, config["code"], config["every_epochs"], evaluated)
    else:
        with run.exclusively():
            failure = train_and_record(run, device, code=config["code"], evaluated=evaluated)
    if failure:
        _write_error(run, failure)
    else:
        _draw(run, spec)
    tune.report({"ended": True, **(failure or {"result": json.dumps(run.read_result())})})


def _write_error(run: RunFolder, failure: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # a full disk may be what made it fail
        run.error_file.write_text(failure["traceback"])


def _draw(run: RunFolder, spec: RunSpec) -> None:
    """The figures of a run that has finished; a picture that cannot be drawn is only logged."""
    from eqbench.plots import figures

    for problem in figures.draw_own(run, spec):
        logger.warning("%s: %s", spec.name, problem)


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
    if first and not failure:
        _draw(run, run.read_spec())
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
        stopping.clear(run)
    try:
        outcome = train(value_schedule.in_force(spec, run), run, device, evaluated or ignore)
    except TrainingFailed as error:
        return {"failure": str(error), "traceback": traceback.format_exc()}
    except stopping.Stopped as error:
        return {"failure": str(error), "traceback": ""}
    except OSError:
        raise
    except Exception as error:
        if alone:
            return {"failure": cause(error), "traceback": traceback.format_exc()}
        raise
    if first and not stopping.is_marked(run):
        run.write_result(finished_result(spec, run, outcome, code))
    return None


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
