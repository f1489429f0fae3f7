"""mmcv's sigmoid focal loss against its formula."""

from __future__ import annotations

import pytest
import torch

from eqbench.models.mmcv_ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward

NONE = torch.empty(0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_sigmoid_focal_loss_equals_its_formula(gamma: float, weighted: bool) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(12, 5, dtype=torch.float64) * 4).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 5, 5, 0, 1, -1, 2, 3])  # 5 and -1 are background
    weight = torch.rand(5, dtype=torch.float64) if weighted else logits.new_empty(0)
    p = logits.sigmoid()
    expected = -(1 - 0.3) * p**gamma * (1 - p).log()
    rows = [(n, int(t)) for n, t in enumerate(target) if 0 <= t < 5]
    for n, t in rows:
        expected[n, t] = -0.3 * (1 - p[n, t]) ** gamma * p[n, t].log()
        expected[n] *= weight[t] if weighted else 1
    output, gradient = torch.zeros_like(logits), torch.zeros_like(logits)
    with torch.no_grad():
        sigmoid_focal_loss_forward(logits, target, weight, output, gamma=gamma, alpha=0.3)
        sigmoid_focal_loss_backward(logits, target, weight, gradient, gamma=gamma, alpha=0.3)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0])


def test_sigmoid_focal_loss_of_extreme_and_no_logits_is_finite() -> None:
    for logits in (torch.tensor([[-200.0, 200.0], [200.0, -200.0]]), torch.empty(0, 2)):
        target, output, gradient = torch.ones(len(logits)).long(), torch.ones_like(logits), torch.ones_like(logits)
        sigmoid_focal_loss_forward(logits, target, NONE, output, gamma=2.0, alpha=0.25)
        sigmoid_focal_loss_backward(logits, target, NONE, gradient, gamma=2.0, alpha=0.25)
        expected = torch.tensor([[0.0, 0.0], [150.0, 50.0]])[: len(logits)]
        torch.testing.assert_close(output, expected)
        assert gradient.isfinite().all()
