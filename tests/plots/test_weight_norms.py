"""Norms of the classes' weights, as figures of them are drawn from a run's table of classes."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from eqbench import losses
from eqbench.evaluation.weight_norms import add_weight_norms, row_norms
from eqbench.models.classifier import Classifier
from eqbench.models.mmdet_heads.rows import class_rows
from eqbench.models.segmentor import Segmentor
from eqbench.tasks.base import Evaluation


def classifier(
    loss: str = "cross_entropy", rows: Any = ((3.0, 4.0), (0.0, 2.0), (1.0, 0.0)), **options: Any
) -> Classifier:
    params = {"class_counts": [30, 5, 2], "boundaries": [10]} if loss == "group_softmax" else {}
    built = losses.build(loss, num_classes=3, **params)
    model = Classifier(in_channels=1, loss=built, backbone="resnet8", **options)
    weight = cast(nn.Linear, model.network[1]).weight
    with torch.no_grad():
        weight.zero_()
        weight[:3, :2] = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    return model


def norms(model: Any) -> Any:
    return pytest.approx(model.weight_norms().tolist())


def test_rows_of_a_linear_classifier() -> None:
    assert norms(classifier()) == [5, 2, 1]


def test_columns_beyond_the_classes_are_left_out() -> None:
    model = classifier("group_softmax")
    assert model.loss.columns > 3
    assert norms(model) == [5, 2, 1]


def test_norms_are_those_that_logits_are_made_with() -> None:
    assert norms(classifier(trained="none", tau=0.5)) == [5**0.5, 2**0.5, 1]
    assert norms(classifier(trained="none", tau=1.0)) == [1, 1, 1]
    scaled = classifier(trained="scales")
    assert scaled.scales is not None
    with torch.no_grad():
        scaled.scales.copy_(torch.tensor([1.0, -2.0, 0.5]))
    assert norms(scaled) == [5, 4, 0.5]


def test_a_cosine_classifier_has_none() -> None:
    evaluation = Evaluation({"top1": 1.0}, {"class_id": [0, 1, 2]})
    add_weight_norms(evaluation, classifier(classifier="cosine"))
    assert "weight_norm" not in evaluation.per_class


def test_the_table_of_classes_gets_them() -> None:
    evaluation = Evaluation({"top1": 1.0}, {"class_id": [0, 1, 2]})
    add_weight_norms(evaluation, classifier())
    assert evaluation.per_class["weight_norm"] == pytest.approx([5, 2, 1])
    for other in (Evaluation({}), Evaluation({}, {"class_id": [0, 1]})):
        add_weight_norms(other, classifier())
        assert "weight_norm" not in other.per_class


def test_layers_whose_logits_are_added_are_one_row() -> None:
    model = Segmentor(
        build_loss=lambda: losses.build("cross_entropy", num_classes=3, ignore_index=255),
        architecture="lraspp",
        backbone="resnet8",
    )
    layers = [cast(nn.Conv2d, layer).weight for layer in model.head.last_layers]
    rows = torch.cat([weight.detach().flatten(1) for weight in layers], dim=1)
    assert len(layers) == 2
    assert norms(model) == rows.norm(dim=1).tolist()
    assert row_norms([torch.ones(2, 2)], 3) is None


class ATSSHead(nn.Module):
    """As mmdet's, with `anchors` rows for each class."""

    def __init__(self, anchors: int) -> None:
        super().__init__()
        self.atss_cls = nn.Conv2d(4, 3 * anchors, 3)


def test_detectors_with_several_rows_for_a_class_have_none() -> None:
    assert [len(weight) for weight in class_rows(ATSSHead(1), 3)] == [3]
    assert class_rows(ATSSHead(2), 3) == []
