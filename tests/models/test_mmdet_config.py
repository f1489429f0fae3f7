"""mmdet's configurations by name, changed by a user, and the weights that backbones start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eqbench.errors import InputError
from eqbench.models.mmdet_config import check_weights, load_weights, read
from eqbench.models.mmdet_config.configuration import set_classes
from eqbench.models.mmdet_config.files import configurations, known
from eqbench.models.mmdet_config.resizing import BatchResize

pytest.importorskip("mmdet")

MASKED, RETINA = "lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1", "retinanet/retinanet_r50_fpn_1x_coco"
CASCADE, YOLOX = "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco", "yolox/yolox_s_8xb8-300e_coco"


# -- names -------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert {MASKED, RETINA, CASCADE, YOLOX} <= set(known(configurations()))
    assert read(f"{RETINA}.py", {}).model == read(RETINA, {}).model


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retinanet/retinanet_r50_fpn_1x_coc", RETINA),
        ("retinanet_r50_fpn_1x_coco", RETINA),
        ("mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py", MASKED),
        ("nowhere/retinanet_r50_fpn_1x_coco.py", RETINA),
    ],
)
def test_the_nearest_name_is_offered(name: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"^config: '{name}': expected .* did you mean '{meant}'"):
        read(name, {})


def test_a_file(tmp_path: Path) -> None:
    contents = {
        "mine": f"_base_ = {str(configurations() / RETINA)!r} + '.py'\nmodel = dict(backbone=dict(depth=18))\n",
        "cut": "model = dict(\n",
        "empty": "x = 1\n",
    }
    files = {name: tmp_path / f"{name}.py" for name in contents}
    for name, file in files.items():
        file.write_text(contents[name])
    assert read(str(files["mine"]), {}).model["backbone"]["depth"] == 18
    with pytest.raises(InputError, match=r"^config: \S+cut.py cannot be read: SyntaxError"):
        read(str(files["cut"]), {})
    with pytest.raises(InputError, match=r"empty.py' has no model"):
        read(str(files["empty"]), {})


# -- overrides ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.backbone.dept", 18, "model.backbone has no 'dept'; did you mean 'depth'?"),
        ("model.bakbone.depth", 18, "model has no 'bakbone'; did you mean 'backbone'?"),
        ("modle.backbone.depth", 18, "expected a key below model, train_pipeline, test_pipeline"),
        ("train_dataloader.batch_size", 4, "expected a key below model"),
        ("model.backbone.depth.x", 18, "model.backbone.depth is 50, which has no keys"),
        ("train_pipeline.5.scale", [9, 9], "train_pipeline is a list of 5, expected 0..4 for '5'"),
        ("train_pipeline.-1.scale", [9, 9], "expected 0..4 for '-1'"),
        ("train_pipeline.2.scals", [9, 9], "train_pipeline.2 has no 'scals'; did you mean 'scales'?"),
        ("model.test_cfg.rcnn.score_th", 0.1, "did you mean 'score_thr'?"),
        ("model.train_cfg.rcnn.debugg", True, "did you mean 'debug'?; to add a key, give the whole mapping"),
        ("model.roi_head.bbox_head.num_classes", 7, "the data set decides it"),
        ("model.roi_head.bbox_head.loss_cls.type", "X", "the loss of the run takes its place"),
        ("model.roi_head.bbox_head", {"loss_cls": {}}, "'model.roi_head.bbox_head.loss_cls': the loss of the run"),
        ("model.backbone.init_cfg", None, "backbone_weights say what it starts from"),
        ("model.backbone.dcn.type", "DCNv2", "model.backbone.dcn is not set: give the whole mapping"),
        ("model.backbone", {"deph": 18}, "'model.backbone.deph': model.backbone has no 'deph'; did you mean 'depth'?"),
    ],
)
def test_an_override_that_does_not_fit(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(MASKED, {key: value})
    assert message in str(caught.value)
    assert str(caught.value).startswith("overrides: ")
    assert MASKED in str(caught.value)


def test_overrides() -> None:
    overrides: dict[str, Any] = {
        "model.backbone.depth": 18,
        "model.backbone.base_channels": 16,  # a parameter of ResNet that the file does not set
        "model.backbone.out_indices": [0, 1, 2, 3],
        "model.neck.out_channels": 32,
        "model.roi_head.mask_head.in_channels": 24,
        "model.roi_head.bbox_head": {"type": "ConvFCBBoxHead", "num_shared_fcs": 1, "fc_out_channels": 8},
        "model.test_cfg.rcnn.nms": {"_delete_": True, "type": "soft_nms", "min_score": 0.1},
        "model.rpn_head.anchor_generator.ratios": [1.0],
        "train_pipeline.2.scales": [[96, 96], [128, 96]],
        "test_pipeline.1.scale": [96, 64],
    }
    found = read(MASKED, overrides)
    model, head = found.model, found.model["roi_head"]["bbox_head"]
    assert (model["backbone"]["depth"], model["backbone"]["base_channels"]) == (18, 16)
    assert model["backbone"]["out_indices"] == (0, 1, 2, 3)
    assert model["neck"]["in_channels"] == [16, 32, 64, 128]  # follows
    assert model["rpn_head"]["in_channels"] == head["in_channels"] == 32
    assert model["roi_head"]["bbox_roi_extractor"]["out_channels"] == 32
    assert model["roi_head"]["mask_head"]["in_channels"] == 24  # set
    assert (head["type"], head["num_shared_fcs"], head["roi_feat_size"]) == ("ConvFCBBoxHead", 1, 7)
    assert model["test_cfg"]["rcnn"]["nms"] == {"type": "soft_nms", "min_score": 0.1}
    assert model["rpn_head"]["anchor_generator"]["ratios"] == [1.0]
    assert found.train_pipeline[2]["scales"] == [(96, 96), (128, 96)]
    assert found.test_pipeline[1]["scale"] == (96, 64)
    assert read(MASKED, {}).model["backbone"]["depth"] == 50  # the file itself is as it was
    assert read(MASKED, {"model.neck.in_channels": [1], "model.backbone.depth": 18}).model["neck"]["in_channels"] == [1]


def test_replaced_parts_of_pipelines() -> None:
    found = read(YOLOX, {"train_pipeline.0.img_scale": [64, 64], "train_pipeline.5": {"scale": [64, 64]}})
    assert [transform["type"] for transform in found.train_pipeline[:3]] == [
        "LoadImageFromFile",
        "LoadAnnotations",
        "Mosaic",
    ]
    assert found.train_pipeline[2]["img_scale"] == (64, 64)
    assert found.train_pipeline[7] == {"type": "Resize", "scale": (64, 64), "keep_ratio": True}
    whole = [{"type": "LoadImageFromFile"}, {"type": "RandomResize", "scale": [[9, 9], [8, 8]]}]
    assert read(YOLOX, {"train_pipeline": whole}).train_pipeline[1]["scale"] == [(9, 9), (8, 8)]


# -- for the data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MASKED, RETINA, CASCADE, YOLOX, "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco"])
def test_nothing_is_downloaded(name: str) -> None:
    found = read(name, {})
    assert "Pretrained" not in str(found.model)
    assert "://" not in str(found.model)
    assert all(transform["type"] != "LoadAnnotations" for transform in found.test_pipeline)
    assert found.train_pipeline[0]["type"] == found.test_pipeline[0]["type"] == "LoadImageFromFile"


def test_the_number_of_classes_reaches_every_head() -> None:
    found = read(CASCADE, {})
    set_classes(found, 7)
    regions = found.model["roi_head"]
    assert [head["num_classes"] for head in regions["bbox_head"]] == [7, 7, 7]
    assert regions["mask_head"]["num_classes"] == 7
    assert list(found.heads()) == [f"roi_head.bbox_head.{stage}" for stage in range(3)]
    assert (found.has_masks, read(RETINA, {}).has_masks) == (True, False)
    assert (read(MASKED, {}).most_detections, read(YOLOX, {}).most_detections) == (300, None)
    assert read(YOLOX, {"model.test_cfg.max_per_img": 20}).most_detections == 20


def test_stages_that_share_a_configuration_get_one_each(tmp_path: Path) -> None:
    file = tmp_path / "stages.py"
    regions = "dict(type='CascadeRoIHead', num_stages=2, bbox_head=dict(type='BBoxHead'))"
    pipelines = "train_pipeline = test_pipeline = [dict(type='LoadImageFromFile')]"
    file.write_text(f"model = dict(type='CascadeRCNN', roi_head={regions})\n{pipelines}\n")
    first, second = read(str(file), {}).heads().values()
    assert first == second
    assert first is not second


def test_a_detector_without_heads_for_boxes() -> None:
    with pytest.raises(InputError, match="MaskFormer has no bbox_head"):
        read("maskformer/maskformer_r50_ms-16xb1-75e_coco", {}).heads()


# -- weights -----------------------------------------------------------------------------------------------------


class Body(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def saved(tmp_path: Path, change: Any = None, wrap: Any = None) -> str:
    state = dict(Body().state_dict())
    state["fc.weight"] = torch.zeros(2, 4)
    if change:
        change(state)
    torch.save(wrap(state) if wrap else state, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "wrap",
    [None, lambda state: {"state_dict": state}, lambda state: {f"backbone.{key}": part for key, part in state.items()}],
)
def test_weights(tmp_path: Path, wrap: Any) -> None:
    name = saved(tmp_path, lambda state: state.pop("1.num_batches_tracked"), wrap)
    body = Body()
    load_weights(body, name)
    content = torch.load(name, weights_only=True)
    content = content.get("state_dict", content)
    given = {key.removeprefix("backbone."): part for key, part in content.items()}
    assert all(torch.equal(part, given[key]) for key, part in body.state_dict().items() if key in given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "has no '0.bias', which this Body has"),
        (
            lambda state: state.update({"0.weight": torch.zeros(9, 3, 3, 3)}),
            r"'0.weight' has shape \(9, 3, 3, 3\), expected",
        ),
        (lambda state: state.update({"2.weight": torch.zeros(1)}), "has '2.weight', which this Body has not"),
        (lambda state: state.clear(), "has no '0.bias'"),
        (lambda state: state.update(x=3), "expected a mapping of names to tensors"),
    ],
)
def test_weights_of_another_network(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^backbone_weights: .*weights.pth: {message}"):
        load_weights(Body(), saved(tmp_path, change))


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "torchvision:ResNet50_Weights.IMAGENET1K_V1"
    with pytest.raises(
        InputError, match=r"hub/checkpoints/resnet50-0676ba61.pth is missing; download https://\S+ to it"
    ):
        check_weights(name, {})
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet50-0676ba61.pth").write_bytes(b"")
    check_weights(name, {"style": "pytorch"})
    with pytest.raises(InputError, match="style caffe"):
        check_weights(name, {"style": "caffe"})
    with pytest.raises(InputError, match="not a file of tensors"):
        load_weights(Body(), name)
    with pytest.raises(InputError, match=r"no such weights; did you mean 'ResNet50_Weights.IMAGENET1K_V"):
        check_weights("torchvision:ResNet50_Weights.IMAGENET1K", {})
    with pytest.raises(InputError, match=r"^backbone_weights: /nowhere/w.pth: no such file"):
        check_weights("/nowhere/w.pth", {})


# -- batches of changing size ------------------------------------------------------------------------------------


def test_batches_change_their_size_and_go_on_after_a_resume() -> None:
    def sizes(resize: BatchResize, count: int) -> list[tuple[int, ...]]:
        return [tuple(resize(torch.zeros(1, 3, 64, 128), [])[0].shape[2:]) for _ in range(count)]

    whole = sizes(BatchResize((64, 256), interval=2), 12)
    assert whole[:2] == [(64, 128)] * 2
    assert whole[2::2] == whole[3::2]
    assert len(set(whole)) > 2
    assert all(
        height % 32 == width % 32 == 0 and 64 <= height <= 256 and width == 2 * height for height, width in whole
    )
    first, second = BatchResize((64, 256), interval=2), BatchResize((64, 256), interval=2)
    before = sizes(first, 5)
    second.load_state_dict(first.state_dict())
    assert before + sizes(second, 7) == whole
