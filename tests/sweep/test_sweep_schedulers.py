"""Early stopping: who is stopped and who never is, and that a sweep which is continued stops as an undisturbed one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from eqbench.sweep.objective import Goal
from eqbench.sweep.schedulers import Stopping, build
from eqbench.sweep.schema import SchedulerConfig

FEW = Goal("val/few")
STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE
NOBODY: Any = None
ASHA = SchedulerConfig("asha", {"grace_epochs": 1, "reduction_factor": 2})
MEDIAN = SchedulerConfig("median", {"grace_epochs": 1, "min_trials": 2})


@dataclass
class TrialOfTune:
    """What a scheduler sees of Ray Tune's trial; no two are equal."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict)


def report(epoch: float, score: float, **rest: Any) -> dict[str, Any]:
    return {"epoch": epoch, "val/few": score, "training_iteration": 1, **rest}


def show(scheduler: Stopping, name: str, *scores: float, **config: Any) -> list[str]:
    """Decisions on a trial that reports a score after each epoch; it ends where it is stopped."""
    trial: Any = TrialOfTune(name, config)
    scheduler.on_trial_add(NOBODY, trial)
    decisions = []
    for epoch, score in enumerate(scores, start=1):
        decisions.append(scheduler.on_trial_result(NOBODY, trial, report(epoch, score)))
        if decisions[-1] == STOP:
            break
    scheduler.on_trial_complete(NOBODY, trial, report(len(decisions), scores[len(decisions) - 1]))
    return decisions


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
def test_a_bad_trial_is_stopped_and_a_good_one_is_not(config: SchedulerConfig) -> None:
    scheduler = build(config, FEW, epochs=8)
    for name, level in (("a", 10.0), ("b", 20.0), ("c", 30.0)):
        assert show(scheduler, name, *[level] * 8)
    assert show(scheduler, "good", *[40.0] * 8) == [CONTINUE] * 8
    assert show(scheduler, "bad", *[5.0] * 8) == [STOP]
    assert scheduler.stopped["bad"] == 1
    assert "stopped early" in scheduler.debug_string()


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
def test_lower_is_better_for_a_goal_to_minimize(config: SchedulerConfig) -> None:
    scheduler = build(config, Goal("val/few", maximize=False), epochs=8)
    for name, level in (("a", 30.0), ("b", 20.0), ("c", 10.0)):
        show(scheduler, name, *[level] * 8)
    assert show(scheduler, "low", *[5.0] * 8) == [CONTINUE] * 8
    assert show(scheduler, "high", *[40.0] * 8)[-1] == STOP


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
def test_protected_trials_and_last_reports_are_shown_but_never_stopped(config: SchedulerConfig) -> None:
    scheduler = build(config, FEW, epochs=4)
    for name in "abc":
        show(scheduler, name, *[50.0] * 4, protected=True)
    assert show(scheduler, "default", *[1.0] * 4, protected=True) == [CONTINUE] * 4
    late: Any = TrialOfTune("late")
    scheduler.on_trial_add(NOBODY, late)
    assert scheduler.on_trial_result(NOBODY, late, report(4, 1.0, last=True)) == CONTINUE
    assert show(scheduler, "bad", *[2.0] * 4)[-1] == STOP, "the protected ones count for others"
    assert set(scheduler.stopped) == {"bad"}


def test_without_a_scheduler_nothing_is_stopped() -> None:
    scheduler = build(SchedulerConfig(), FEW, epochs=4)
    show(scheduler, "a", *[50.0] * 4)
    scheduler.replay("b", [report(1, 60.0)])
    assert show(scheduler, "c", *[0.0] * 4) == [CONTINUE] * 4


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
@pytest.mark.parametrize(
    "odd", [{}, {"ended": True}, {"epoch": 2.0}, report(2, math.nan), report(math.nan, 1.0), report(2, math.inf)]
)
def test_reports_without_epoch_or_score_pass(config: SchedulerConfig, odd: dict[str, Any]) -> None:
    scheduler = build(config, FEW, epochs=4)
    for name in "abc":
        show(scheduler, name, *[50.0] * 4)
    trial: Any = TrialOfTune("odd")
    scheduler.on_trial_add(NOBODY, trial)
    assert scheduler.on_trial_result(NOBODY, trial, dict(odd)) == CONTINUE
    scheduler.on_trial_complete(NOBODY, trial, dict(odd))
    assert show(scheduler, "next", *[60.0] * 4) == [CONTINUE] * 4


