"""The classifier: shapes, parameter counts of the literature, empty batches, normalisation, compilation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from eqbench import losses, plugins
from eqbench.data.base import Draw
from eqbench.data.digits import Digits
from eqbench.errors import InputError
from eqbench.models.classifier import Classifier, CosineClassifier
from eqbench.models.resnet import LargeName, NormName, SmallName, build_backbone

SMALL, LARGE, NORMS = get_args(SmallName), get_args(LargeName), get_args(NormName)


def classifier(backbone: str = "resnet8", num_classes: int = 10, **options: Any) -> Classifier:
    torch.manual_seed(0)
    options = {"in_channels": 1, "loss": losses.build("cross_entropy", num_classes=num_classes), **options}
    return Classifier(backbone=backbone, **options)  # type: ignore[arg-type]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("backbone", "num_classes", "count"),
    [
        ("resnet20", 10, 269_722),
        ("resnet32", 10, 464_154),
        ("resnet10", 1000, 5_418_792),
        ("resnet18", 1000, 11_689_512),
        ("resnet34", 1000, 21_797_672),
        ("resnet50", 1000, 25_557_032),
        ("resnet101", 1000, 44_549_160),
        ("resnet152", 1000, 60_192_808),
        ("resnext50_32x4d", 1000, 25_028_904),
    ],
)
def test_parameter_counts_are_those_of_the_literature(backbone: str, num_classes: int, count: int) -> None:
    with torch.device("meta"):
        model = classifier(backbone, num_classes, in_channels=3)
    assert parameters(model) == count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backbone", [*SMALL, "resnet10", "resnet50"])
def test_logits_and_loss(backbone: str, norm: str) -> None:
    model = classifier(backbone, norm=norm)
    images, labels = torch.randn(4, 1, 32, 32), torch.tensor([0, 1, 2, 9])
    logits = model(images)
    assert logits.shape == (4, 10)
    torch.testing.assert_close(model(images, labels), cross_entropy(logits, labels))
    twice = cross_entropy(logits, labels, reduction="sum") / 2
    torch.testing.assert_close(model(images, labels, normalizer=2.0), twice)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("backbone", ["resnet8", "resnet10", "resnet50"])
def test_an_empty_batch_trains_nothing(backbone: str, head: str, norm: str) -> None:
    model = classifier(backbone, norm=norm, classifier=head)
    model(torch.randn(4, 1, 32, 32))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loss = model(torch.empty(0, 1, 32, 32), torch.empty(0, dtype=torch.int64), normalizer=2.5)
    loss.backward()
    assert loss == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} took no part, DDP would wait for it"
        assert not parameter.grad.any(), name
    for name, buffer in model.named_buffers():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("norm", ["group", "none"])
def test_without_batch_normalisation_shares_add_up(norm: str) -> None:
    """The gradient of a batch is the sum of those of its shares, an empty one among them."""
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 3, 9])

    def gradient(sizes: list[int]) -> torch.Tensor:
        model = classifier(norm=norm).double()
        start = 0
        for size in sizes:
            share = slice(start, start + size)
            model(images[share].double(), labels[share], normalizer=5.0).backward()
            start += size
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient([2, 0, 3]), gradient([5]))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backbone", ["resnet8", "resnet20"])
def test_it_learns(backbone: str, norm: str) -> None:
    digits = Digits().eval
    images, labels = digits.collate([digits[Draw(index, 0)] for index in range(0, 500, 10)])
    model = classifier(backbone, norm=norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(images, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss < 1


@pytest.mark.parametrize("backbone", [*SMALL, "resnet18", "resnet50"])
def test_without_normalisation_blocks_start_as_their_shortcuts(backbone: str) -> None:
    torch.manual_seed(0)
    body, _ = build_backbone(backbone, in_channels=3, norm="none", width=None)  # type: ignore[arg-type]
    features = body(torch.randn(2, 3, 64, 64))
    assert torch.isfinite(features).all()
    assert 0.01 < features.std() < 10
    assert not any(isinstance(module, nn.BatchNorm2d | nn.GroupNorm) for module in body.modules())


def test_the_width_scales_a_small_backbone() -> None:
    assert build_backbone("resnet8", in_channels=1, norm="group", width=20)[1] == 80
    narrow, wide = (parameters(classifier(width=width)) for width in (8, 32))
    assert 14 < wide / narrow < 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet50", "width": 32}, "width 32: resnet50 has its own; expected null, or one of resnet8"),
        ({"width": 0}, "width 0: expected at least 1"),
    ],
)
def test_impossible_widths(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**options)


def test_cosine_classifier() -> None:
    torch.manual_seed(0)
    head = CosineClassifier(4, 3)
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(3))
    features = torch.randn(5, 4)
    cosine = torch.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), 30 * cosine)
    torch.testing.assert_close(head(7 * features), head(features))


def test_channels_last_gives_the_same_logits() -> None:
    model, images = classifier().eval(), torch.randn(3, 1, 8, 8)
    expected = model(images)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images.to(memory_format=torch.channels_last)), expected)


def test_the_network_is_one_graph() -> None:
    """Nothing in it breaks `torch.compile`."""
    model = classifier(classifier="cosine")
    explanation = torch._dynamo.explain(model.network)(torch.randn(3, 1, 8, 8))
    assert explanation.graph_break_count == 0


def backbone_file(tmp_path: Path, name: str, wrap: Callable[[dict[str, Any]], Any]) -> tuple[str, nn.Module]:
    """A file of the weights of a backbone, made from a random state of its own; and that backbone."""
    torch.manual_seed(7)
    body, _ = build_backbone(name, in_channels=3, norm="batch", width=None)  # type: ignore[arg-type]
    torch.save(wrap({**body.state_dict(), "fc.weight": torch.zeros(3, 2)}), file := tmp_path / "weights.pth")
    return str(file), body


def prefixed(prefix: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        prefixed(""),
        prefixed("module."),
        prefixed("backbone."),
        lambda state: {"state_dict": prefixed("module.")(state), "epoch": 3},
        lambda state: {"model": state},
    ],
    ids=["plain", "DataParallel", "detector", "state_dict", "model"],
)
def test_a_backbone_starts_from_a_file(tmp_path: Path, wrap: Callable[[dict[str, Any]], Any]) -> None:
    file, body = backbone_file(tmp_path, "resnet10", wrap)
    Classifier.check(options_of(backbone="resnet10", backbone_weights=file), None)
    model = classifier("resnet10", in_channels=3, backbone_weights=file)
    for key, value in body.state_dict().items():
        assert torch.equal(model.network[0].state_dict()[key], value), key


@pytest.mark.parametrize(
    ("backbone", "wrap", "expected"),
    [
        ("resnet18", prefixed(""), "has no 'layer1.1.bn1.bias', which this ResNet has"),
        ("resnet10", prefixed("network.backbone."), "name its run with start_from instead"),
        ("resnet10", lambda _: [1, 2], "expected a mapping of names to tensors"),
    ],
    ids=["another network", "our own", "a list"],
)
def test_a_file_that_is_not_this_backbone_s_is_refused_before_training(
    tmp_path: Path, backbone: str, wrap: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    file, _ = backbone_file(tmp_path, "resnet10", wrap)
    with pytest.raises(InputError, match=expected):
        Classifier.check(options_of(backbone=backbone, backbone_weights=file), None)


def options_of(**options: Any) -> dict[str, Any]:
    """Every option of the classifier, with its default."""
    supplied = plugins.KINDS["model"].supplied
    own = {name: each.default for name, each in plugins.parameters(Classifier).items() if name not in supplied}
    return {**own, **options}


def test_the_bias_of_sigmoid_losses_begins_with_the_prior() -> None:
    for loss, expected in (("bce", 0.01), ("cross_entropy", None)):
        model = classifier(loss=losses.build(loss, num_classes=10), bias_prior=0.01)
        priors = model.network[1].bias.sigmoid()
        same = torch.allclose(priors, torch.full((10,), 0.01))
        assert same is (expected is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias_prior": 1.5}, "bias_prior 1.5: expected a probability between 0 and 1"),
        ({"bias_prior": 0.1, "classifier": "cosine"}, "of a linear classifier"),
    ],
)
def test_impossible_priors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier.check(options_of(backbone="resnet8", **options), None)
