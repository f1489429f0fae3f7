"""`eqbench doctor`: what is installed, what would not run on this machine, and the exact fix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from eqbench.doctor import devices, machine, packages, services
from eqbench.doctor.report import Check, Status, as_json, exit_code, print_report

__all__ = ["Check", "Status", "as_json", "diagnose", "exit_code", "print_report"]

STORAGE = Path("runs")


def diagnose(storage: str | Path = STORAGE, tracking_uri: str | None = None) -> list[Check]:
    """Every check of this machine. Changes nothing, starts nothing, asks no host but the tracking server.

    Where the storage is a URI, a small file is written there and removed.

    Args:
        storage: the folder or URI that runs are written to.
        tracking_uri: what a suite gives as its MLflow store; `MLFLOW_TRACKING_URI` goes before it, as in a run.
    """
    checks: dict[str, Callable[[], list[Check]]] = {
        "python": lambda: [packages.python(sys.version_info[:3])],
        "packages": packages.requirements,
        "constraints.txt": lambda: [packages.pins(packages.CONSTRAINTS)],
        "torch": lambda: [devices.torch_and_torchvision()],
        "gpu": devices.gpus,
        "bf16": lambda: [devices.bf16()],
        "compiler": lambda: [devices.compiler()],
        "mmdet": lambda: [packages.mmdet()],
        "ray dashboard": lambda: [packages.ray_dashboard()],
        "ray token": lambda: [services.ray_token(os.environ, Path.home())],
        "mlflow store": lambda: [services.tracking_store(tracking_uri)],
        "ports": lambda: [services.ports({"Ray dashboard": 8265, "MLflow UI": 5000})],
        "storage": lambda: machine.storage(storage),
        "ray folder": lambda: [machine.disk("ray folder", machine.ray_folder(os.environ), "export RAY_TMPDIR=FOLDER")],
        "shared memory": lambda: [machine.shared_memory(*machine.memory_sizes())],
        "open files": lambda: [machine.open_files(*machine.open_files_limits())],
    }
    return [found for name, check in checks.items() for found in _survive(name, check)]


def _survive(name: str, check: Callable[[], list[Check]]) -> Iterator[Check]:
    """The check's findings; that it cannot be made, because what it looks at is broken, is one too."""
    try:
        yield from check()
    except Exception as error:
        found = f"cannot be checked: {type(error).__name__}: {error}"
        yield Check(name, "problem", found, packages.install_command())
