"""Detection suites: what is refused before anything starts, in one message at its place in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eqbench.data.scenes import make
from eqbench.errors import InputError
from eqbench.run_spec import RunSpec
from eqbench.suite import load_suite

RETINANET = "retinanet/retinanet_r50_fpn_1x_coco"
FASTER_RCNN = "faster_rcnn/faster-rcnn_r50_fpn_1x_coco"
MASK_RCNN = "mask_rcnn/mask-rcnn_r50_fpn_1x_coco"
YOLOX = "yolox/yolox_s_8xb8-300e_coco"


@pytest.fixture(scope="module")
def lvis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lvis") / "miniature"
    make(root, images=20, classes=5, seed=0, size=64)
    return root


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def expand(
    lvis: Path, *losses: Any, config: str = FASTER_RCNN, task: Any = "detection", data: Any = None, **model: Any
) -> list[RunSpec]:
    suite = {
        "name": "small",
        "tasks": [
            {
                "name": "boxes",
                "task": task,
                "model": {"name": "mmdet_detector", "config": config, **model},
                "data": data or {"name": "lvis", "root": str(lvis)},
            }
        ],
        "losses": list(losses or ["bce"]),
        "seeds": [0],
        "train": {"epochs": 1, "batch_size": 4},
    }
    Path("suite.yaml").write_text(yaml.safe_dump(suite))
    return load_suite("suite.yaml").expand()


def refusal(lvis: Path, *losses: Any, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        expand(lvis, *losses, **changes)
    return str(refused.value)


@pytest.mark.parametrize("config", [FASTER_RCNN, MASK_RCNN])
def test_losses_for_regions(lvis: Path, config: str) -> None:
    fitting = [
        "cross_entropy",
        "bce",
        "focal",
        {"name": "eql", "lambda_": 0.1},
        "sigmoid_eql",
        "softmax_eql",
        "efl",
        {"name": "seesaw", "objectness": True},
        "group_softmax",
        "federated",
    ]
    assert len(expand(lvis, *fitting, config=config)) == len(fitting)


@pytest.mark.parametrize(
    ("loss", "config", "reason"),
    [
        ("ldam", FASTER_RCNN, "background"),
        ("balanced_softmax", FASTER_RCNN, "background"),
        ("seesaw", FASTER_RCNN, "objectness: true"),
        ("eqfl", FASTER_RCNN, "quality"),
        ("eqfl", RETINANET, "quality"),
        ("seesaw", RETINANET, "background"),
        ("cross_entropy", YOLOX, "columns"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused_with_the_reason(lvis: Path, loss: str, config: str, reason: str) -> None:
    said = refusal(lvis, loss, config=config)
    assert said.startswith("suite.yaml:")
    assert "losses[0]" in said
    assert reason in said


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": "retinanet/retinanet_r50_fpn_2x_koko"}, "retinanet/retinanet_r50_fpn_2x_coco"),
        ({"overrides": {"model.backbone.deepth": 18}}, "depth"),
        ({"overrides": {"model.roi_head.bbox_head.num_classes": 3}}, "num_classes"),
        ({"backbone_weights": "nowhere.pth"}, "nowhere.pth"),
        ({"backbone_weights": "torchvision:ResNet50_Weights.IMAGENET1K_V7"}, "IMAGENET1K_V2"),
        ({"bias_prior": 2.0}, "bias_prior"),
    ],
)
def test_a_model_that_could_not_be_built_is_refused(
    lvis: Path, changes: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said = refusal(lvis, **changes)
    assert "tasks[0].model" in said
    assert expected in said


def test_weights_that_are_not_there_are_refused(lvis: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    said = refusal(lvis, backbone_weights="torchvision:ResNet50_Weights.IMAGENET1K_V1")
    assert "resnet50-0676ba61.pth" in said


def test_masks_are_trained_on_data_with_masks_only(lvis: Path) -> None:
    without = {"name": "lvis", "root": str(lvis), "masks": False}
    assert "masks" in refusal(lvis, config=MASK_RCNN, data=without)
    assert expand(lvis, config=FASTER_RCNN, data=without)


def test_images_of_one_label_are_no_boxes(lvis: Path) -> None:
    assert "detection: needs a data set of boxes, which Digits is not" in refusal(lvis, data={"name": "digits"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"plain_from": 1.5}, "plain_from: 1.5, expected 0 to 1"),
        ({"pictures": -1}, "pictures: -1, expected at least 0"),
        ({"evaluator": "coco"}, "'coco', expected 'hotcoco' or 'lvis'"),
    ],
)
def test_options_out_of_range_are_refused(lvis: Path, options: dict[str, Any], expected: str) -> None:
    assert expected in refusal(lvis, task={"name": "detection", **options})


def damaged(lvis: Path, folder: Path, change: Any) -> dict[str, Any]:
    """The miniature with a changed training file."""
    (folder / "annotations").mkdir(parents=True)
    for name in ("train2017", "val2017", "annotations/lvis_v1_val.json"):
        (folder / name).symlink_to(lvis / name)
    content = json.loads((lvis / "annotations/lvis_v1_train.json").read_text())
    change(content)
    (folder / "annotations/lvis_v1_train.json").write_text(json.dumps(content))
    return {"name": "lvis", "root": str(folder)}


def test_annotations_that_are_wrong_are_refused(lvis: Path, tmp_path: Path) -> None:
    def wrong_category(content: dict[str, Any]) -> None:
        content["annotations"][3]["category_id"] = 99

    said = refusal(lvis, data=damaged(lvis, tmp_path / "wrong", wrong_category))
    assert "tasks[0].data" in said
    assert "lvis_v1_train.json" in said
    assert "99" in said


def test_the_place_of_the_data_is_no_part_of_a_run(lvis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(lvis)
    [here], [there] = expand(lvis), expand(elsewhere)
    assert here.run_id == there.run_id
    monkeypatch.chdir(elsewhere.parent)
    [relative] = expand(lvis, data={"name": "lvis", "root": "elsewhere"})
    assert relative.data.params["root"] == str(elsewhere)
    assert relative.run_id == here.run_id


def test_repeated_images_are_in_the_budget(lvis: Path) -> None:
    [plain] = expand(lvis)
    suite = yaml.safe_load(Path("suite.yaml").read_text())
    suite["train"]["sampler"] = {"name": "repeat_factor", "threshold": 0.5}
    Path("suite.yaml").write_text(yaml.safe_dump(suite))
    [repeated] = load_suite("suite.yaml").expand()
    assert repeated.budget.samples > plain.budget.samples
    assert repeated.run_id != plain.run_id


def test_annotations_that_could_not_be_judged_are_refused_before_training(lvis: Path, tmp_path: Path) -> None:
    """The evaluation file; what is wrong with it would show after the whole training."""
    folder = tmp_path / "without_area"
    (folder / "annotations").mkdir(parents=True)
    for name in ("train2017", "val2017", "annotations/lvis_v1_train.json"):
        (folder / name).symlink_to(lvis / name)
    content = json.loads((lvis / "annotations/lvis_v1_val.json").read_text())
    del content["annotations"][2]["area"]
    (folder / "annotations/lvis_v1_val.json").write_text(json.dumps(content))
    said = refusal(lvis, data={"name": "lvis", "root": str(folder)})
    assert "tasks[0].data" in said
    assert f"annotation {content['annotations'][2]['id']}: area is missing" in said


def test_an_edited_configuration_is_another_run(lvis: Path) -> None:
    own = Path("own.py")
    base = "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
    own.write_text(base)
    [first] = expand(lvis, config="own.py")
    own.write_text(base + "model = dict(rpn_head=dict(loss_bbox=dict(loss_weight=2.0)))\n")
    [edited] = expand(lvis, config="own.py")
    assert first.run_id != edited.run_id
    [drawn] = expand(lvis, config="own.py", task={"name": "detection", "pictures": 0})
    assert drawn.run_id == edited.run_id


def test_a_misspelt_transform_is_refused(lvis: Path) -> None:
    said = refusal(lvis, overrides={"train_pipeline.2.type": "Resizee"})
    assert "tasks[0].model" in said
    assert "Resizee" in said
