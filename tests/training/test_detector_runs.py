"""Detectors in the training loop: killed and resumed, on two workers, judged and drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from eqbench.data.lvis_miniature import LVISMiniature
from eqbench.evaluation.predictions import read_shards
from eqbench.run_folder import RunFolder
from eqbench.run_spec import RunSpec
from eqbench.tasks.detection import Detection
from eqbench.train_loop import train

from .detector_runs import MINIATURE, detector_spec, weights
from .same_runs import assert_same_run, last_state
from .tiny_runs import CPU, attempt, in_group, planned

KILLED = -9
Uninterrupted = Callable[[RunSpec], RunFolder]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


@pytest.fixture(scope="session")
def miniature(root: Path) -> LVISMiniature:
    return LVISMiniature(**MINIATURE, root=root)


def test_a_detector_killed_and_resumed_equals_one_that_never_was(
    root: Path, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """Killed in step 3, after the checkpoint of 2; images are loaded in other processes in one of the attempts."""
    spec = detector_spec(root, record_every=2, checkpoint_minutes=0)
    run = planned(tmp_path / "run", detector_spec(root, record_every=2, checkpoint_minutes=0, loader_processes=1))
    assert attempt(run, die_at_step=3) == KILLED
    assert run.newest_checkpoint == 2
    run.write_spec(spec)
    assert attempt(run) == 0
    assert_same_run(run, uninterrupted(spec))


def test_what_a_run_leaves(root: Path, miniature: LVISMiniature, uninterrupted: Uninterrupted) -> None:
    run = uninterrupted(detector_spec(root, record_every=2, checkpoint_minutes=0))
    result = run.read_result()
    assert result is not None
    assert result["status"] == "finished"
    assert list(result["metrics"]) == list(Detection.metrics)
    table = pq.read_table(run.evaluation / "per_class.parquet").to_pydict()
    assert table["class_name"] == list(miniature.class_names)
    assert table["count"] == miniature.class_counts.tolist()
    assert {"ap", "mask_ap", "group", "images"} <= table.keys()
    [shard] = run.evaluation.glob("predictions-*")
    assert sorted(id_ for rows in read_shards([shard]) for id_ in rows.image_ids) == sorted(miniature.eval.image_ids)
    assert len(list(run.samples.glob("rare-*.png"))) == 2
    gradients = pq.read_table(max(run.gradients.glob("*.parquet"))).to_pydict()
    assert sum(gradients["negative"]) > 0
    assert set(gradients["group"]) <= {"f", "c", "r"}
    names = {name for event in run.read_events() for name in event["metrics"]}
    assert {f"gradient/ratio_{group}" for group in miniature.groups} <= names


def outcome(run: RunFolder) -> tuple[dict[str, float], torch.Tensor]:
    finished = train(run.read_spec(), run, CPU)
    return finished.evaluation.metrics, weights(last_state(run))


def test_two_workers_share_images_and_agree(root: Path, miniature: LVISMiniature, tmp_path: Path) -> None:
    """The last of three steps of seven images has an odd number of them, and five are left for a fourth of seven."""
    run = planned(tmp_path / "run", detector_spec(root, batch_size=7, iterations=3, num_workers=2))
    (metrics, one), (others, other) = in_group(2, outcome, run)
    assert {key: value for key, value in metrics.items() if value == value} == {
        key: value for key, value in others.items() if value == value
    }
    assert torch.equal(one, other)
    assert bool(one.isfinite().all())
    shards = sorted(run.evaluation.glob("predictions-*"))
    assert len(shards) == 2
    predicted = [id_ for rows in read_shards(shards) for id_ in rows.image_ids]
    assert sorted(predicted) == sorted(miniature.eval.image_ids)


def test_a_worker_without_an_image_trains_along(root: Path, tmp_path: Path) -> None:
    """The third and last step of an epoch has one image for two workers."""
    spec = detector_spec(root, batch_size=9, iterations=3, num_workers=2)
    assert spec.budget.samples_per_epoch % 9 == 1
    run = planned(tmp_path / "run", spec)
    (_, one), (_, other) = in_group(2, outcome, run)
    assert torch.equal(one, other)
