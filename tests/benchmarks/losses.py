"""Time and memory of the losses on 2 CPU threads, beside what else computes them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.loss_peers import OURS
from tests.benchmarks.loss_settings import BFLOAT16, EAGER, FLOAT32, SETTINGS, Setting
from tests.benchmarks.loss_tables import Results, first_calls, measured_rows, named, run_settings
from tests.benchmarks.loss_worker import ROUNDS, THREADS, WARM_UP
from tests.benchmarks.report import Series, Table

HALF = ("efl-22400x1203-bfloat16", "sigmoid_eql-8192x1204-bfloat16", "softmax_eql-8192x1204-bfloat16")
"""What is measured in bfloat16 here; on a GPU everything is."""


@dataclass(frozen=True)
class Target:
    """`against` takes `times` as long as ours at least; with `slower`, ours takes at most `times` as long."""

    key: str
    against: str
    times: float
    slower: bool = False
    extra_memory: float | None = None


TARGETS = (
    Target("efl-22400x1203-float32", EAGER, 20, extra_memory=1.3),
    Target("focal-22400x1203-float32", "torchvision focal", 8),
    Target("sigmoid_eql-8192x1204-float32", "mmdet EQLV2Loss", 15),
    Target("sigmoid_eql-1024x1204-float32", "mmdet EQLV2Loss", 6),
    Target("softmax_eql-8192x1204-float32", "torch cross entropy", 1.2, slower=True),
    Target("softmax_eql-4x150x512x512-float32", "torch cross entropy", 1.2, slower=True),
    Target("seesaw-8192x1204-float32", "mmdet SeesawLoss", 10),
    Target("seesaw-8192x1204-float32-foreground", "mmdet SeesawLoss", 10),
)


def measure(scratch: Path) -> Iterator[Table]:
    """Every setting in a process of its own."""
    half = [setting for setting in BFLOAT16 if setting.key in HALF]
    results, second = run_settings((*FLOAT32, *half), "cpu", scratch)
    yield _times(FLOAT32, results)
    yield _times(half, results)
    yield _targets(results)
    yield first_calls(results, second, "CPU")


def _times(settings: Sequence[Setting], results: Results) -> Table:
    table = Table(
        f"Losses on {THREADS} CPU threads, {settings[0].dtype}",
        "One step: forward, backward and, of ours and the eager spellings, gradient statistics folded in. One-hot "
        "targets are made inside. Weights and counts come from the steps before; a quarter of the samples is "
        "foreground, of pixels 8 % are ignored. All of a setting take turns, "
        f"{ROUNDS[0]} to {ROUNDS[1]} rounds after {WARM_UP} steps: median and range. *Against ours*: the median of the "
        "rounds' ratios. *Extra memory*: peak of a step beyond the logits and the loss's state, over the logits' "
        "size; the gradient itself is 1.",
        ("loss", "logits", "implementation", "ms", "against ours", "extra memory"),
    )
    for setting in settings:
        for label, row, ours in measured_rows(setting, results[setting.key], table):
            times = [1000 * seconds for seconds in row["seconds"]]
            milliseconds = Series(times, digits=1 if statistics.median(times) >= 10 else 2)
            memory = f"{row['extra_bytes'] / setting.bytes:.2f}"
            table.rows.append((*label, row["name"], milliseconds, _against(row, ours), memory))
    return table


def _targets(results: Results) -> Table:
    table = Table(
        f"Aims on {THREADS} CPU threads",
        "Float32, from the same rounds as above; median and range of the rounds' ratios.",
        ("loss", "logits", "against", "aim", "measured", "reached"),
    )
    for target in TARGETS:
        setting = SETTINGS[target.key]
        label = (f"`{setting.loss}`", setting.size)
        ours, other = (named(results[setting.key], name) for name in (OURS, target.against))
        aim = f"at most {target.times:g} × its time" if target.slower else f"at least {target.times:g} × faster"
        if ours is None or other is None:
            table.rows.append((*label, target.against, aim, "not measured", "no"))
            continue
        ratio = _ratios(ours, other) if target.slower else _ratios(other, ours)
        reached = ratio.median <= target.times if target.slower else ratio.median >= target.times
        table.rows.append((*label, target.against, aim, ratio, "yes" if reached else "**no**"))
        if target.extra_memory is not None:
            memory = ours["extra_bytes"] / setting.bytes
            aim = f"extra memory at most {target.extra_memory:g} × the logits"
            reached = memory <= target.extra_memory
            table.rows.append((*label, "", aim, f"{memory:.2f}", "yes" if reached else "**no**"))
    return table


def _ratios(row: dict[str, Any], other: dict[str, Any]) -> Series:
    pairs = zip(row["seconds"], other["seconds"], strict=True)
    return Series([seconds / others for seconds, others in pairs], digits=2)


def _against(row: dict[str, Any], ours: dict[str, Any] | None) -> str:
    return "" if ours is None else f"{_ratios(row, ours).median:.2f} ×"
