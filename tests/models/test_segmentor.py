"""Segmentation networks: torchvision's own outputs, shares of no image and of one, the auxiliary head, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eqbench import losses, plugins
from eqbench.errors import InputError
from eqbench.losses.base import Loss
from eqbench.models.segmentor import Segmentor

C = 5
IGNORED = 255


def build(
    architecture: str = "fcn", backbone: str = "resnet8", *, loss: str = "cross_entropy", **options: Any
) -> Segmentor:
    def build_loss() -> Loss:
        return losses.build(loss, num_classes=C, ignore_index=IGNORED)

    torch.manual_seed(0)
    return Segmentor(build_loss=build_loss, architecture=architecture, backbone=backbone, **options)  # type: ignore[arg-type]


def batch(n: int, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, C, (n, size, size), generator=generator)
    labels[:, :3] = IGNORED
    return torch.randn(n, 3, size, size, generator=generator), labels


NETWORKS = [
    ("fcn", "resnet8"),
    ("fcn", "resnet50"),
    ("fcn", "mobilenet_v3_small"),
    ("deeplabv3", "resnet20"),
    ("deeplabv3", "mobilenet_v3_large"),
    ("lraspp", "resnet8"),
    ("lraspp", "mobilenet_v3_small"),
]


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("architecture", "backbone"), NETWORKS)
def test_shares_of_two_images_of_one_and_of_none(architecture: str, backbone: str, norm: str) -> None:
    """Of none too, each parameter has a gradient, 0, and no statistics change: DDP waits for all of them."""
    model = build(architecture, backbone, norm=norm)
    for n in (2, 1, 0):
        images, labels = batch(n)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model.zero_grad()
        named: Any = model(images, labels, normalizer=100.0)
        assert list(named) == (["loss"] if architecture == "lraspp" else ["loss", "auxiliary_loss"])
        sum(named.values()).backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert any(gradient is not None and gradient.any() for gradient in gradients) == (n > 0)
        assert model(images).shape == (n, C, *images.shape[2:])
        if n == 0:
            assert all(value == 0 for value in named.values())
            changed = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
            assert {name.rsplit(".", 1)[1] for name in changed} <= {"num_batches_tracked"}


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    [("fcn", "resnet50"), ("deeplabv3", "mobilenet_v3_large"), ("lraspp", "mobilenet_v3_large")],
)
def test_the_networks_are_torchvisions(architecture: str, backbone: str) -> None:
    from torchvision.models import get_model

    auxiliary = {} if architecture == "lraspp" else {"aux_loss": True}
    reference = get_model(
        f"{architecture}_{backbone}", weights=None, weights_backbone=None, num_classes=C, **auxiliary
    ).eval()
    names = {"backbone.": "backbone.layers.", "classifier.": "head.layers.", "aux_classifier.": "auxiliary_head."}
    state = {}
    for key, value in reference.state_dict().items():
        old = next(old for old in names if key.startswith(old))
        state[names[old] + key.removeprefix(old)] = value
    model = build(architecture, backbone).eval()
    rest = model.load_state_dict(state, strict=False)
    assert rest.unexpected_keys == []
    assert {key.split(".")[0] for key in rest.missing_keys} <= {"loss", "auxiliary_loss"}
    images, _ = batch(2, size=64)
    with torch.no_grad():
        expected = reference(images)
        torch.testing.assert_close(model(images), expected["out"])
        if auxiliary:
            features: Any = model.backbone(images)
            low = model.auxiliary_head(features["middle"])
            full = nn.functional.interpolate(low, size=(64, 64), mode="bilinear", align_corners=False)
            torch.testing.assert_close(full, expected["aux"])


@pytest.mark.parametrize("weight", [0.4, 2.0])
def test_the_auxiliary_loss_is_weighted_in_value_and_statistics(weight: float) -> None:
    model = build(loss="softmax_eql", auxiliary_weight=weight, norm="group")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images, labels = batch(2)
    named: Any = model(images, labels, normalizer=50.0)
    with torch.no_grad():
        features: Any = model.backbone(images)
        low = model.auxiliary_head(features["middle"])
        logits = nn.functional.interpolate(low, size=(32, 32), mode="bilinear")
    reference = losses.build("softmax_eql", num_classes=C, ignore_index=IGNORED)
    value = reference(logits.requires_grad_(), labels, normalizer=50.0)
    torch.testing.assert_close(named["auxiliary_loss"], weight * value)
    losses.commit([model.loss, model.auxiliary_loss, reference])
    for ours, expected in zip(model.auxiliary_loss.statistics.buffers(), reference.statistics.buffers(), strict=True):
        factor = weight if ours.dtype == torch.float64 and ours.shape == (C,) else 1
        torch.testing.assert_close(ours, factor * expected, rtol=1e-6, atol=0.0)
    assert not torch.equal(model.loss.statistics.positive, model.auxiliary_loss.statistics.positive)


def test_no_auxiliary_head_where_its_weight_is_zero() -> None:
    model = build(auxiliary_weight=0.0)
    assert [name for name, _ in losses.of(model)] == ["loss"]
    assert not any("auxiliary" in name for name in model.state_dict())


def test_group_normalisation_everywhere() -> None:
    model = build("deeplabv3", "mobilenet_v3_small", norm="group")
    kinds = {type(module) for module in model.modules()}
    assert nn.GroupNorm in kinds
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)


def test_batch_normalisation_can_be_synchronised() -> None:
    model = build("deeplabv3")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    norms = [each for each in converted.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    assert {type(norm) for norm in norms} == {nn.SyncBatchNorm}


@pytest.mark.parametrize("architecture", ["fcn", "deeplabv3", "lraspp"])
def test_the_bias_of_a_sigmoid_loss_says_how_rare_classes_are(architecture: str) -> None:
    images, _ = batch(1)
    rare: Any = build(architecture, loss="bce", bias_prior=0.01)
    with torch.no_grad():
        for layer in rare.head.last_layers:
            layer.weight.zero_()
    torch.testing.assert_close(rare(images).sigmoid(), torch.full((1, C, 32, 32), 0.01))
    plain, same = build(architecture), build(architecture, bias_prior=0.01)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True))


def test_weights_of_a_backbone(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_small, resnet18

    torch.manual_seed(7)
    file = tmp_path / "weights.pth"
    network: Any = mobilenet_v3_small(dilated=True)
    torch.save(network.state_dict(), file)
    model: Any = build("lraspp", "mobilenet_v3_small", backbone_weights=str(file))
    for ours, given in zip(model.backbone.layers.parameters(), network.features.parameters(), strict=True):
        assert torch.equal(ours, given)
    params = {**DEFAULTS, "backbone_weights": str(file)}
    digest = Segmentor.source_of(params)
    assert plugins.source_of(Segmentor, params) == digest
    torch.save(resnet18().state_dict(), file)
    assert Segmentor.source_of(params) not in (None, digest)
    with pytest.raises(InputError, match="weights of another network"):
        build("lraspp", "mobilenet_v3_small", backbone_weights=str(file))
    assert Segmentor.source_of(DEFAULTS) is None


DEFAULTS: dict[str, Any] = {
    "architecture": "fcn",
    "backbone": "resnet8",
    "backbone_weights": None,
    "norm": "batch",
    "width": None,
    "auxiliary_weight": None,
    "bias_prior": None,
}
REFUSED = [
    ({"width": 1}, "width 1: expected at least 2"),
    ({"backbone": "resnet50", "width": 8}, "width 8: resnet50 has its own"),
    ({"auxiliary_weight": -0.1}, "auxiliary_weight -0.1: expected a number of at least 0"),
    ({"auxiliary_weight": float("nan")}, "auxiliary_weight nan: expected"),
    ({"architecture": "lraspp", "auxiliary_weight": 0.4}, "lraspp has no auxiliary head"),
    ({"bias_prior": 1.0}, "bias_prior 1.0: expected a probability"),
    ({"backbone": "resnet50", "backbone_weights": "w.pth", "norm": "group"}, "norm 'group': the backbone's weights"),
    ({"backbone_weights": "w.pth"}, "'w.pth': there are none for resnet8"),
    ({"backbone": "resnet50", "backbone_weights": "w.pth"}, "backbone_weights: w.pth: no such file"),
    (
        {"backbone": "resnet50", "backbone_weights": "torchvision:ResNet50_Weights.IMAGENET1K_V3"},
        "torchvision has no such weights; did you mean 'ResNet50_Weights.IMAGENET1K_V",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refused_with_and_without_building(changes: dict[str, Any], message: str) -> None:
    params = {**DEFAULTS, **changes}
    for action in (Segmentor.check, lambda given: build(**given)):
        with pytest.raises((ValueError, InputError)) as refused:
            action(params)
        assert message in str(refused.value)


def test_weights_of_another_backbone_are_found_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50-0676ba61.pth").touch()
    params = {**DEFAULTS, "backbone": "resnet101", "backbone_weights": "torchvision:ResNet50_Weights.IMAGENET1K_V1"}
    with pytest.raises(InputError, match=r"not of resnet101; expected torchvision:ResNet101_Weights\."):
        Segmentor.check(params)
    with pytest.raises(InputError, match=r"resnet50-0676ba61\.pth: not a file of tensors"):
        Segmentor.check({**params, "backbone": "resnet50"})


def test_the_parameters_of_the_constructor_are_these() -> None:
    supplied = plugins.KINDS["model"].supplied
    own = {name: each.default for name, each in plugins.parameters(Segmentor).items() if name not in supplied}
    assert set(own) == set(DEFAULTS)
    assert {name: DEFAULTS[name] for name in own if name not in ("architecture", "backbone")} == {
        name: default for name, default in own.items() if name not in ("architecture", "backbone")
    }
