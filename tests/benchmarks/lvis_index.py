"""The index of an annotation file of LVIS's size: building it, opening it, reading it, beside other readers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.lvis_index_worker import PEERS
from tests.benchmarks.lvis_size_file import ANNOTATIONS, CLASSES, IMAGES, write_lvis_size_file
from tests.benchmarks.report import Series, Table, progress

REPEATS = 3
SLOWEST_SECONDS = 900
MEBI = 2**20


def measure(scratch: Path) -> Iterator[Table]:
    """Every reader in a process of its own, one after the other."""
    scratch.mkdir(parents=True)
    file = scratch / "lvis_v1_train.json"
    progress("lvis_index: writing a file of LVIS's size")
    start = time.monotonic()
    write_lvis_size_file(file)
    progress(f"lvis_index: {file.stat().st_size / 1e6:.0f} MB in {time.monotonic() - start:.0f} s")
    built = [_run("build", file, scratch) for _ in range(REPEATS)]
    opened = [_run("open", file, scratch) for _ in range(REPEATS)]
    peers = {name: [_run(name, file, scratch)] for name in PEERS}
    pair = _run_pair(file, scratch)
    yield _loading(file, {"eqbench, index built": built, "eqbench, index opened": opened, **peers})
    yield _aims(built, opened, pair)
    file.unlink()


def _loading(file: Path, measured: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(
        f"Loading an annotation file of {file.stat().st_size / 1e6:.0f} MB",
        f"Seconds until annotations can be looked up, imports not counted: {IMAGES:,} images, {ANNOTATIONS:,} "
        f"annotations with polygons, {CLASSES:,} classes; generated, in the page cache. *Private*: Private_* in smaps, "
        f"with Python and all imports. Median and range of {REPEATS} processes for ours, one process for the others.",
        ("reader", "seconds", "peak memory, MiB", "private afterwards, MiB"),
    )
    for name, runs in measured.items():
        if "error" in runs[0]:
            table.rows.append((name, runs[0]["error"], "", ""))
            continue
        seconds = [run["seconds"] for run in runs]
        digits = 2 if max(seconds) >= 1 else 3
        columns = [[run[key] / MEBI for run in runs] for key in ("peak", "private")]
        table.rows.append((name, _shown(seconds, digits), *(_shown(values, 0) for values in columns)))
    return table


def _aims(built: list[dict[str, Any]], opened: list[dict[str, Any]], pair: list[dict[str, Any]]) -> Table:
    table = Table(
        "Aims of the index",
        "*After reading*: two processes at once have read the records of all images, polygons included, and the "
        "classes of each image for repeat-factor sampling; median and range of the two.",
        ("what", "aim", "measured", "reached"),
    )
    private = [run["private"] / MEBI for run in opened]
    both = [run["private_after"] / MEBI for run in pair]
    images = [run["record_microseconds"] for run in opened]
    for what, aim, unit, values, digits in (
        ("building", 25, "s", [run["seconds"] for run in built], 1),
        ("opening", 0.3, "s", [run["seconds"] for run in opened], 3),
        ("private memory, opened", 60, "MiB", private, 0),
        ("private memory, after reading", 60, "MiB", both, 0),
        ("record of an image, per 10 annotations", 100, "µs", images, 0),
    ):
        reached = "yes" if Series(values).median <= aim else "**no**"
        table.rows.append((what, f"at most {aim} {unit}", f"{_shown(values, digits)} {unit}", reached))
    size = opened[0]["index_bytes"] / 1e6
    table.rows.append(("index on disk", "", f"{size:.0f} MB", ""))
    return table


def _shown(values: list[float], digits: int) -> str:
    return str(Series(values, digits)) if len(values) > 1 else f"{values[0]:.{digits}f}"


def _start(what: str, file: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.lvis_index_worker", what, str(file), str(output)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def _finish(process: subprocess.Popen[str], output: Path) -> dict[str, Any]:
    _, errors = process.communicate(timeout=SLOWEST_SECONDS)
    if process.returncode:
        return {"error": f"failed: {errors.strip().splitlines()[-1:] or process.returncode}"}
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def _run(what: str, file: Path, scratch: Path) -> dict[str, Any]:
    progress(f"lvis_index: {what}")
    result = _finish(_start(what, file, scratch / "result.json"), scratch / "result.json")
    if "error" in result and what not in PEERS:
        raise RuntimeError(f"{what}: {result['error']}")
    return result


def _run_pair(file: Path, scratch: Path) -> list[dict[str, Any]]:
    """Two processes that have the index open together; each waits for the other before it looks at its memory."""
    progress("lvis_index: two processes")
    outputs = [scratch / f"pair{number}.json" for number in range(2)]
    processes = [_start("pair", file, output) for output in outputs]
    return [_finish(process, output) for process, output in zip(processes, outputs, strict=True)]
