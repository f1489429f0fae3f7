"""The call of Ray Tune: which function trains a run, with what, and how often it may lose its process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eqbench import engine
from eqbench.run_spec import Resources
from eqbench.trial import run_alone, run_trial

if TYPE_CHECKING:
    from eqbench.announcer import Watcher
    from eqbench.sweep.driver import Search
    from eqbench.sweep.proposer import Proposer


def tune_runs(
    what: Search, proposer: Proposer, scheduler: Any, scratch: str, at_once: int, watchers: Sequence[Watcher]
) -> None:
    """Let Ray Tune ask `proposer` for runs and train them until there are no more."""
    from ray import tune

    from eqbench.sweep.announcer import SweepAnnouncer
    from eqbench.sweep.population_scheduler import PopulationScheduler

    resources = what.resources
    alone = resources.num_workers == 1
    if alone:
        trainable = tune.with_resources(run_alone, _per_trial(resources))
    else:
        trainable = tune.with_resources(run_trial, engine.TRIAL_DRIVER_RESOURCES)
    announcer = SweepAnnouncer(proposer.specs, watchers, scheduler=what.sweep.section.scheduler.name)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=None if isinstance(scheduler, PopulationScheduler) else at_once,
            reuse_actors=alone,
        ),
        run_config=tune.RunConfig(
            name=f"sweep-{time.time_ns()}",
            storage_path=scratch,
            verbose=0,
            callbacks=[announcer],
            failure_config=tune.FailureConfig(
                max_failures=resources.max_failures if alone else engine.TRIAL_DRIVER_FAILURES
            ),
        ),
    )
    tuner.fit()


def _per_trial(resources: Resources) -> dict[str, float]:
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker, **gpus}
