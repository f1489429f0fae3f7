"""The files that MLflow gets of a run, and under which names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eqbench import value_schedule
from eqbench.run_folder import RunFolder


def final_artifacts(run: RunFolder, result: Mapping[str, Any] | None, scratch: Path) -> Iterator[tuple[Path, str]]:
    """Each file of a run that has ended with its folder in MLflow; `scratch` is a folder for what is put together."""
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
    per_class = run.evaluation / "per_class.parquet"
    if per_class.exists():
        yield per_class, "evaluation"
    for folder in (run.plots, run.samples):
        for picture in sorted(folder.glob("*.png")):
            yield picture, folder.name


def concatenate(parts: list[Path], target: Path) -> None:
    """Write the rows of all `parts`, in their order, as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts], promote_options="default"), target)
