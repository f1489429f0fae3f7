"""What MLflow is told about a run."""

from __future__ import annotations

import json

from tracked_runs import make_spec

from eqbench.tracking import schema
from eqbench.tracking.schema import MAX_METRIC_KEYS, MAX_PARAM_LENGTH, Point


def point(key: str, step: int) -> Point:
    return Point(key, 1.0, 1000 + step, step)


def test_params_are_those_that_decide_the_result() -> None:
    params = schema.params(make_spec(3))
    assert params["loss.name"] == "softmax_eql"
    assert params["loss.params.tau"] == "1.0"
    assert params["train.optimizer.lr"] == "0.1"
    assert params["model.params.widths"] == "[16, 32]"
    assert params["seed"] == "3"
    elsewhere = make_spec(3).model_copy(update={"suite": "other", "loss_label": "renamed"})
    assert schema.params(elsewhere) == params
    assert "data.params.root" not in params


def test_params_keep_to_what_mlflow_takes() -> None:
    params = schema.params(make_spec(0, note="x" * 7000, options={"a@b": {"c d": 1}}))
    assert len(params["loss.params.note"]) == MAX_PARAM_LENGTH
    assert params["loss.params.options.a_b.c d"] == "1"


def test_values_that_are_not_finite_are_left_out() -> None:
    event = {"iteration": 5, "time_ms": 7, "metrics": {"a": 1, "b": float("nan"), "c": float("inf"), "d": None}}
    assert schema.event_points([event]) == [Point("a", 1.0, 7, 5)]


def test_steps_that_mlflow_has_are_not_news() -> None:
    points = [point("loss", 10), point("loss", 20), point("loss", 20), point("lr", 10), point("loss", 30)]
    new, left_out = schema.news(points, {"loss": 10})
    assert [(p.key, p.step) for p in new] == [("loss", 20), ("lr", 10), ("loss", 30)]
    assert not left_out


def test_the_step_zero_is_news_once() -> None:
    assert schema.news([point("loss", 0)], {})[0] == [point("loss", 0)]
    assert schema.news([point("loss", 0)], {"loss": 0})[0] == []


def test_there_are_never_more_keys_than_the_limit_and_room_for_the_cost() -> None:
    new, left_out = schema.news([point(f"m{i}", 1) for i in range(100)], {})
    keys = {p.key: p.step for p in new}
    assert len(keys) + len(left_out) == 100
    cost, _ = schema.news([point(f"cost/{key}", 1) for key in schema.COST], keys)
    assert len(cost) == len(schema.COST)
    assert len(keys) + len(cost) == MAX_METRIC_KEYS
    later, _ = schema.news([point("another", 2)], keys | {p.key: p.step for p in cost})
    assert later == []


def test_a_run_is_valid_only_when_it_has_finished() -> None:
    def valid(result: dict[str, str] | None, running: bool = False) -> str:
        return schema.tags(make_spec(), result, running=running, attempts=1, parent=None)["eqbench.valid"]

    assert valid({"status": "finished", "status_detail": ""}) == "true"
    assert valid({"status": "failed", "status_detail": "x"}) == "false"
    assert valid(None, running=True) == "false"
    assert valid(None) == "false"


def test_the_data_set_carries_class_counts_and_a_digest_of_legal_length() -> None:
    data = schema.data_input(make_spec(), {"name": "digits", "digest": "d" * 40, "class_counts": [5, 1]})
    assert (data.name, len(data.digest)) == ("digits", schema.MAX_DIGEST_LENGTH)
    assert json.loads(data.profile) == {"class_counts": [5, 1]}
    assert json.loads(data.source) == {"dataset": "digits", "imbalance_factor": 50}
