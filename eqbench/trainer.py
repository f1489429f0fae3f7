"""One optimizer step: forward, backward, clipping, update, and the commit of the gradient statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eqbench import distributed, losses, optimization
from eqbench.recipe import Train
from eqbench.tasks.base import Task

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 2.0**-10
"""A gradient scaler that had to go below this has met non-finite gradients that scaling does not cause."""


class TrainingFailed(Exception):
    """Training cannot go on, and trying again would not help. Raised on all ranks at the same iteration."""


class Trainer:
    """Model, optimizer, gradient scaler and averaged weights; one optimizer step at a time."""

    def __init__(self, model: nn.Module, config: Train, device: torch.device) -> None:
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        if config.sync_batchnorm and distributed.world_size() > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self.model = model
        self.config = config
        self.device = device
        self.losses = [loss for _, loss in losses.of(model)]
        self.optimizer = optimization.build_optimizer(model, config.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.ema = optimization.build_ema(model, config.ema_decay) if config.ema_decay else None
        self._trains = any(parameter.requires_grad for parameter in model.parameters())

    @property
    def evaluated(self) -> nn.Module:
        """The module whose weights are evaluated: the averaged one where there is one."""
        return self.ema.module if self.ema else self.model

    def warnings(self) -> list[str]:
        """What a reader of the result should know."""
        self.model.train()  # detectors keep the normalisation of a pretrained backbone in eval mode even then
        norms = [
            module
            for module in self.model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        ]
        synchronized = all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
        if distributed.world_size() == 1 or synchronized:
            return []
        return [
            f"each of {distributed.world_size()} workers normalises its own share of a batch: the result depends on "
            "their number (train.sync_batchnorm on GPUs, or another normalisation, avoids it)"
        ]

    def distribute(self) -> nn.Module:
        """The module to train: compiled if asked for, in DDP when there are several workers."""
        if self.config.compile:
            self.model.compile()
        if distributed.world_size() == 1 or not self._trains:
            return self.model
        return DistributedDataParallel(
            self.model,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )

    def step(self, network: nn.Module, task: Task, batches: Iterator[Any], normalizer: float, iteration: int) -> Tensor:
        """One optimizer step over its micro-batches; returns this worker's part of the loss.

        Raises:
            TrainingFailed: gradient or loss is not finite. They are averaged over all workers, so all raise.
        """
        network.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for micro_batch in range(self.config.accumulate):
            last = micro_batch == self.config.accumulate - 1
            with contextlib.ExitStack() as stack:
                if not last and isinstance(network, DistributedDataParallel):
                    stack.enter_context(network.no_sync())
                with self._autocast():
                    loss = torch.stack(list(task.step(network, next(batches), normalizer).values())).sum()
                if self._trains:
                    self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if not self._trains:
            losses.commit(self.losses)
            return total
        self.scaler.unscale_(self.optimizer)
        if what := self._diverged(self._clip_gradient(), total):
            raise TrainingFailed(
                f"non-finite {what} at iteration {iteration + 1} (loss {total.item():g} on rank {distributed.rank()})"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        losses.commit(self.losses)
        if self.ema:
            self.ema.update_parameters(self.model)
        return total

    def state_dict(self) -> dict[str, Any]:
        """Everything that is not a function of seed and iteration. Rank 0's buffers are what DDP trains with."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; the optimizer's options stay this run's, the state may be another's."""
        self.model.load_state_dict(state["model"])
        options = [{key: group[key] for key in group if key != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = AUTOCAST_DTYPES.get(self.config.precision)
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _clip_gradient(self) -> Tensor:
        """Clip the gradient if the run says so; returns its norm before."""
        if self.config.clip_norm:
            return nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def check_weights(self) -> None:
        """Nothing looks at the weights after the last step but this.

        Raises:
            TrainingFailed: one is not finite.
        """
        if not all(torch.isfinite(parameter).all() for parameter in self.model.parameters()):
            raise TrainingFailed("non-finite weights after the last iteration")

    def _diverged(self, norm: Tensor, loss: Tensor) -> str:
        """What of the step is not finite, the same on all workers, or nothing. A scaler cures gradients, not a loss."""
        if not self.scaler.is_enabled():
            return "" if torch.isfinite(norm) else "gradient"
        if not torch.isfinite(distributed.mean(loss)):
            return "loss"
        return "gradient" if self.scaler.get_scale() < SMALLEST_SCALE else ""
