"""Time and memory of the losses on a GPU, against the time it takes to read the logits and write the gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.loss_settings import BFLOAT16, FLOAT32, SETTINGS, Setting
from tests.benchmarks.loss_tables import Results, first_calls, measured_rows, run_settings
from tests.benchmarks.report import Series, Table, progress

AIM = 1.5


def measure(scratch: Path) -> Iterator[Table]:
    """Every setting in a process of its own; no table without a GPU."""
    import torch

    if not torch.cuda.is_available():
        progress("losses_gpu: no GPU, nothing to measure")
        return
    results, second = run_settings(SETTINGS.values(), "cuda", scratch)
    yield _times(FLOAT32, results)
    yield _times(BFLOAT16, results)
    yield first_calls(results, second, "GPU")


def _times(settings: Sequence[Setting], results: Results) -> Table:
    measured = [results[setting.key] for setting in settings if "error" not in results[setting.key]]
    name = measured[0]["device"] if measured else "the GPU"
    bandwidth = Series([result["bandwidth"] / 1e12 for result in measured] or [float("nan")], digits=2)
    table = Table(
        f"Losses on {name}, {settings[0].dtype}",
        "As on the CPU. *Device*: between two CUDA events, with the launches queued ahead and the caches swept before. "
        "*Waited for*: from Python, with a synchronisation before and after. *Over the floor*: device time over "
        "that of reading the logits once and writing the gradient once at the bandwidth of a copy of 1 GiB, measured "
        f"here as {bandwidth} TB/s. Aim for ours: at most {AIM}.",
        ("loss", "logits", "implementation", "device, ms", "waited for, ms", "over the floor", "extra memory"),
    )
    for setting in settings:
        result = results[setting.key]
        for label, row, _ours in measured_rows(setting, result, table):
            device = Series([1000 * seconds for seconds in row["seconds"]], digits=3)
            wall = Series([1000 * seconds for seconds in row["wall"]], digits=3)
            floor = 1000 * 2 * setting.bytes / result["bandwidth"]
            memory = f"{row['extra_bytes'] / setting.bytes:.2f}"
            table.rows.append((*label, row["name"], device, wall, f"{device.median / floor:.2f}", memory))
    return table
