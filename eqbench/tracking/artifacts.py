"""The files that MLflow gets of a run, and under which names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eqbench import value_schedule
from eqbench.run_folder import RunFolder

TABLES = ("per_class.parquet", "predictions.parquet", "confusion.parquet")
LARGEST_TABLE = 8_000_000
"""Bytes."""


def final_artifacts(run: RunFolder, result: Mapping[str, Any] | None, scratch: Path) -> Iterator[tuple[Path, str]]:
    """Each file of a run that has ended with its folder in MLflow; `scratch` is a folder for what is put together."""
    if run.spec_file.exists():
        yield run.spec_file, "config"
    if (schedule := value_schedule.file_of(run)).exists():
        yield schedule, "config"
    environment = (result or {}).get("environment")
    if environment:
        file = scratch / "environment.json"
        file.write_text(json.dumps(environment, indent=1, sort_keys=True) + "\n")
        yield file, "environment"
    if result and result["status"] == "failed" and run.error_file.exists():
        yield run.error_file, ""
    parts = sorted(run.gradients.glob("*.parquet"), key=lambda part: int(part.stem))
    if parts:
        file = scratch / "gradients.parquet"
        concatenate(parts, file)
        yield file, ""
    yield from _evaluation(run, scratch)
    for folder in (run.plots, run.samples):
        for picture in sorted(folder.glob("*.png")):
            yield picture, folder.name


def _evaluation(run: RunFolder, scratch: Path) -> Iterator[tuple[Path, str]]:
    """The tables of the last evaluation that are there; of those too large for a server, where they are."""
    left_out = []
    for name in TABLES:
        file = run.evaluation / name
        if not file.exists():
            continue
        if (size := file.stat().st_size) < LARGEST_TABLE:
            yield file, "evaluation"
        else:
            left_out.append(f"{name} ({size / 1e6:.1f} MB) stays in the run's folder: {file}\n")
    if left_out:
        file = scratch / "left_out.txt"
        file.write_text("".join(left_out), encoding="utf-8")
        yield file, "evaluation"


def concatenate(parts: list[Path], target: Path) -> None:
    """Write the rows of all `parts`, in their order, as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts], promote_options="default"), target)
