"""Who of a population goes on from whom, with which values: decided once, written down, then carried out.

What Ray Tune's `PopulationBasedTraining` decides depends here on the members' scores at the same epoch, the epoch and
the seed of the search alone: values are multiplied by 0.8 or 1.2, moved to a neighbour in a list, or drawn anew. To
carry a decision out twice is the same as once. So a sweep that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from eqbench import value_schedule
from eqbench.sweep.population import options_of, within
from eqbench.value_schedule import Segment

if TYPE_CHECKING:
    import numpy as np

    from eqbench.run_folder import RunFolder
    from eqbench.sweep.folder import SweepFolder
    from eqbench.sweep.objective import Goal
    from eqbench.sweep.schema import SchedulerConfig
    from eqbench.sweep.space import Parameter, Space, Value

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exploit:
    """A member that goes on after `iteration` from another's weights, with `values`. Both are run ids."""

    member: str
    donor: str
    iteration: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Decision:
    """What was decided at an epoch: score and iteration of each member that took part, by run id, and the exploits."""

    sweep: str
    epoch: float
    scores: dict[str, float | None]
    iterations: dict[str, int]
    exploits: list[Exploit] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """A member that waits: its score (None if it could not be evaluated), its values, and its iteration."""

    run_id: str
    score: float | None
    values: Mapping[str, Value]
    iteration: int


@dataclass(eq=False)
class _StandIn:
    """A paused trial, as far as Ray Tune's scheduler looks at it. Its values are its configuration."""

    trial_id: str
    config: dict[str, Any]
    status: str = "PAUSED"
    experiment_tag: str = ""
    checkpoint: str = "there is one"
    temporary_state: Any = field(default_factory=lambda: SimpleNamespace(saving_to=None))
    run_metadata: Any = field(
        default_factory=lambda: SimpleNamespace(
            checkpoint_manager=SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
        )
    )

    def is_finished(self) -> bool:
        return False

    def set_experiment_tag(self, tag: str) -> None: ...

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


def decide(
    members: Sequence[Standing], space: Space, config: SchedulerConfig, goal: Goal, seed: int, epoch: float
) -> list[Exploit]:
    """Who takes from whom, as Ray Tune's `PopulationBasedTraining` says, and with which values, all within the space.

    Args:
        members: all that wait; those without a finite score neither give nor take.
        space: bounds and lists of the values.
        config: `quantile`, `resample_probability`.
        goal: what members are compared by.
        seed: with the epoch, decides everything that is left to chance.
        epoch: of the comparison.
    """
    import numpy as np
    from ray.tune.schedulers import PopulationBasedTraining

    options = options_of(config)
    compared = [each for each in sorted(members, key=lambda each: each.run_id) if _finite(each.score)]
    entropy = [seed, round(epoch * 1e6)]
    generator = np.random.default_rng(entropy)
    with _chance(repr(entropy)):
        scheduler = PopulationBasedTraining(
            time_attr="round",
            metric="score",
            mode="max" if goal.maximize else "min",
            perturbation_interval=1,
            hyperparam_mutations={each.path: _mutation(each, generator) for each in space.parameters},
            quantile_fraction=options["quantile"],
            resample_probability=options["resample_probability"],
            log_config=False,
            synch=True,
        )
        trials = [_StandIn(each.run_id, {**each.values, "_is": each}) for each in compared]
        controller: Any = SimpleNamespace(search_alg=None, get_trials=lambda: trials, get_live_trials=lambda: trials)
        for trial in trials:
            scheduler.on_trial_add(controller, trial)  # type: ignore[arg-type]
        for trial, each in zip(trials, compared, strict=True):
            scheduler.on_trial_result(controller, trial, {"round": 1, "score": each.score})  # type: ignore[arg-type]
    exploits = []
    for trial, each in zip(trials, compared, strict=True):
        donor: Standing = trial.config["_is"]
        if donor.run_id != each.run_id:
            values = {path: within(space[path], trial.config[path]) for path in space.paths}
            exploits.append(Exploit(each.run_id, donor.run_id, donor.iteration, values))
    return exploits


def _mutation(parameter: Parameter, generator: np.random.Generator) -> Any:
    """What Ray Tune draws new values from: a list, in which a value also has neighbours, or a function."""
    return list(parameter.values) if parameter.values else lambda: parameter.draw(generator)


def _finite(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


@contextmanager
def _chance(seed: str) -> Iterator[None]:
    """Ray Tune draws from Python's own generator, which is left as it was."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


class Decisions:
    """The decisions of a sweep, `population.jsonl` in its folder, and what is to be done for them."""

    def __init__(self, folder: SweepFolder, sweep: str) -> None:
        self.file = folder.path / "population.jsonl"
        self._folder = folder
        self._sweep = sweep
        self.all = [each for each in self._read() if each.sweep == sweep]

    def reached(self, run_id: str) -> float:
        """The epoch of the last decision that a member took part in; 0 before the first."""
        return max((each.epoch for each in self.all if run_id in each.scores), default=0.0)

    def make(self, epoch: float, members: Sequence[Standing], exploits: list[Exploit]) -> None:
        """Write a decision down and carry it out."""
        scores = {each.run_id: each.score if _finite(each.score) else None for each in members}
        iterations = {each.run_id: each.iteration for each in members}
        decision = Decision(self._sweep, epoch, scores, iterations, exploits)
        with self.file.open("a", encoding="utf-8") as file:
            file.write("\n" if self.file.exists() and not self._whole() else "")
            file.write(json.dumps(asdict(decision), ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.all.append(decision)
        self.carry_out()

    def carry_out(self) -> None:
        """Let every member begin what was decided for it and has not begun, and go on."""
        for decision in self.all:
            for exploit in decision.exploits:
                run = self._folder.run(exploit.member)
                segment = Segment(exploit.iteration, exploit.values, exploit.donor)
                if segment not in value_schedule.read(run) and self._waits(run, decision, exploit):
                    self._transfer(run, segment)
            for run_id, iteration in decision.iterations.items():
                run = self._folder.run(run_id)
                if value_schedule.compared(run) < iteration:
                    value_schedule.write_compared(run, iteration)

    def _waits(self, run: RunFolder, decision: Decision, exploit: Exploit) -> bool:
        """Whether a member is still where it was when it was decided on, with nothing decided since."""
        if self.reached(run.run_id) > decision.epoch:
            return False
        return run.newest_checkpoint <= max(decision.iterations[run.run_id], exploit.iteration)

    def _transfer(self, run: RunFolder, segment: Segment) -> None:
        from eqbench.checkpoint import CheckpointError, Checkpoints

        assert segment.donor is not None
        try:
            _, own, _ = Checkpoints(run.checkpoints).load_newest()
            state = Checkpoints(self._folder.run(segment.donor).checkpoints).load(segment.iteration)
            spent = {"elapsed": own.get("elapsed", 0.0)}  # what the member has cost so far, not what the donor has
            Checkpoints(run.checkpoints).save(segment.iteration, state | spent)
            value_schedule.append(run, segment)
        except (CheckpointError, OSError) as error:
            logger.warning("%s goes on with its own weights and values: %s", run.run_id, error)

    def _read(self) -> list[Decision]:
        lines = self.file.read_bytes().split(b"\n") if self.file.exists() else []
        found = []
        for line in lines:
            try:
                data = json.loads(line)
                found.append(Decision(**{**data, "exploits": [Exploit(**each) for each in data["exploits"]]}))
            except (ValueError, TypeError, KeyError):  # cut off by a crash
                continue
        return found

    def _whole(self) -> bool:
        content = self.file.read_bytes()
        return not content or content.endswith(b"\n")
