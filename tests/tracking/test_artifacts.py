"""Which files of a run MLflow gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqbench.run_folder import RunFolder
from eqbench.tracking import artifacts


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.evaluation.mkdir(parents=True)
    return run


def evaluation(run: RunFolder, scratch: Path) -> list[Path]:
    return [file for file, folder in artifacts.final_artifacts(run, None, scratch) if folder == "evaluation"]


def test_small_tables_are_sent_and_of_large_ones_where_they_are(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "LARGEST_TABLE", 1000)
    sizes = {"per_class": 10, "predictions": 1000, "confusion": 999, "others": 10}
    files = {name: run.evaluation / f"{name}.parquet" for name in sizes}
    for name, size in sizes.items():
        files[name].write_bytes(b"x" * size)
    *tables, left_out = evaluation(run, tmp_path)
    assert tables == [files["per_class"], files["confusion"]]
    assert left_out.read_text() == f"predictions.parquet (0.0 MB) stays in the run's folder: {files['predictions']}\n"
    files["predictions"].unlink()
    assert evaluation(run, tmp_path) == tables


def test_a_run_without_files_has_none(run: RunFolder, tmp_path: Path) -> None:
    assert list(artifacts.final_artifacts(run, None, tmp_path)) == []
