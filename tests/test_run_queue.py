"""Which run starts next: by what the nodes have room for beside the runs in progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_suites
from hypothesis import given
from hypothesis import strategies as st

from eqbench import cluster, engine, run_queue
from eqbench.room import DRIVER_MEMORY, HEAD, Room, most_at_once
from eqbench.run_folder import RunFolder
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
        ([{"CPU": 4.0}], [shape(2, cpus=4)], shape(cpus=4), True),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 16.0}], [shape()] * 8, shape(gpus=1), True),
        ([{"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}], [shape()], shape(), True),
        ([{"CPU": 8.0, HEAD: 1.0, "memory": 2.0 * DRIVER_MEMORY}], [shape()], shape(), True),
        ([{"CPU": 8.0, HEAD: 1.0, "memory": 2.0 * DRIVER_MEMORY}], [shape()] * 2, shape(), False),
        ([{"CPU": 8.0, "memory": 1.0}, {HEAD: 1.0, "memory": 2.0 * DRIVER_MEMORY}], [shape()], shape(), True),
        ([], [], shape(), False),
    ],
)
def test_room(nodes: list[dict[str, float]], in_progress: list[Resources], candidate: Resources, fits: bool) -> None:
    assert Room(nodes, in_progress).take(candidate) is fits


def test_a_run_in_progress_whose_node_has_gone_waits() -> None:
    assert Room([{"CPU": 1.0}, {"CPU": 1.0}], [shape(2), shape()]).waiting == [shape()]
    assert Room([{"CPU": 1.0}], [shape(2), shape()]).waiting == [shape(2)]
    assert Room([{"CPU": 1.0}], [shape(3, least=1)]).waiting == []


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
    return RunQueue(specs, grows, said.append, nodes=lambda: nodes, free=lambda: {"CPU": 0.5})


def ask(runs: RunQueue, clock: Clock, trial: str) -> Any:
    clock.now += run_queue.SECONDS_BETWEEN_LOOKS
    answer = runs.suggest(trial)
    return answer["run"] if isinstance(answer, dict) else answer


def wait(runs: RunQueue, clock: Clock, seconds: float) -> None:
    """What Ray Tune's loop does meanwhile."""
    until = clock.now + seconds
    while clock.now < until:
        clock.now += 1
        run_queue.SaysWhatWaits(runs).on_step_end(1, [])


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
    wait(runs, clock, run_queue.SECONDS_UNTIL_IT_IS_SAID - 1)
    assert said == []
    wait(runs, clock, run_queue.SECONDS_UNTIL_IT_IS_SAID_AGAIN)
    assert ask(runs, clock, "3") is None
    assert said == [said[0]]
    assert said[0].startswith("1 run waits for nodes: resources: 1 worker(s) of 1 CPU each are asked for, the nodes")
    nodes.append({"CPU": 1.0})
    assert ask(runs, clock, "3") == "c"


def test_a_run_in_progress_that_has_lost_its_node_for_good_lets_others_by_and_is_named(clock: Clock) -> None:
    said: list[str] = []
    nodes = [{"CPU": 1.0}, {"CPU": 1.0}]
    runs = queue(nodes, said, both=shape(2), one=shape())
    assert [ask(runs, clock, name) for name in "12"] == ["both", None]
    del nodes[1]
    assert [ask(runs, clock, name) for name in "23"] == ["one", FINISHED]
    wait(runs, clock, 60)
    assert [line.partition(" are asked for")[0] for line in said] == [
        "1 run waits for nodes: resources: 2 worker(s) of 1 CPU each"
    ]
    wait(runs, clock, run_queue.SECONDS_UNTIL_IT_IS_SAID_AGAIN)
    assert said[1:] == said[:1]
    nodes.append({"CPU": 1.0})
    wait(runs, clock, 2 * run_queue.SECONDS_UNTIL_IT_IS_SAID_AGAIN)
    assert len(said) == 2


def test_nothing_is_said_of_runs_that_wait_for_others(clock: Clock, tmp_path: Path) -> None:
    said: list[str] = []
    path = str(tmp_path / "a")
    runs = queue([{"CPU": 1.0}], said, **{path: shape(), "b": shape()})
    assert [ask(runs, clock, name) for name in "12"] == [path, None]
    RunFolder(Path(path)).path.mkdir()
    RunFolder(Path(path)).start_attempt()
    wait(runs, clock, 5000)
    assert said == []


def test_a_run_that_does_not_begin_because_others_have_the_nodes_is_named(clock: Clock, tmp_path: Path) -> None:
    said: list[str] = []
    path = str(tmp_path / "a")
    (tmp_path / "a").mkdir()
    runs = queue([{"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}], said, **{path: shape()})
    assert ask(runs, clock, "1") == path
    wait(runs, clock, run_queue.SECONDS_UNTIL_A_RUN_HAS_BEGUN - 20)
    assert said == []
    wait(runs, clock, 40)
    assert said == [
        "1 run has not begun within 5 min: 0.5 of 4 CPU, 0 of 1 GPU of the cluster are free; "
        "`ray status` there says more"
    ]
    RunFolder(tmp_path / "a").start_attempt()
    wait(runs, clock, 5000)
    assert len(said) == 1


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


def test_on_a_cluster_that_grows_there_are_more_beside_those_that_have_their_nodes(clock: Clock) -> None:
    names = {f"run{number}": shape() for number in range(99)}
    runs = queue([{"CPU": 40.0}], [], grows=True, **names)
    started = [ask(runs, clock, str(number)) for number in range(99)]
    assert len([each for each in started if each]) == 40 + cluster.RUNS_WHILE_GROWING


def test_a_shape_that_no_machine_can_hold_leaves_places_to_others(clock: Clock) -> None:
    said: list[str] = []
    large = {f"large{number}": shape(cpus=64) for number in range(40)}
    runs = queue([{"CPU": 1.0}], said, grows=True, small0=shape(), small1=shape(), **large)
    started = [ask(runs, clock, str(number)) for number in range(12)]
    assert started == ["small0", *[f"large{number}" for number in range(8)], "small1", None, None]
    wait(runs, clock, run_queue.SECONDS_UNTIL_IT_IS_SAID_OF_NODES_TO_COME - 20)
    assert said == []
    wait(runs, clock, 60)
    assert [line.partition(" are asked for")[0] for line in said] == [
        "40 runs wait for nodes: resources: 1 worker(s) of 64 CPU each"
    ]


def test_a_head_without_memory_for_a_single_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"CPU": 8.0, HEAD: 1.0, "memory": DRIVER_MEMORY - 1.0}
    monkeypatch.setattr(cluster, "node_resources", lambda: [small])
    with pytest.raises(cluster.EnvironmentProblem, match="less than 256 MiB of memory by Ray's count"):
        engine.room_for_all([])


def test_runs_of_a_suite(clock: Clock, tmp_path: Path) -> None:
    """What a queue is given in earnest."""
    suite = load_suite(small_suites.write(tmp_path / "suite.yaml", small_suites.suite()))
    specs = {spec.run_id: spec for spec in suite.expand()}
    runs = RunQueue(specs, False, print, nodes=lambda: [{"CPU": 64.0}])
    assert [ask(runs, clock, str(number)) for number in range(len(specs) + 1)] == [*specs, FINISHED]