def test_ray_tune_demands_no_metric_of_every_report() -> None:
    assert not build(ASHA, FEW, epochs=4).metric


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
def test_a_trial_that_is_started_again_is_still_the_same(config: SchedulerConfig) -> None:
    scheduler = build(config, FEW, epochs=4)
    for name in "abc":
        show(scheduler, name, *[50.0, 60.0, 70.0, 80.0])
    lost: Any = TrialOfTune("lost")
    scheduler.on_trial_add(NOBODY, lost)
    assert scheduler.on_trial_result(NOBODY, lost, report(1, 90.0)) == CONTINUE
    scheduler.on_trial_error(NOBODY, lost)
    again: Any = TrialOfTune("lost")
    scheduler.on_trial_add(NOBODY, again)
    assert scheduler.on_trial_result(NOBODY, again, report(1, 1.0)) == CONTINUE, "it reported of this epoch before"
    assert scheduler.on_trial_result(NOBODY, again, report(2, 91.0)) == CONTINUE
    scheduler.on_trial_remove(NOBODY, again)
    scheduler.on_trial_remove(NOBODY, TrialOfTune("never seen"))  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [ASHA, MEDIAN])
def test_a_continued_sweep_stops_as_an_undisturbed_one(config: SchedulerConfig) -> None:
    curves = {f"t{number}": [float(number * 7 % 11 + epoch) for epoch in range(4)] for number in range(9)}
    undisturbed = build(config, FEW, epochs=4)
    trials: dict[str, Any] = {name: TrialOfTune(name) for name in curves}
    decided: dict[str, dict[int, str]] = {name: {} for name in curves}

    def feed(scheduler: Stopping, epochs: range) -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = {name: {} for name in curves}
        for epoch in epochs:
            for name, curve in curves.items():
                ended = STOP in decided[name].values() or STOP in found[name].values()
                if not ended:
                    found[name][epoch] = scheduler.on_trial_result(
                        NOBODY, trials[name], report(epoch, curve[epoch - 1])
                    )
        return found

    decided = feed(undisturbed, range(1, 2))
    first_part = {name: list(by_epoch) for name, by_epoch in decided.items()}
    expected = feed(undisturbed, range(2, 5))

    continued = build(config, FEW, epochs=4)
    for name, epochs in reversed(first_part.items()):
        continued.replay(name, [report(epoch, curves[name][epoch - 1]) for epoch in epochs])
    for trial in trials.values():
        continued.on_trial_add(NOBODY, trial)
    assert feed(continued, range(2, 5)) == expected
    assert any(STOP in by_epoch.values() for by_epoch in expected.values()), "else this shows nothing"


def test_a_repeated_epoch_that_rounding_changed_counts_as_that_epoch() -> None:
    scheduler = build(SchedulerConfig("asha", {"grace_epochs": 3, "reduction_factor": 2}), FEW, epochs=8)
    for name in "abc":
        scheduler.replay(name, [report(3, 50.0)])
    trial: Any = TrialOfTune("early")
    assert scheduler.on_trial_result(NOBODY, trial, report(2.5, 1.0)) == CONTINUE
    assert scheduler.on_trial_result(NOBODY, trial, report(2.9999999996, 1.0)) == STOP


def test_a_trial_is_judged_at_each_rung_once_and_not_later_by_an_earlier_one() -> None:
    scheduler = build(ASHA, FEW, epochs=16)
    for name in "abc":
        scheduler.replay(name, [report(1, 50.0)])
    sparse: Any = TrialOfTune("sparse")
    assert scheduler.on_trial_result(NOBODY, sparse, report(5, 10.0)) == CONTINUE, "nobody else got to this rung"
    assert scheduler.on_trial_result(NOBODY, sparse, report(7, 10.0)) == CONTINUE, "not against those after 1 epoch"


def test_no_trial_is_ever_paused() -> None:
    class Controller:
        def get_live_trials(self) -> list[Any]:
            return [type("Waiting", (), {"status": "PENDING"})()]

    scheduler = build(SchedulerConfig("median", {"min_trials": 3}), FEW, epochs=8)
    controller: Any = Controller()
    for epoch in range(1, 9):
        trial: Any = TrialOfTune("alone")
        assert scheduler.on_trial_result(controller, trial, report(epoch, 1.0)) == CONTINUE


def test_what_cannot_be_built_here_is_refused() -> None:
    with pytest.raises(ValueError, match="'pbt', expected none, asha or median"):
        build(SchedulerConfig("pbt"), FEW, epochs=4)
    with pytest.raises(ValueError, match="grace_epochs 5, expected at most 4"):
        build(SchedulerConfig("asha", {"grace_epochs": 5}), FEW, epochs=4)
