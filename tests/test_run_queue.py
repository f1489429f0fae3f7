"""Which run starts next: by what the nodes have room for beside the runs in progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_suites
from hypothesis import given
from hypothesis import strategies as st

from eqbench import cluster, run_queue
from eqbench.room import Room, most_at_once
from eqbench.run_queue import RunQueue
from eqbench.run_spec import Resources
from eqbench.suite import load_suite

FINISHED = "FINISHED"


def shape(workers: int = 1, cpus: float = 1, gpus: float = 0, least: int | None = None) -> Resources:
    return Resources(num_workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus, min_workers=least)


@pytest.mark.parametrize(
    ("nodes", "in_progress", "candidate", "fits"),
    [
        ([{"CPU": 1.0}] * 3, [shape(2)], shape(), True),
        ([{"CPU": 1.0}] * 3, [shape(2)], shape(2), False),
        ([{"CPU": 3.0}, {"CPU": 3.0}], [shape(cpus=2), shape(cpus=2)], shape(cpus=2), False),
        ([{"CPU": 8.0, "GPU": 2.0}], [shape(gpus=0.5)], shape(gpus=2), False),
        ([{"CPU": 8.0, "GPU": 2.0}], [shape(gpus=0.5), shape(gpus=0.5)], shape(gpus=1), True),
        ([{"CPU": 8.0, "GPU": 1.0}], [shape(gpus=0.3)] * 3, shape(gpus=0.3), False),
        ([{"CPU": 8.0, "GPU": 4.0}], [shape(2, gpus=1)], shape(gpus=2), True),
        ([{"CPU": 2.0}], [], shape(4, least=2), True),
        ([{"CPU": 3.0}], [shape()], shape(4, least=2), False),
        ([{"CPU": 1.0}], [], shape(4, least=2), False),
        ([{"CPU": 1.0}], [shape(4, least=1)], shape(), False),
        ([], [], shape(), False),
    ],
)
def test_room(nodes: list[dict[str, float]], in_progress: list[Resources], candidate: Resources, fits: bool) -> None:
    assert Room(nodes, in_progress).take(candidate) is fits


def test_one_that_does_not_fit_takes_nothing() -> None:
    assert most_at_once([shape(2), shape(2), shape(), shape()], [{"CPU": 1.0}] * 3) == 2


cpus = st.sampled_from([0.5, 1.0, 2.0])
shapes = st.one_of(
    st.builds(shape, st.integers(1, 4), cpus, st.sampled_from([0.0, 1.0, 2.0])),
    st.builds(shape, st.just(1), cpus, st.sampled_from([0.25, 0.3, 0.5])),
)
several_nodes = st.lists(
    st.builds(lambda cpus, gpus: {"CPU": float(cpus), "GPU": float(gpus)}, st.integers(0, 8), st.integers(0, 4)),
    max_size=4,
)


@given(several_nodes, shapes)
def test_of_one_shape_there_fit_as_many_as_the_cluster_is_said_to_hold(
    nodes: list[dict[str, float]], resources: Resources
) -> None:
    try:
        said = cluster.concurrency(resources, nodes)
    except cluster.EnvironmentProblem:
        said = 0
    assert most_at_once([resources] * 40, nodes) == said


@given(several_nodes, st.lists(shapes, max_size=8))
def test_what_fits_at_once_never_takes_more_than_there_is(
    nodes: list[dict[str, float]], wanted: list[Resources]
) -> None:
    room = Room(nodes)
    taken = [resources for resources in wanted if room.take(resources)]
    for name, each in (("CPU", "cpus_per_worker"), ("GPU", "gpus_per_worker")):
        used = sum(resources.num_workers * getattr(resources, each) for resources in taken)
        assert used <= sum(node[name] for node in nodes) + 1e-6


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    known = Clock()
    monkeypatch.setattr(run_queue, "time", known)
    return known


def queue(nodes: list[dict[str, float]], said: list[str], grows: bool = False, **runs: Resources) -> RunQueue:
    specs: Any = {name: type("Spec", (), {"resources": resources}) for name, resources in runs.items()}
    return RunQueue(specs, grows, said.append, nodes=lambda: nodes)


def ask(runs: RunQueue, clock: Clock, trial: str) -> Any:
    clock.now += run_queue.SECONDS_BETWEEN_LOOKS
    answer = runs.suggest(trial)
    return answer["run"] if isinstance(answer, dict) else answer


def test_the_largest_goes_first_and_smaller_ones_beside_it(clock: Clock) -> None:
    runs = queue([{"CPU": 1.0}] * 3, [], a=shape(), b=shape(2), c=shape(), d=shape(2))
    assert [ask(runs, clock, name) for name in "123"] == ["b", "a", None]
    runs.on_trial_complete("2")
    assert [ask(runs, clock, name) for name in "34"] == ["c", None]
    runs.on_trial_complete("1")
    assert [ask(runs, clock, name) for name in "45"] == ["d", FINISHED]


def test_nodes_that_come_are_used_and_those_that_go_are_waited_for(clock: Clock) -> None:
    said: list[str] = []
    nodes = [{"CPU": 1.0}]
    runs = queue(nodes, said, a=shape(), b=shape(), c=shape())
    assert [ask(runs, clock, name) for name in "12"] == ["a", None]
    nodes.append({"CPU": 1.0})
    assert ask(runs, clock, "2") == "b"
    nodes.clear()
    for trial in "12":
        runs.on_trial_complete(trial)
    assert ask(runs, clock, "3") is None
    assert said == []
    clock.now += run_queue.SECONDS_UNTIL_IT_IS_SAID
    assert ask(runs, clock, "3") is None
    assert ask(runs, clock, "3") is None
    assert said == [said[0]]
    assert said[0].startswith(
        "1 runs wait for nodes: resources: 1 worker(s) of 1 CPU each are asked for, the nodes have"
    )
    nodes.append({"CPU": 1.0})
    assert ask(runs, clock, "3") == "c"


def test_it_does_not_look_at_the_nodes_all_the_time(clock: Clock) -> None:
    looks: list[int] = []

    def nodes() -> list[dict[str, float]]:
        looks.append(1)
        return []

    specs: Any = {"a": type("Spec", (), {"resources": shape()})}
    runs = RunQueue(specs, False, print, nodes=nodes)
    for number in range(100):
        clock.now = run_queue.SECONDS_BETWEEN_LOOKS * number / 50
        assert runs.suggest("1") is None
    assert len(looks) == 2


def test_on_a_cluster_that_grows_some_more_wait_inside_ray(clock: Clock) -> None:
    names = {f"run{number}": shape() for number in range(20)}
    runs = queue([], [], grows=True, **names)
    started = [ask(runs, clock, str(number)) for number in range(cluster.RUNS_WHILE_GROWING + 1)]
    assert started == [*list(names)[: cluster.RUNS_WHILE_GROWING], None]


def test_runs_of_a_suite(clock: Clock, tmp_path: Path) -> None:
    """What a queue is given in earnest."""
    suite = load_suite(small_suites.write(tmp_path / "suite.yaml", small_suites.suite()))
    specs = {spec.run_id: spec for spec in suite.expand()}
    runs = RunQueue(specs, False, print, nodes=lambda: [{"CPU": 64.0}])
    assert [ask(runs, clock, str(number)) for number in range(len(specs) + 1)] == [*specs, FINISHED]
