"""Sweeps that never ran: results with known numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eqbench.sweep.record import BASELINE, DEFAULT, Kind, Results, Status, Trial
from eqbench.sweep.schema import section_from_data
from eqbench.sweep.space import Value

EPOCHS = 10.0
SPACE: dict[str, Any] = {
    "loss.gamma": {"uniform": [4, 20]},
    "loss.mu": {"uniform": [0.5, 0.95]},
    "train.optimizer.lr": {"loguniform": [1e-3, 1]},
    "loss.indicator": {"choice": ["positive", "all"]},
}


def trial(
    number: int,
    values: Mapping[str, Value] | None = None,
    metrics: Mapping[str, float] | None = None,
    status: Status = "finished",
    **more: Any,
) -> Trial:
    """A trial whose curve rises to its metrics."""
    kind: Kind = {BASELINE: "baseline", DEFAULT: "default"}.get(number, "proposed")  # type: ignore[assignment]
    epochs = {"finished": EPOCHS, "stopped": 4.0, "failed": 2.0, "running": 6.0}.get(status, 0.0)
    final = dict(metrics or {})
    steps = [epoch for epoch in (2.0, 4.0, 6.0, 8.0, 10.0) if epoch <= epochs] if final else []
    curve = tuple((at, {name: value * (1 - math.exp(-at / 3)) for name, value in final.items()}) for at in steps[:-1])
    fields: dict[str, Any] = {
        "number": number,
        "kind": kind,
        "values": dict(values or {}),
        "run_ids": (f"{number & 0xFFF:012x}",),
        "status": status,
        "detail": "",
        "label": "cross_entropy" if kind == "baseline" else f"softmax_eql trial {number}",
        "metrics": final,
        "curve": (*curve, (epochs, final)) if final else (),
        "epochs": epochs,
        "seconds": epochs * 1.5,
    }
    return Trial(**(fields | more))


def results(*trials: Trial, space: Mapping[str, Any] = SPACE, objective: Any = None, **more: Any) -> Results:
    """A sweep of these trials that maximizes val/few."""
    section = {
        "space": dict(space),
        "trials": 50,
        "search": {"name": "optuna"},
        "scheduler": {"name": "none"},
        "objective": objective or {"maximize": "val/few"},
    } | more
    return Results(
        name="invented",
        task="digits",
        loss="softmax_eql",
        section=section_from_data(section),
        trials=tuple(sorted(trials, key=lambda each: each.number)),
        epochs=EPOCHS,
        seeds=(0,),
    )


def few(values: Mapping[str, Value]) -> float:
    """A response with its best at gamma 12, mu 0.8 and learning rate 0.1."""
    gamma, mu, lr = (float(values[path] or 0) for path in ("loss.gamma", "loss.mu", "train.optimizer.lr"))
    bonus = 2.0 if values["loss.indicator"] == "all" else 0.0
    return 45 - 0.25 * (gamma - 12) ** 2 - 40 * (mu - 0.8) ** 2 - 9 * (math.log10(lr) + 1) ** 2 + bonus


def searched(
    number: int = 40, seed: int = 0, response: Callable[[Mapping[str, Value]], float] = few, **more: Any
) -> Results:
    """A sweep in which every seventh trial was stopped and every eleventh failed."""
    empty = results(**more)
    generator = np.random.default_rng(seed)
    trials = [trial(BASELINE, metrics={"val/few": 30.0, "val/many": 92.0, "train/loss": 0.2})]
    for at in range(-1, number):
        values = empty.section.space.draw(generator)
        if at == DEFAULT and values.keys() == SPACE.keys():
            values = {"loss.gamma": 10.0, "loss.mu": 0.7, "train.optimizer.lr": 0.05, "loss.indicator": "positive"}
        score = response(values) + float(generator.normal())
        metrics = {"val/few": score, "val/many": 95 - 0.1 * score + float(generator.normal()), "train/loss": 1 / score}
        status: Status = (
            "finished" if at < 0 else "failed" if at % 11 == 10 else "stopped" if at % 7 == 6 else "finished"
        )
        if status == "failed":
            trials.append(trial(at, values, status=status, detail="RuntimeError: the loss is not finite\nTraceback"))
        elif status == "stopped":
            metrics = {name: value * 0.6 for name, value in metrics.items()}
            trials.append(trial(at, values, metrics, status=status, detail="asha"))
        else:
            trials.append(trial(at, values, metrics, status=status))
    return results(*trials, **more)
