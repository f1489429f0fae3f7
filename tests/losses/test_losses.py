"""Using losses in a program: building, finding, committing, compiled, checkpointed and distributed models."""

from __future__ import annotations

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

from eqbench import losses
from eqbench.errors import InputError


class Model(nn.Module):
    """Linear classifier with its loss inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classifier = nn.Linear(6, 5)
        self.loss = losses.build("softmax_eql", num_classes=5)

    def forward(self, features: Tensor, labels: Tensor, normalizer: float | None = None) -> Tensor:
        value: Tensor = self.loss(self.classifier(features), labels, normalizer=normalizer)
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


def trained_plainly() -> dict[str, Tensor]:
    model = Model()
    return train(model, model)


def test_import_needs_torch_alone() -> None:
    """In a fresh interpreter, `import eqbench.losses` loads nothing but torch and eqbench's own files."""
    program = (
        "import sys, torch; before = set(sys.modules); import eqbench.losses; "
        "print(*(m for m in set(sys.modules) - before if m.split('.')[0] not in ('eqbench', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    extra = {name.split(".")[0] for name in done.stdout.split()}
    assert extra <= set(sys.stdlib_module_names)


def test_build_by_name() -> None:
    assert losses.build("softmax_eql", num_classes=3, tau=0.5).extra_repr().endswith("indicator='positive'")
    with pytest.raises(InputError, match="did you mean 'softmax_eql'"):
        losses.build("softmax_eq", num_classes=3)


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


def test_recomputation_for_checkpointing_is_not_counted_again() -> None:
    plain, model = trained_plainly(), Model()
    again = train(model, lambda *args: checkpoint(model, *args, use_reentrant=False))
    assert all(torch.equal(again[name], plain[name]) for name in plain)


def test_compiled_model_is_the_same() -> None:
    plain, model = trained_plainly(), Model()
    compiled = train(model, torch.compile(model, backend="aot_eager"))
    torch.testing.assert_close(compiled, plain)
    assert compiled["loss.statistics.committed_steps"] == 4


def test_distributed_data_parallel_trains_as_one_process(tmp_path: Path) -> None:
    spawn(_train_rank, args=(str(tmp_path),), nprocs=2)
    alone = trained_plainly()
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, rtol=1e-5, atol=1e-7)


def _train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    model = Model()
    network = DistributedDataParallel(model)
    share = slice(0, 4) if rank == 0 else slice(4, 12)
    state = train(model, lambda features, labels: network(features[share], labels[share], 6.0))
    torch.save(state, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


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
