"""What a run measures, written to its folder by the first rank."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eqbench import distributed, gradient_ratio, losses, stopping, value_schedule
from eqbench.evaluation.tables import packed
from eqbench.run_folder import RunFolder, write_atomically
from eqbench.run_spec import Budget
from eqbench.tasks.base import Evaluation, Task

SNAPSHOTS = 40
"""Of the gradient statistics over training, about; each evaluation has one besides."""


class Recorder:
    """Averages the training loss and writes events, gradient statistics and evaluations.

    Every rank calls every method; only rank 0 writes. Statistics are equal on all ranks after a commit.
    """

    def __init__(
        self,
        folder: RunFolder,
        task: Task,
        model: nn.Module,
        device: torch.device,
        budget: Budget,
        data_root: str | None = None,
    ) -> None:
        self.folder = folder
        self._data_root = data_root
        self.task = task
        self.losses = losses.of(model)
        self.writes = distributed.rank() == 0
        self._budget = budget
        self._values = value_schedule.metrics(folder)
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._iterations = 0
        self._since = time.perf_counter()
        self._samples_since = 0
        self._recorded = self._snapshot_of = 0

    def start(self, iteration: int, evaluated: bool = True, since: Mapping[str, Any] | None = None) -> None:
        """Training begins after `iteration`; later records, left by a killed attempt, are dropped.

        Args:
            iteration: of the checkpoint.
            evaluated: whether an evaluation after that iteration, if there was one, is before its checkpoint.
            since: what `since_record` was then; by default the iteration is that of a record.
        """
        self._samples_since = self._budget.samples_after(iteration)
        self._since = time.perf_counter()
        self._recorded = iteration
        if since:
            sums = since["loss_sums"]
            same = len(sums) == distributed.world_size()
            self._loss_sum += sums[distributed.rank()] if same else sum(sums) / len(sums)
            self._iterations, self._recorded = iteration - since["iteration"], since["iteration"]
        if self.writes:
            self.folder.rewind_to(iteration, evaluated=evaluated)
            write_atomically(self.folder.path / "dataset.json", json.dumps(self._describe_data()) + "\n")

    def add(self, loss: torch.Tensor) -> None:
        """One optimizer step's loss on this rank, already divided by the step's normalizer."""
        self._loss_sum += loss
        self._iterations += 1

    def since_record(self) -> dict[str, Any]:
        """What the next record is made of: the iteration of the last one and, on the first rank, each rank's loss."""
        return {"iteration": self._recorded, "loss_sums": distributed.gather_to_first_rank(self._loss_sum.item())}

    def record(self, iteration: int, lr: float) -> float:
        """Write the training metrics since the last record; returns the mean training loss."""
        loss = (distributed.mean(self._loss_sum) / max(self._iterations, 1)).item()
        now = time.perf_counter()
        samples = self._budget.samples_after(iteration)
        metrics = {
            "train/loss": loss,
            "train/lr": lr,
            "train/samples_per_second": (samples - self._samples_since) / max(now - self._since, 1e-9),
            **self._gradient_metrics(),
            **self._values,
            **system_metrics(),
        }
        self._loss_sum.zero_()
        self._iterations, self._since, self._samples_since = 0, now, samples
        self._event(iteration, metrics)
        share = self._budget.iterations / SNAPSHOTS
        if self.writes and iteration // share > self._recorded // share:
            self._snapshot(iteration)
        self._recorded = iteration
        return loss

    def _snapshot(self, iteration: int) -> None:
        """Write the accumulated gradient statistics of every class, once for an iteration."""
        if not self.losses or self._snapshot_of == iteration:
            return
        self._snapshot_of = iteration
        import pyarrow as pa
        import pyarrow.parquet as pq

        names, groups = list(self.task.data.class_names), list(self.task.data.groups)
        count = len(names)
        tables = [
            pa.table(
                {
                    "step": pa.array([iteration] * count, pa.int64()),
                    "class_id": pa.array(range(count), pa.int32()),
                    "class_name": names,
                    "group": groups,
                    "positive": loss.statistics.positive.cpu().numpy(),
                    "negative": loss.statistics.negative.cpu().numpy(),
                    "ratio": loss.statistics.ratio.cpu().numpy(),
                    "module": [module] * count,
                }
            )
            for module, loss in self.losses
        ]
        self.folder.gradients.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables(tables), sink)
        write_atomically(self.folder.gradients / f"{iteration:09d}.parquet", sink.getvalue().to_pybytes())

    def evaluation(self, iteration: int, evaluation: Evaluation) -> None:
        """Write the numbers and tables of one evaluation, and the gradient statistics that led to it."""
        if not self.writes:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._snapshot(iteration)
        self._event(iteration, {f"val/{name}": value for name, value in evaluation.metrics.items()})
        self.folder.evaluation.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(evaluation.per_class), sink)
        write_atomically(self.folder.evaluation / "per_class.parquet", sink.getvalue().to_pybytes())
        for name, columns in evaluation.tables.items():
            write_atomically(self.folder.evaluation / f"{name}.parquet", packed(columns))
        self._since = time.perf_counter()

    @property
    def skipped_steps(self) -> int:
        """Optimizer steps whose statistics were not finite and so not folded in, over all losses."""
        return sum(int(loss.statistics.skipped_steps) for _, loss in self.losses)

    def _event(self, iteration: int, metrics: Mapping[str, float]) -> None:
        if self.writes:
            if stopping.is_marked(self.folder):
                raise stopping.Stopped(f"stopped by the driver before iteration {iteration}")
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            self.folder.append_event(iteration, self._budget.samples_after(iteration), finite)

    def _gradient_metrics(self) -> dict[str, float]:
        if not self.losses:
            return {}
        totals = [torch.stack([loss.statistics.positive, loss.statistics.negative]).cpu() for _, loss in self.losses]
        ratios = gradient_ratio.of_totals(*torch.stack(totals).sum(dim=0).numpy())
        groups = np.array(self.task.data.groups)
        metrics = {
            f"gradient/ratio_{group}": gradient_ratio.of_group(ratios[groups == group])
            for group in self.task.data.group_names
        }
        saturated = [float(loss.statistics.saturated_fraction) for _, loss in self.losses]
        metrics["gradient/saturated_fraction"] = sum(saturated) / len(saturated)
        return metrics

    def _describe_data(self) -> dict[str, Any]:
        data = self.task.data
        return {
            "name": type(data).__name__,
            "digest": data.digest,
            "num_classes": data.num_classes,
            "num_train": len(data.train),
            "num_eval": len(data.eval),
            "class_counts": data.class_counts.tolist(),
            "class_names": list(data.class_names),
            "groups": list(data.groups),
            "verified": verified(self._data_root, data.digest),
        }


def verified(root: str | None, digest: str) -> dict[str, Any] | None:
    """What `eqbench data verify` has noted of a data set with this digest below `root`; None if nothing."""
    from eqbench.data.verification import record

    return None if root is None else record.find(Path(root), digest)


def system_metrics() -> dict[str, float]:
    """Load of this machine and its first GPU, under MLflow's names for system metrics."""
    import psutil

    memory = psutil.virtual_memory()
    metrics = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
    }
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        metrics["system/gpu_0_memory_usage_megabytes"] = (total - free) / 1e6
        metrics["system/gpu_0_memory_usage_percentage"] = 100 * (total - free) / total
    return metrics


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process: allocated on the GPU, or resident on the CPU, in 10^6 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, for a process that trains one run after another; on CPU, where Linux allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
