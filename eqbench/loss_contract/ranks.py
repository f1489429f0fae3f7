"""The check that several processes have the totals of one."""

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

BOUNDARIES = ((7, 12, 20), (0, 12, 24), (24, 24, 24))
"""For each step where the shares of four ranks meet, of 24 samples; two ranks meet at the first of a step."""


def check_ranks(*subjects: Subject, world_size: int = 2) -> None:
    """Two or four ranks with uneven shares, some of them empty at times, have the totals of one process."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, args=(subjects, folder, world_size), nprocs=world_size)  # type: ignore[no-untyped-call]
        results = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world_size)]
    for index, subject in enumerate(subjects):
        alone = subject.build()
        values = _steps(alone, subject, [slice(24)] * len(BOUNDARIES), 1)
        for rank, result in enumerate(results):
            same_totals(alone, result[index]["totals"], f"{subject.cls.__name__}: one process against rank {rank}")
        together = torch.stack([result[index]["values"] for result in results]).mean(0)
        close(values, together, f"{subject.cls.__name__}: one process against the mean of its ranks: value")


def _rank(rank: int, subjects: Sequence[Subject], folder: str, world_size: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=world_size)
    shares = []
    for step in BOUNDARIES:
        ends = (0, *step[: world_size - 1], 24)
        shares.append(slice(ends[rank], ends[rank + 1]))
    results = []
    for subject in subjects:
        loss = subject.build()
        values = _steps(loss, subject, shares, world_size)
        results.append({"values": values, "totals": totals(loss)})
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def _steps(loss: Loss, subject: Subject, shares: Sequence[slice], world_size: int) -> Tensor:
    """Values of a step per share: of the samples in it, over this rank's part of the normalizer."""
    values = []
    for step, share in enumerate(shares):
        if share.start == 24:
            values.append(torch.zeros(()))  # a rank may also have no call at all in a step
        else:
            values.append(call(loss, subject.samples(seed=step)[share], normalizer=24.0 / world_size))
        losses.commit([loss])
    return torch.stack(values).detach()
