"""Checks of what a loss accepts and refuses, when it records, and what survives bad numbers and a checkpoint."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from eqbench.loss_contract.subject import Subject, call, close, raises, require, same_totals, totals, unchanged


def check_constructor(subject: Subject) -> None:
    require(inspect.getdoc(subject.cls) and subject.cls.__doc__, "the class has no docstring")
    parameters = inspect.signature(subject.cls).parameters
    wrong = [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY]
    require(not wrong, f"parameters are not keyword-only: {wrong}")
    bare = [name for name, each in parameters.items() if each.annotation is each.empty]
    require(not bare, f"parameters without an annotation: {bare}")
    names = list(parameters)
    require(names[:1] == ["num_classes"], f"first parameter: {names[:1]}, expected num_classes")
    require(names[-2:] == ["loss_weight", "ignore_index"], f"last parameters: {names[-2:]}, expected both of base")
    for name, value in (("num_classes", 0), ("loss_weight", -1.0), ("ignore_index", 0)):
        raises(name, partial(subject.build, **{name: value}))


def check_arguments(subject: Subject) -> None:
    """Each wrong argument is a ValueError that begins with its name."""
    loss, good = subject.trained(), subject.samples()
    logits, labels, ones = good.logits.detach(), good.labels, torch.ones(24, device=subject.device)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("logits", {"logits": logits[:, :-1]}),
        ("logits", {"logits": logits[0]}),
        ("logits", {"logits": logits.long()}),
        ("labels", {"labels": labels[:-1]}),
        ("labels", {"labels": labels.int()}),
        ("weight", {"weight": ones[:-1]}),
        ("weight", {"weight": ones.long()}),
        ("normalizer", {"normalizer": 0}),
        ("normalizer", {"normalizer": float("nan")}),
        ("normalizer", {"normalizer": ones}),
        ("quality", {"quality": None if loss.uses_quality else ones}),
    ]
    if subject.device == "cpu":  # elsewhere a failing assertion on the device would end the process
        wrong += [
            ("labels", {"labels": torch.full_like(labels, loss.num_labels)}),
            ("labels", {"labels": torch.full_like(labels, -7)}),
            ("weight", {"weight": -ones}),
            ("normalizer", {"normalizer": torch.tensor(-1.0)}),
        ]
    arguments = {"logits": logits, "labels": labels, "quality": good.quality}
    for name, change in wrong:
        raises(name, partial(loss, **{**arguments, **change}))


def check_order(subject: Subject) -> None:
    """What a step computes depends on committed statistics alone."""
    loss, samples = subject.trained(), subject.samples()
    before, first = totals(loss), call(loss, samples)
    unchanged(loss, before, "forward without commit")
    require(torch.equal(call(loss, samples), first), "a second call of the same step gives another value")
    close(call(subject.trained(), samples), first, "value of another loss with the same totals")
    loss.commit()
    after = totals(loss)
    loss.commit()
    unchanged(loss, after, "a commit with nothing pending")


def check_nothing_to_record(subject: Subject) -> None:
    """Evaluation and batches without samples leave statistics as they are; the latter give 0 and no gradient."""
    loss, samples = subject.trained(), subject.samples()
    before = totals(loss)
    expected = call(subject.trained(), samples)
    with torch.no_grad():
        close(call(loss, samples), expected, "value under no_grad")
    loss.commit()
    unchanged(loss, before, "a call under no_grad")
    close(call(loss.eval(), samples), expected, "value in eval mode")
    loss.train().commit()
    unchanged(loss, before, "a call in eval mode")
    ignored = replace(samples, labels=torch.full_like(samples.labels, loss.ignore_index))
    for what, nothing in (("an empty batch", samples[:0].leaf()), ("a batch all ignored", ignored.leaf())):
        value = call(loss, nothing)
        require(value.item() == 0, f"{what} has the value {value.item()}, not 0")
        (gradient,) = torch.autograd.grad(value, nothing.logits)
        require(not gradient.any(), f"{what} has a gradient")
        loss.commit()
        unchanged(loss, before, what)


def check_gradient_scaling(subject: Subject) -> None:
    """A GradScaler's factor multiplies the gradient and leaves statistics alone."""
    loss, reference, samples = subject.trained(), subject.trained(), subject.samples()
    (scaled,) = torch.autograd.grad(call(loss, samples) * 2.0**16, samples.logits)
    (gradient,) = torch.autograd.grad(call(reference, samples), samples.logits)
    close(scaled / 2.0**16, gradient, "gradient over the factor of a GradScaler")
    loss.commit()
    reference.commit()
    same_totals(loss, totals(reference), "with the factor of a GradScaler", relative=1e-12)


def check_extreme_logits(subject: Subject) -> None:
    samples = subject.samples()
    for logits in (samples.logits.sign() * 1e4, torch.full_like(samples.logits, -1e4), samples.logits * 0):
        loss, extreme = subject.trained(), replace(samples, logits=logits).leaf()
        value = call(loss, extreme)
        (gradient,) = torch.autograd.grad(value, extreme.logits)
        require(value.isfinite(), f"value {value.item()} at logits up to {logits.abs().max():g}")
        require(gradient.isfinite().all(), f"gradient not finite at logits up to {logits.abs().max():g}")
        loss.commit()
        require(int(loss.statistics.skipped_steps) == 0, "statistics not finite at extreme logits")


def check_non_finite_step(subject: Subject) -> None:
    """A step with a NaN is counted, not folded in, and the next one counts as usual."""
    loss, reference, samples = subject.trained(), subject.trained(), subject.samples()
    broken = samples.logits.detach().clone()
    broken[3] = torch.nan
    before = totals(loss)
    call(loss, samples)
    call(loss, replace(samples, logits=broken.requires_grad_()))
    loss.commit()
    unchanged(loss, {**before, "skipped_steps": before["skipped_steps"] + 1}, "a non-finite step")
    call(loss, samples)
    call(reference, samples)
    loss.commit()
    reference.commit()
    expected = {**totals(reference), "skipped_steps": before["skipped_steps"] + 1}
    same_totals(loss, expected, "after the step that follows", relative=1e-12)


def check_state(subject: Subject) -> None:
    """state_dict carries everything, bit for bit; what was pending before a load is dropped."""
    loss, other, samples = subject.trained(), subject.build(), subject.samples()
    call(other, samples)
    other.load_state_dict(loss.state_dict())
    other.commit()
    unchanged(other, totals(loss), "a state_dict round trip")
    require(torch.equal(call(loss, samples), call(other, samples)), "value differs after a state_dict round trip")
    stranger = subject.build().half()
    stranger.load_state_dict(loss.state_dict())
    unchanged(stranger, totals(loss), "a state_dict round trip after half()")


def check_scores(subject: Subject) -> None:
    loss, samples = subject.trained(), subject.samples(dtype=torch.bfloat16)
    scores = loss.scores(samples.logits)
    require(scores.dtype == torch.float32, f"scores are {scores.dtype}")
    require(scores.shape == (24, subject.num_classes), f"scores have the shape {tuple(scores.shape)}")
    require(scores.isfinite().all(), "scores are not finite")
    require(not torch.isnan(loss.statistics.ratio).any(), "statistics.ratio is NaN")
