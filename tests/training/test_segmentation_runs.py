"""A run of segmentation on a miniature of ADE20K, from the suite to its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from eqbench.run_folder import RunFolder
from eqbench.suite import load_suite
from eqbench.train_loop import train

from .tiny_runs import CPU, planned

SUITE: dict[str, Any] = {
    "name": "small",
    "tasks": [
        {
            "name": "segmentation",
            "task": "segmentation",
            "model": {"name": "segmentor", "architecture": "lraspp", "backbone": "resnet8", "width": 8},
            "data": {
                "name": "ade20k_miniature",
                "images": 60,
                "classes": 6,
                "size": 64,
                "crop_size": 32,
                "scale": [192, 48],
                "eval_scale": [192, 48],
                "ratio_range": [0.75, 1.5],
            },
        }
    ],
    "losses": ["softmax_eql"],
    "seeds": [0],
    "train": {
        "epochs": 10,
        "batch_size": 8,
        "deterministic": True,
        "evaluate_every_epochs": 10,
        "optimizer": {"name": "adamw", "lr": 0.01},
    },
}


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *overrides: str) -> tuple[RunFolder, Any]:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path / "data"))
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SUITE))
    (spec,) = load_suite(file, list(overrides)).expand()
    folder = planned(tmp_path / name, spec)
    return folder, train(spec, folder, CPU).evaluation


def test_a_miniature_of_ade20k_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who predicts the most frequent class everywhere has an mIoU below 10."""
    folder, evaluation = run(tmp_path, monkeypatch, "run")
    assert evaluation.metrics["miou"] > 30
    assert evaluation.metrics["pixel_accuracy"] > 70
    table = pq.read_table(folder.evaluation / "per_class.parquet")
    assert table.num_rows == 6
    assert (folder.samples / "rare-00-class-5.png").is_file()


def test_sliding_windows_judge_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("train.epochs=1", "train.evaluate_every_epochs=1")
    _, whole = run(tmp_path, monkeypatch, "whole", *few)
    folder, slide = run(tmp_path, monkeypatch, "slide", *few, "tasks.0.task={name: segmentation, inference: slide}")
    assert folder.read_spec().protocol == "miou:slide-32-21:last"
    assert slide.metrics["pixel_accuracy"] == pytest.approx(whole.metrics["pixel_accuracy"], abs=25)
    assert slide.metrics != whole.metrics
