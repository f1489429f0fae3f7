"""Runs settings of the losses in processes of their own, and what the tables of CPU and GPU share."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.loss_peers import OURS, SWITCH
from tests.benchmarks.loss_settings import FIRST_OF_A_KERNEL, SETTINGS, Setting
from tests.benchmarks.loss_worker import THREADS
from tests.benchmarks.report import Table, progress

TIMEOUT_SECONDS = 600

Results = dict[str, dict[str, Any]]
"""By the setting's key, what its process wrote, or {"error": ...}."""


def run_settings(settings: Iterable[Setting], device: str, scratch: Path) -> tuple[Results, dict[str, float]]:
    """What was measured, and the first call's seconds in a second process for `FIRST_OF_A_KERNEL`."""
    scratch.mkdir(parents=True, exist_ok=True)
    results: Results = {}
    second: dict[str, float] = {}
    for setting in settings:
        progress(f"losses: {setting.loss}, {setting.size}, {setting.dtype}, {device}")
        results[setting.key] = run_setting(setting, device, "measure", scratch)
        if setting.key in FIRST_OF_A_KERNEL and "error" not in results[setting.key]:
            again = run_setting(setting, device, "first", scratch)
            if "error" not in again:
                second[setting.key] = again["first"]
    return results, second


def run_setting(setting: Setting, device: str, what: str, scratch: Path) -> dict[str, Any]:
    """What the process wrote; {"error": its last line} if it failed."""
    output = scratch / f"{setting.key}-{device}-{what}.json"
    cache = scratch / f"cache-{device}"
    environment = os.environ | {
        "OMP_NUM_THREADS": str(THREADS),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
    }
    environment.pop(SWITCH, None)
    module = ("-W", "ignore", "-m", "tests.benchmarks.loss_worker")
    command = [sys.executable, *module, setting.key, device, what, str(output)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {TIMEOUT_SECONDS} s"}
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        print(done.stderr, file=sys.stderr)
        return {"error": said[-1]}
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def measured_rows(
    setting: Setting, result: dict[str, Any], table: Table
) -> Iterator[tuple[tuple[str, str], dict[str, Any], dict[str, Any] | None]]:
    """Its label, blank after the first, with what was measured and ours; a row without numbers for what failed."""
    label = (f"`{setting.loss}`", setting.size)
    blank = [""] * (len(table.headings) - 4)
    if "error" in result:
        table.rows.append((*label, "", f"failed: {cell(result['error'])}", *blank))
        return
    ours = named(result, OURS)
    for row in result["measured"]:
        if row["error"] is not None:
            table.rows.append((*label, row["name"], f"failed: {cell(row['error'])}", *blank))
        else:
            yield label, row, ours
        label = ("", "")
    for name in result["missing"]:
        table.rows.append((*label, name, "not installed", *blank))


def first_calls(results: Results, second: dict[str, float], where: str) -> Table:
    table = Table(
        f"First call of a loss, {where}",
        "Seconds of the first step of ours in a process, compilation and its imports included: with empty caches of "
        "torch.compile and Triton, and in the next process, which finds them filled; one loss of each kernel. Beside "
        "it the step once warm.",
        ("loss", "empty caches, s", "next process, s", "warm, ms"),
    )
    for key, again in second.items():
        ours = named(results[key], OURS)
        warm = "" if ours is None else f"{1000 * statistics.median(ours['seconds']):.1f}"
        cold = results[key]["first"]
        label = f"`{SETTINGS[key].loss}`, {SETTINGS[key].size}"
        table.rows.append((label, f"{cold:.2f}", f"{again:.2f}", warm))
    return table


def named(result: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What was measured of one contestant; None if it was not."""
    found = (row for row in result.get("measured", ()) if row["name"] == name and row["error"] is None)
    return next(found, None)


def cell(text: str) -> str:
    """Text that fits a table."""
    return text.replace("|", "/")[:120]
