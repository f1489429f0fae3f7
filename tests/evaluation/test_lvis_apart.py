"""Evaluation in another process: the same numbers, a user's mistake as such, and a death that costs nothing else."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import lvis_scenes
import numpy as np
import psutil
import pytest

from eqbench.errors import InputError
from eqbench.evaluation import apart
from eqbench.evaluation.apart import EvaluationFailed, evaluate_apart, memory_needed
from eqbench.evaluation.lvis import IouType, evaluate
from eqbench.evaluation.predictions import ShardWriter

KINDS: tuple[IouType, ...] = ("bbox", "segm")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """An annotation file and a shard."""
    tmp_path = tmp_path_factory.mktemp("files")
    content = lvis_scenes.annotated(0)
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps(content))
    results = lvis_scenes.detected(content, 0, masks=True)
    with ShardWriter(tmp_path / "predictions.arrow", masks=True) as writer:
        for image in content["images"]:
            here = [each for each in results if each["image_id"] == image["id"]]
            masks = [each["segmentation"] for each in here]
            boxes = np.tile([10, 10, 60, 60], (len(here), 1))
            scores, categories = ([each[key] for each in here] for key in ("score", "category_id"))
            writer.add(image["id"], boxes, scores, categories, masks)
    return annotations, [tmp_path / "predictions.arrow"]


class Killer(threading.Thread):
    """Kills every process below this one whose command line has `name`, until it is told to stop."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name_of_victims, self.killed = name, 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.01):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if self.name_of_victims in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                        process.kill()
                        self.killed += 1
                        while process.status() != psutil.STATUS_ZOMBIE:  # to wait for it would take its exit code away
                            time.sleep(0.01)

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()


def check_everything(files: tuple[Path, list[Path]], tmp_path: Path, victim: str, attempts: int, reason: str) -> None:
    """The numbers of this process, a user's mistake, a death, and the numbers again."""
    annotations, shards = files
    results = evaluate_apart(annotations, shards, KINDS, 20, exhaustive=True, memory_bytes=2**60)
    expected = {kind: evaluate(annotations, shards, kind, 20, exhaustive=True) for kind in KINDS}
    assert repr(results) == repr(expected)
    assert results["segm"]["ap"] > 0.05
    other = tmp_path / "other.json"
    other.write_text(annotations.read_text().replace('"neg_category_ids"', '"negative"', 1))
    with pytest.raises(InputError, match=r"other\.json: image \d+: neg_category_ids is missing"):
        evaluate_apart(other, shards)

    waiting = tmp_path / "waiting.json"
    os.mkfifo(waiting)  # who reads it waits
    with Killer(victim) as killer, pytest.raises(EvaluationFailed, match=reason):
        evaluate_apart(waiting, shards)
    assert killer.killed == attempts
    assert repr(evaluate_apart(annotations, shards)) == repr({"bbox": evaluate(annotations, shards)})


def test_in_a_child_process(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    reason = "its process was killed by SIGKILL, probably out of memory"
    check_everything(files, tmp_path, "eqbench.evaluation.apart", 1, reason)


def test_failures_of_the_child_have_a_reason(files: tuple[Path, list[Path]], tmp_path: Path) -> None:
    annotations, [whole] = files
    shard = tmp_path / "predictions.arrow"
    shard.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(EvaluationFailed, match=r"predictions\.arrow: not a complete shard of predictions"):
        evaluate_apart(annotations, [shard])
    with pytest.raises(EvaluationFailed, match="evaluation failed: ValueError: iou_type 'masks'") as caught:
        evaluate_apart(annotations, [shard], ["masks"])  # type: ignore[list-item]
    assert "Traceback" in "".join(caught.value.__notes__)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_in_ray(files: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "ATTEMPTS", 2)
    reason = "its Ray worker was lost 2 times, probably out of memory"
    check_everything(files, tmp_path, "ray::evaluation", 2, reason)


def test_memory_grows_with_the_files(files: tuple[Path, list[Path]]) -> None:
    annotations, shards = files
    sizes = annotations.stat().st_size + shards[0].stat().st_size
    assert 2 * sizes <= memory_needed(annotations, shards, "hotcoco") - 2**29 <= 3 * sizes
    assert memory_needed(annotations, shards, "lvis") > memory_needed(annotations, shards, "hotcoco")
