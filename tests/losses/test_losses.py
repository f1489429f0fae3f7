"""Using losses in a program: building, finding, committing, compiled, checkpointed and distributed models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from eqbench import losses, plugins
from eqbench.errors import InputError
from eqbench.loss_contract import Subject
from eqbench.losses import Batch, Terms
from eqbench.losses.cross_entropy import CrossEntropy

EVERY = plugins.names("loss")
WORLD_SIZE = 2


class Model(nn.Module):
    """Linear classifier with a loss inside."""

    def __init__(self, name: str = "softmax_eql") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loss = Subject(plugins.load("loss", name)).build()
        self.classifier = nn.Linear(6, self.loss.columns)

    def forward(self, features: Tensor, labels: Tensor, normalizer: float | None = None) -> Tensor:
        torch.manual_seed(1)  # for losses that draw random numbers
        quality = features[:, 0].sigmoid() if self.loss.uses_quality else None
        value: Tensor = self.loss(self.classifier(features), labels, normalizer=normalizer, quality=quality)
        return value


def batch(step: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(step)
    return torch.randn(12, 6, generator=random), torch.randint(5, (12,), generator=random)


def train(model: Model, step_loss: Callable[..., Tensor], steps: int = 4) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(steps):
        optimizer.zero_grad()
        step_loss(*batch(step)).backward()
        optimizer.step()
        losses.commit(loss for _, loss in losses.of(model))
    return model.state_dict()


def trained_plainly(name: str = "softmax_eql") -> dict[str, Tensor]:
    model = Model(name)
    return train(model, model)


def test_import_needs_torch_alone() -> None:
    """In a fresh interpreter, `import eqbench.losses` loads nothing but torch and eqbench's own files."""
    program = (
        "import sys, torch; before = set(sys.modules); import eqbench.losses; "
        "print(*(m for m in set(sys.modules) - before if m.split('.')[0] not in ('eqbench', 'torch')), "
        "*{'triton'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    extra = {name.split(".")[0] for name in done.stdout.split()}
    assert extra <= set(sys.stdlib_module_names)


def test_build_by_name() -> None:
    assert losses.build("softmax_eql", num_classes=3, tau=0.5).extra_repr().endswith("indicator='positive'")
    with pytest.raises(InputError, match="did you mean 'softmax_eql'"):
        losses.build("softmax_eq", num_classes=3)
    with pytest.raises(ValueError, match=r"^class_counts: missing: ldam needs how many training samples"):
        losses.build("ldam", num_classes=3)


def test_losses_are_found_by_name() -> None:
    stages = nn.ModuleList(nn.ModuleDict({"loss": losses.build("cross_entropy", num_classes=2)}) for _ in range(2))
    assert [name for name, _ in losses.of(stages)] == ["0.loss", "1.loss"]
    alone = losses.build("cross_entropy", num_classes=2)
    assert losses.of(alone) == [("", alone)]


def test_commit_takes_each_loss_once() -> None:
    first, second = (losses.build("cross_entropy", num_classes=2) for _ in range(2))
    for loss in (first, second):
        loss(torch.zeros(2, 2, requires_grad=True), torch.tensor([0, 1]))
    losses.commit([first, second, first])
    losses.commit([])
    assert first.statistics.positive.tolist() == second.statistics.positive.tolist() == [0.25, 0.25]
    assert first.statistics.committed_steps.item() == 1


def test_the_value_can_be_differentiated_again() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    value = losses.build("cross_entropy", num_classes=2)(logits, torch.tensor([0, 1]))
    value.backward(retain_graph=True)
    value.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.5, 0.5], [0.5, -0.5]]


@pytest.mark.parametrize("name", EVERY)
def test_recomputation_for_checkpointing_is_not_counted_again(name: str) -> None:
    plain, model = trained_plainly(name), Model(name)
    again = train(model, lambda *args: checkpoint(model, *args, use_reentrant=False))
    assert all(torch.equal(again[key], plain[key]) for key in plain)


def test_a_recomputation_without_a_forward_call_is_refused() -> None:
    """Reentrant checkpointing hides the first call; after an early commit the second would use other weights."""
    model = Model()
    features, labels = batch(0)
    value = checkpoint(model, features.requires_grad_(), labels, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"^SoftmaxEQL: recomputed in backward, but not called before in this step"):
        value.backward()
    value = checkpoint(model, features, labels, use_reentrant=False)
    model.loss.commit()
    with pytest.raises(RuntimeError, match=r"commit after backward$"):
        value.backward()


