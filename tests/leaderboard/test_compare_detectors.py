"""Comparing runs of detectors: their stored predictions are matched with the annotations of the data set again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from written_suites import make_spec, write_run

from eqbench.evaluation import resampled_ap
from eqbench.evaluation.detections import metrics
from eqbench.evaluation.lvis import evaluate
from eqbench.evaluation.predictions import ShardWriter
from eqbench.leaderboard.compare import Comparison, compare
from eqbench.leaderboard.comparison_table import render
from eqbench.leaderboard.stored_detections import annotation_file
from eqbench.run_folder import RunFolder, SuiteFolder

IMAGES = 30
BOX = np.array([10.0, 10.0, 30.0, 30.0])
ELSEWHERE = BOX + 50


def content_of_a_file() -> dict[str, Any]:
    """An object in each image, of three classes by turns."""
    return {
        "images": [
            {"id": i, "height": 100, "width": 100, "neg_category_ids": [], "not_exhaustive_category_ids": []}
            for i in range(1, IMAGES + 1)
        ],
        "categories": [{"id": 5 + i, "name": f"class {i}", "frequency": group} for i, group in enumerate("fcr")],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 5 + i % 3,
                "bbox": [10, 10, 20, 20],
                "area": 400,
                "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
            }
            for i in range(1, IMAGES + 1)
        ],
    }


def write_detector(folder: SuiteFolder, file: Path, loss: str, found_in: int, masks: bool = False) -> RunFolder:
    """A finished run that finds the object in the first so many images, and nothing but background in the others."""
    from hotcoco import mask

    params = {"root": str(file.parents[1]), "version": "v1", "masks": masks}
    spec = make_spec("lvis", loss, data={"name": "lvis", "params": params})
    run = write_run(folder, spec, {})
    shards = [run.evaluation / f"predictions-{rank:05d}.arrow" for rank in range(2)]
    for rank, shard in enumerate(shards):
        with ShardWriter(shard, masks) as writer:
            for i in range(1 + rank, IMAGES + 1, 2):
                box = BOX if i <= found_in else ELSEWHERE
                encoding = mask.fr_bbox([box[0], box[1], 20, 20], 100, 100)
                writer.add(i, [box], [0.5 + i / 100], [5 + i % 3], [encoding] if masks else None)
    results = {kind: evaluate(file, shards, kind) for kind in (("bbox", "segm") if masks else ("bbox",))}
    table: dict[str, list[Any]] = {
        "class_id": [0, 1, 2],
        "class_name": ["class 0", "class 1", "class 2"],
        "group": list("fcr"),
        "count": [9, 5, 1],
    }
    for kind, numbers in results.items():
        table["ap" if kind == "bbox" else "mask_ap"] = [100 * value for value in numbers["per_class"].values()]
    pq.write_table(pa.table(table), run.evaluation / "per_class.parquet")
    numbers = {name: None if np.isnan(value) else value for name, value in metrics(results).items()}
    result = run.read_result() or {}
    run.write_result({**result, "main_metric": "ap", "metrics": numbers})
    return run


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resampled_ap, "MOST", 200)
    path = tmp_path / "lvis" / "annotations" / "lvis_v1_val.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content_of_a_file()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> SuiteFolder:
    folder = SuiteFolder(tmp_path / "runs", "detectors")
    folder.create()
    return folder


def text_of(comparison: Comparison) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(render(comparison))
    return " ".join(capture.get().split())


def test_intervals_of_boxes_and_masks(folder: SuiteFolder, file: Path) -> None:
    good, bad = (write_detector(folder, file, loss, number, masks=True) for loss, number in (("a", 25), ("b", 8)))
    worse, better, same = compare(good, bad), compare(bad, good), compare(good, good)
    names = {"ap", "ap50", "ap75", "ap_f", "ap_c", "ap_r", "ap50_f", "ar"}
    assert names | {f"mask_{name}" for name in names - {"ar", "ap50_f"}} <= set(worse.over_images)
    assert (worse.images, worse.resamples, worse.notes) == (IMAGES, 200, ())
    for name in ("ap", "ap_r", "mask_ap"):
        interval = worse.over_images[name]
        assert interval.high < 0
        assert better.over_images[name][:2] == pytest.approx((-interval.high, -interval.low))
        assert same.over_images[name] == (0.0, 0.0, 1.0)
    assert worse.over_images["ap"].low < worse.metrics[0].difference < worse.over_images["ap"].high
    assert [each.regression for each in (worse, better, same)] == [True, False, False]
    assert "200 resamples of the 30 evaluated images for the metrics" in text_of(worse)
    assert worse.as_dict()["bootstrap"]["resamples"] == {"images": 200, "classes": 2000}


def test_one_object_may_be_chance(folder: SuiteFolder, file: Path) -> None:
    a, b = (write_detector(folder, file, loss, number) for loss, number in (("a", 25), ("b", 24)))
    comparison = compare(a, b)
    assert comparison.metrics[0].difference < 0
    assert not comparison.regression
    assert "mask_ap" not in comparison.over_images


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("gone", "no bootstrap over images: the annotations are needed for it: .*no such folder"),
        ("other", "no bootstrap over images: the predictions stored for .* give ap .*, and its result is"),
        ("classes", "no bootstrap over images: .* has 4 categories, the result 3"),
        ("broken", "no bootstrap over images: .*predictions-00001.arrow: not a complete shard of predictions"),
        ("lost", "no bootstrap over images: 15 of 30 images were not predicted"),
        ("no shards", "no bootstrap over images: no predictions by image are stored for"),
    ],
)
def test_without_what_is_needed_the_reason_is_said(folder: SuiteFolder, file: Path, change: str, reason: str) -> None:
    a, b = (write_detector(folder, file, loss, number) for loss, number in (("a", 25), ("b", 8)))
    content = content_of_a_file()
    shards = sorted(b.evaluation.glob("*.arrow"))
    if change == "gone":
        file.parents[1].rename(file.parents[2] / "elsewhere")
    elif change == "other":
        content["annotations"][0]["bbox"] = [60, 60, 20, 20]
        file.write_text(json.dumps(content))
    elif change == "classes":
        content["categories"].append({"id": 99, "name": "another", "frequency": "r"})
        file.write_text(json.dumps(content))
    elif change == "broken":
        shards[1].write_bytes(shards[1].read_bytes()[:100])
    elif change == "lost":
        shards[1].unlink()
    else:
        for shard in shards:
            shard.unlink()
    comparison = compare(a, b)
    assert comparison.over_images == {}
    (note,) = comparison.notes
    assert re.match(reason, note), note


@pytest.mark.parametrize("name", ["lvis_miniature", "coco_format"])
def test_where_annotations_are(tmp_path: Path, name: str) -> None:
    params: dict[str, Any] = {"root": str(tmp_path)}
    if name == "coco_format":
        params |= {"eval_annotations": "val.json"}
        file = tmp_path / "val.json"
    else:
        params |= {"images": 20, "classes": 5, "seed": 1, "size": 64, "masks": True}
        file = tmp_path / "lvis_miniature_v1_i20_c5_s1_64px" / "annotations" / "lvis_v1_val.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    spec = make_spec(data={"name": name, "params": params})
    assert annotation_file(spec) == (file, name == "coco_format")
