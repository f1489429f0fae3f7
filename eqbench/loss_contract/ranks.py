"""The check that two processes have the totals of one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from eqbench import losses
from eqbench.loss_contract.subject import Subject, call, close, same_totals, totals
from eqbench.losses import Loss

WORLD_SIZE = 2


def check_ranks(*subjects: Subject) -> None:
    """Two ranks with uneven shares, one of them empty at times, have the totals of one process."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, args=(subjects, folder), nprocs=WORLD_SIZE)  # type: ignore[no-untyped-call]
        results = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD_SIZE)]
    for index, subject in enumerate(subjects):
        alone = subject.build()
        values = _steps(alone, subject, rank=None)
        for rank, result in enumerate(results):
            same_totals(alone, result[index]["totals"], f"{subject.cls.__name__}: one process against rank {rank}")
        together = torch.stack([result[index]["values"] for result in results]).mean(0)
        close(values, together, f"{subject.cls.__name__}: one process against the mean of two ranks: value")


def _rank(rank: int, subjects: Sequence[Subject], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=WORLD_SIZE)
    results = []
    for subject in subjects:
        loss = subject.build()
        values = _steps(loss, subject, rank)
        results.append({"values": values, "totals": totals(loss)})
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _steps(loss: Loss, subject: Subject, rank: int | None) -> Tensor:
    """Values of three steps: of all samples, or of a rank's share over its part of the normalizer."""
    values = []
    for step, boundary in enumerate((7, 0, 24)):
        samples = subject.samples(seed=step)
        share = {None: slice(24), 0: slice(boundary), 1: slice(boundary, 24)}[rank]
        if step == 2 and rank == 1:
            values.append(torch.zeros(()))  # a rank may also have no call at all in a step
        else:
            values.append(call(loss, samples[share], normalizer=24.0 / (1 if rank is None else WORLD_SIZE)))
        losses.commit([loss])
    return torch.stack(values).detach()
