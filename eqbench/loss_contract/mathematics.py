"""Checks that value, gradient and statistics belong together and scale as the contract says."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from eqbench.loss_contract.subject import NEVER_SEEN, Samples, Subject, call, close, require, same_totals, totals
from eqbench.losses import Loss


def check_gradient(subject: Subject) -> None:
    """The derivative of the value, in float64, with weights and ignored samples, before and after evidence.

    Not of losses with `frozen_factors`, whose gradient is another.
    """
    if subject.cls.frozen_factors:
        return
    samples = subject.samples(5, dtype=torch.float64)
    labels = samples.labels.clone()
    weight = torch.linspace(0, 2, 5, dtype=torch.float64, device=subject.device)
    for loss in (subject.build(loss_weight=1.5), subject.trained(loss_weight=1.5)):
        labels[2] = loss.ignore_index

        def value(logits: Tensor, loss: Loss = loss) -> Tensor:
            return call(loss, replace(samples, logits=logits, labels=labels), weight=weight, normalizer=3.0)

        try:
            torch.autograd.gradcheck(value, (samples.logits,))
        except RuntimeError as error:
            raise AssertionError(f"the gradient is not the derivative of the value: {error}") from error


def check_statistics(subject: Subject) -> None:
    """Totals are |dL/dlogit| as autograd has it, split by label, over several steps."""
    loss = subject.build(loss_weight=0.5)
    positive = negative = torch.zeros(subject.num_classes, dtype=torch.float64, device=subject.device)
    for step in range(4):
        samples = subject.samples(seed=step)
        samples.labels[step] = loss.ignore_index
        weight = torch.rand(24, generator=torch.Generator().manual_seed(step)).to(subject.device)
        normalizer = 24.0 / 2**step
        (gradient,) = torch.autograd.grad(call(loss, samples, weight=weight, normalizer=normalizer), samples.logits)
        if not loss.normalized:
            gradient = gradient * (normalizer / loss.loss_weight)
        own, others = split_by_label(loss, gradient, samples.labels)
        positive, negative = positive + own, negative + others
        loss.commit()
        close(loss.statistics.positive, positive, f"statistics.positive after step {step}")
        close(loss.statistics.negative, negative, f"statistics.negative after step {step}")
    require(int(loss.statistics.committed_steps) == 4, "statistics.committed_steps is not the number of commits")
    require(loss.statistics.positive[NEVER_SEEN] == 0, "a class without samples has a positive gradient")


def check_soft_labels(subject: Subject) -> None:
    """Where there are soft labels, one-hot ones equal labels, and the gradient is the derivative of the value."""
    if not subject.cls.soft_labels:
        return
    samples = subject.samples()
    one_hot = functional.one_hot(samples.labels, subject.build().columns).float()
    soft, hard = subject.trained(), subject.trained()
    weight = torch.linspace(0, 2, 24, device=subject.device)
    value = call(soft, replace(samples, labels=one_hot), weight=weight)
    expected = call(hard, samples, weight=weight)
    close(value, expected, "value with one-hot labels")
    (gradient,), (wanted,) = (torch.autograd.grad(each, samples.logits) for each in (value, expected))
    close(gradient, wanted, "gradient with one-hot labels")
    soft.commit()
    hard.commit()
    same_totals(soft, totals(hard), "with one-hot labels")
    few = subject.samples(5, dtype=torch.float64)
    mixed = few.logits.detach().roll(1, 0).softmax(1)

    def mixed_value(logits: Tensor) -> Tensor:
        return call(soft, replace(few, logits=logits, labels=mixed), normalizer=3.0)

    require(torch.autograd.gradcheck(mixed_value, (few.logits,)), "the gradient with soft labels is wrong")


def check_micro_batches(subject: Subject) -> None:
    """Several calls before one commit equal one call on all samples with the same normalizer."""
    samples = subject.samples()
    whole, parts = subject.trained(), subject.trained()
    value = call(whole, samples, normalizer=10.0)
    pieces = [call(parts, samples[rows], normalizer=10.0) for rows in (slice(5), slice(5, 5), slice(5, 24))]
    whole.commit()
    parts.commit()
    close(torch.stack(pieces).sum(), value, "sum of the parts' values")
    same_totals(parts, totals(whole), "parts")


def check_ignored(subject: Subject) -> None:
    """An ignored sample counts nowhere, whatever its logits and weight."""
    samples = subject.samples()
    some = torch.arange(24, device=subject.device) % 3 == 1
    weight = torch.ones(24, device=subject.device).masked_fill(some, 1e30)
    for weights in (None, weight):
        loss, reference = subject.trained(), subject.trained()
        labels = samples.labels.masked_fill(some, loss.ignore_index)
        logits = samples.logits.detach().masked_fill(some.unsqueeze(1), torch.nan).requires_grad_()
        value = call(loss, replace(samples, logits=logits, labels=labels), weight=weights)
        close(value, call(reference, samples[~some]), "value with ignored samples")
        (gradient,) = torch.autograd.grad(value, logits)
        require(not gradient[some].any(), "an ignored sample has a gradient")
        loss.commit()
        reference.commit()
        same_totals(loss, totals(reference), "with ignored samples")


def check_scaling(subject: Subject) -> None:
    """weight, normalizer and loss_weight are factors of value, gradient and statistics."""
    samples, ones = subject.samples(), torch.ones(24, device=subject.device)
    plain, repeated, doubled = (subject.trained() for _ in range(3))
    expected = call(plain, samples, normalizer=5.0)
    twice = torch.cat([torch.arange(24), torch.arange(4, 24)]).to(subject.device)
    weight = ones.index_fill(0, torch.arange(4, 24, device=subject.device), 2.0)
    value = call(repeated, samples, weight=weight, normalizer=torch.tensor(5.0, device=subject.device))
    close(value, call(doubled, samples[twice], normalizer=5), "value with weight 2 against samples taken twice")
    repeated.commit()
    doubled.commit()
    same_totals(repeated, totals(doubled), "with weight 2")
    close(call(plain, samples, normalizer=2.5), 2 * expected, "value with half the normalizer")
    scaled = subject.build(loss_weight=3.0)
    scaled.load_state_dict(plain.state_dict())
    close(call(scaled, samples, normalizer=5.0), 3 * expected, "value with loss_weight 3")


def check_pixels(subject: Subject) -> None:
    """(N, K, H, W) equals its pixels as samples."""
    samples = subject.samples(2, pixels=(3, 4))
    rows = samples.logits.detach().permute(0, 2, 3, 1).reshape(24, -1).requires_grad_()
    quality = None if samples.quality is None else samples.quality.flatten()
    image, flat = subject.trained(), subject.trained()
    value, expected = call(image, samples), call(flat, Samples(rows, samples.labels.flatten(), quality))
    close(value, expected, "value of an image")
    (gradient,) = torch.autograd.grad(value, samples.logits)
    (of_rows,) = torch.autograd.grad(expected, rows)
    close(gradient.permute(0, 2, 3, 1).reshape(24, -1), of_rows, "gradient of an image")
    image.commit()
    flat.commit()
    same_totals(image, totals(flat), "of an image")
    close(image.scores(samples.logits).permute(0, 2, 3, 1).reshape(24, -1), flat.scores(rows), "scores of an image")


def check_half_precision(subject: Subject) -> None:
    """Half-precision logits are computed in float32; autocast changes statistics by 1 % at most."""
    for dtype in (torch.bfloat16, torch.float16):
        half = subject.samples(dtype=dtype)
        single = half.leaf(torch.float32)
        loss, reference = subject.trained(), subject.trained()
        value, expected = call(loss, half), call(reference, single)
        require(value.dtype == torch.float32, f"the value of {dtype} logits is {value.dtype}")
        close(value, expected, f"value of {dtype} logits")
        (gradient,), (wanted,) = (
            torch.autograd.grad(v * 2.0**12, s.logits) for v, s in ((value, half), (expected, single))
        )
        require(gradient.dtype == dtype, f"the gradient of {dtype} logits is {gradient.dtype}")
        close(gradient, wanted, f"gradient of {dtype} logits", relative=2 * torch.finfo(dtype).eps, absolute=1e-3)
        loss.commit()
        reference.commit()
        same_totals(loss, totals(reference), f"{dtype} logits")
    samples = subject.samples(256)
    loss, reference = subject.trained(), subject.trained()
    identity = torch.eye(loss.columns, device=subject.device)
    with torch.autocast(subject.device, dtype=torch.bfloat16):
        call(loss, replace(samples, logits=samples.logits @ identity))
    call(reference, samples)
    loss.commit()
    reference.commit()
    same_totals(loss, totals(reference), "autocast", relative=0.01)


def split_by_label(loss: Loss, gradient: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) sums of |gradient| (N, K) over the samples of each class, and over all others not ignored."""
    magnitude = gradient.detach().double().abs()[:, : loss.num_classes]
    own = labels.unsqueeze(1) == torch.arange(loss.num_classes, device=labels.device)
    others = ~own & (labels != loss.ignore_index).unsqueeze(1)
    return (magnitude * own).sum(0), (magnitude * others).sum(0)