def test_the_gradient_of_a_users_loss_may_be_expanded() -> None:
    class Mean(CrossEntropy):
        """The negative mean of all logits: a gradient that is the same everywhere."""

        def terms(self, batch: Batch) -> Terms:
            nothing = torch.zeros(self.num_classes)
            return Terms(-batch.logits.sum(), torch.tensor(-1.0).expand(batch.logits.shape), nothing, nothing)

    logits = torch.zeros(2, 3, requires_grad=True)
    (4 * Mean(num_classes=3)(logits, torch.tensor([0, 1]))).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-2.0] * 3] * 2


def test_second_derivatives_are_refused() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    value = losses.build("cross_entropy", num_classes=2)(logits, torch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="first derivative only"):
        torch.autograd.grad(value, logits, create_graph=True)


@pytest.mark.parametrize("name", EVERY)
def test_a_step_without_a_finite_value_is_left_out(name: str) -> None:
    model = Model(name)
    model(*batch(0), 1e-45)
    losses.commit([model.loss])
    assert (int(model.loss.statistics.committed_steps), int(model.loss.statistics.skipped_steps)) == (0, 1)


@pytest.mark.parametrize("name", EVERY)
def test_compiled_model_is_the_same(name: str) -> None:
    plain, model = trained_plainly(name), Model(name)
    compiled = train(model, torch.compile(model, backend="aot_eager"))
    torch.testing.assert_close(compiled, plain)
    assert compiled["loss.statistics.committed_steps"] == 4
    torch.compiler.reset()


@pytest.mark.parametrize("name", EVERY)
def test_gradient_accumulation_is_one_step(name: str) -> None:
    """Micro-batches with the normalizer of the whole batch and one commit are the whole batch."""
    whole, model = Model(name), Model(name)
    if whole.loss.random:
        pytest.skip("draws anew in each call")

    def in_parts(features: Tensor, labels: Tensor) -> Tensor:
        parts = [slice(0, 5), slice(5, 6), slice(6, 12)]
        return torch.stack([model(features[part], labels[part], 12.0) for part in parts]).sum()

    accumulated = train(model, in_parts)
    torch.testing.assert_close(accumulated, train(whole, lambda *args: whole(*args, 12.0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_autocast_and_grad_scaler(name: str) -> None:
    """Mixed precision trains the same within the precision of bfloat16, statistics within 1 %."""
    plain, model = Model(name), Model(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)

    def mixed(*args: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value: Tensor = model(*args)
        return value

    optimizers = [torch.optim.SGD(each.parameters(), lr=0.01) for each in (plain, model)]
    for step in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        plain(*batch(step)).backward()
        optimizers[0].step()
        scaler.scale(mixed(*batch(step))).backward()
        scaler.step(optimizers[1])
        scaler.update()
        losses.commit([plain.loss, model.loss])
    actual, expected = model.loss.statistics, plain.loss.statistics
    for side in ("positive", "negative"):
        torch.testing.assert_close(getattr(actual, side), getattr(expected, side), rtol=0.01, atol=1e-9)
    torch.testing.assert_close(model.classifier.weight, plain.classifier.weight, rtol=0.01, atol=1e-3)


def test_distributed_data_parallel_trains_as_one_process(tmp_path: Path) -> None:
    spawn(_train_rank, args=(str(tmp_path),), nprocs=WORLD_SIZE)
    for name in EVERY:
        if not Model(name).loss.random:
            model = Model(name)
            alone = train(model, lambda *args, model=model: model(*args, 12.0))
            for rank in range(WORLD_SIZE):
                together = torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True)
                torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def _train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD_SIZE)
    share = slice(0, 4) if rank == 0 else slice(4, 12)
    for name in EVERY:
        model = Model(name)
        network = DistributedDataParallel(model)

        def step(features: Tensor, labels: Tensor, network: nn.Module = network) -> Tensor:
            value: Tensor = network(features[share], labels[share], 12.0 / WORLD_SIZE)
            return value

        torch.save(train(model, step), Path(folder) / f"{name}{rank}.pt")
    dist.barrier()
    os._exit(0)  # at the interpreter's end threads of DDP and gloo race, and now and then one aborts the process


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_the_gpu() -> None:
    loss = losses.build("softmax_eql", num_classes=5).cuda()
    logits, labels = torch.randn(12, 5, device="cuda", requires_grad=True), torch.arange(12, device="cuda") % 5
    weight, normalizer = torch.ones(12, device="cuda"), torch.full((), 3.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for arguments in ({}, {"weight": weight, "normalizer": normalizer}, {"normalizer": 7.0}):
            loss(logits, labels, **arguments).backward()
            loss.commit()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.statistics.committed_steps.item() == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loss_follows_its_logits_to_the_gpu() -> None:
    loss = losses.build("softmax_eql", num_classes=5)
    loss(torch.randn(12, 5, device="cuda", requires_grad=True), torch.arange(12, device="cuda") % 5)
    loss.commit()
    assert loss.statistics.positive.is_cuda
