"""What happens inside one trial: a Ray Train worker group trains one run, and its end becomes the run's result."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from eqbench import stopping, supervision, value_schedule
from eqbench.cause import cause, is_collateral, is_loss
from eqbench.errors import EnvironmentProblem, EqbenchError
from eqbench.run_folder import RunFolder
from eqbench.run_result import evaluations, finished_result
from eqbench.run_spec import RunSpec
from eqbench.storage import suite_mirror, training
from eqbench.storage.driving import following

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_UNTIL_A_LOSS_IS_KNOWN = 30
"""Ray asks a node that does not answer five times, three seconds apart, before it calls it dead."""


def run_trial(config: dict[str, Any]) -> None:
    """Train one run; its failure becomes its result.

    Evaluations reach Ray Tune from here, as the run's folder gets them, and from no other thread or process: Tune's
    own callback for Ray Train (`TuneReportCallback`) can block forever when the last report meets the trial's end.
    """
    from ray import tune
    from ray.exceptions import OutOfMemoryError, RayActorError

    try:
        run = _planned(config)
    except (EqbenchError, OSError) as error:
        tune.report({"ended": True, "failure": str(error)})
        return
    spec = run.read_spec()
    fitting = ThreadPoolExecutor(max_workers=1).submit(_fit, spec, config)
    reported = run.newest_checkpoint
    with following(run.path):
        while not fitting.done():
            wait([fitting], timeout=SECONDS_BETWEEN_LOOKS)
            reported = _report(run, spec, reported)
    _report(run, spec, reported)
    try:
        ending = fitting.result()
    except (RayActorError, OutOfMemoryError):  # Ray lost a helper process, not a worker: Tune starts the trial again
        raise
    except Exception as error:
        ending = {"failure": _why(run, spec, error, "storage" in config), "traceback": traceback.format_exc()}
    if "failure" in ending:
        _write_error(run, ending)
        suite_mirror.try_to_settle(run.path)
    tune.report({"ended": True, **ending})


def _planned(config: Mapping[str, Any]) -> RunFolder:
    """The run of a trial.

    Raises:
        EnvironmentProblem: what the driver has planned cannot be read here.
    """
    run = training.run_here(config)
    if not run.spec_file.exists():
        raise EnvironmentProblem(f"{run.path} is not there: --storage must be shared by all machines")
    return run


def _why(run: RunFolder, spec: RunSpec, error: Exception, apart: bool) -> str:
    """Why a run has failed; `apart`: machines have folders of their own, and one that is lost sends no more of it."""
    if not is_loss(error):
        return cause(error)
    if said := supervision.stuck(run, lately=True):
        return said[0]
    where = (
        f"; or one did not finish a step within {spec.resources.stuck_minutes:g} min and was ended: where it stood is "
        f"then in stuck_rank*.txt in {run.path} of its machine"
    )
    return cause(error) + (where if apart else "")


def _report(run: RunFolder, spec: RunSpec, reported: int) -> int:
    """Let Ray Tune hear of the evaluations after iteration `reported`; the newest of which it has heard."""
    from ray import tune

    for iteration, metrics in evaluations(run, after=reported).items():
        reported = iteration
        tune.report(report_of(spec, iteration, metrics))
    return reported


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
    try:
        run = _planned(config)
    except (EqbenchError, OSError) as error:
        tune.report({"ended": True, "failure": str(error)})
        return
    spec = run.read_spec()
    device = torch.device("cuda", 0) if get_gpu_ids() else torch.device("cpu")
    reset_peak_memory(device)

    def evaluated(iteration: int) -> None:
        tune.report(report_of(spec, iteration, evaluations(run, after=iteration - 1).get(iteration, {})))

    failure: Mapping[str, str] | None
    if spec.population:
        failure = train_member(run, device, config["code"], config["every_epochs"], evaluated)
        _conclude(run, spec, failure)
    else:
        with run.exclusively(), training.mirrored(run) as unwritten:
            with supervision.watching(run, spec.resources.stuck_minutes) as watch:
                failure = train_and_record(run, device, code=config["code"], evaluated=evaluated, watch=watch)
            _conclude(run, spec, failure)
        failure = failure or unwritten
    tune.report({"ended": True, **(failure or {"result": json.dumps(run.read_result())})})


def _conclude(run: RunFolder, spec: RunSpec, failure: Mapping[str, str] | None) -> None:
    """Write why a run has failed, and draw it; its driver does where it has dropped what came after a stop."""
    if failure:
        _write_error(run, failure)
    if not stopping.is_marked(run):
        draw(run, spec)


def _write_error(run: RunFolder, failure: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError):  # a full disk may be what made it fail
        run.error_file.write_text(failure["traceback"])


def draw(run: RunFolder, spec: RunSpec) -> None:
    """The figures of a run that has ended, of what it has recorded; a picture that cannot be drawn is only logged."""
    if run.events_file.exists():
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
    number: Any = (resources.min_workers, resources.num_workers) if resources.min_workers else resources.num_workers
    trainer = TorchTrainer(
        _worker,  # type: ignore[arg-type]  # Ray passes on what it returns
        train_loop_config=config,
        torch_config=TorchConfig(
            backend="nccl" if resources.gpus_per_worker else "gloo",
            timeout_s=supervision.SECONDS_OF_AN_EVALUATION,
        ),
        scaling_config=ScalingConfig(
            num_workers=number,
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

    One that has lost the connection to another waits until Ray knows of the lost one, and is then ended with the rest
    of the group. Ray must not hear from it first: it would take a preempted machine for an error of the training.
    """
    from ray.train import get_context

    try:
        with contextlib.closing(supervision.PreemptionNotice()) as notice:
            return _train_as_worker(config, notice)
    except Exception as error:
        if is_collateral(error) and get_context().get_world_size() > 1:
            time.sleep(SECONDS_UNTIL_A_LOSS_IS_KNOWN)
        raise


def _train_as_worker(config: dict[str, Any], notice: Callable[[], int]) -> dict[str, str]:
    """The first worker's ending reaches the driver through Ray, as what it returns: a file that another machine has
    just written may not be visible there yet.
    """
    import ray.train
    import ray.train.torch

    with contextlib.suppress(FileNotFoundError):  # another machine of a cluster; there, Ray has set the folder
        os.chdir(config["folder"])  # relative paths in a suite are the user's
    run = _planned(config)
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    alone = context.get_world_size() == 1
    spec = run.read_spec()
    with run.exclusively() if first else contextlib.nullcontext(), training.mirrored(run, first) as unwritten:
        with supervision.watching(run, spec.resources.stuck_minutes, notice) as watch:
            device = ray.train.torch.get_device()
            failure = train_and_record(run, device, code=config["code"], first=first, alone=alone, watch=watch)
        if first:
            _conclude(run, spec, failure)
    return dict(failure or unwritten) or {"result": json.dumps(run.read_result() if first else None)}


def train_and_record(
    run: RunFolder,
    device: torch.device,
    *,
    code: dict[str, Any],
    first: bool = True,
    alone: bool = True,
    evaluated: Callable[[int], None] | None = None,
    begins: bool = True,
    watch: supervision.Supervision = supervision.UNWATCHED,
) -> dict[str, str] | None:
    """Train the run of a folder in this process (with or without Ray) and write its result.

    Args:
        evaluated, watch: see `eqbench.train_loop.train`.
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
        outcome = train(value_schedule.in_force(spec, run), run, device, evaluated or ignore, watch)
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
