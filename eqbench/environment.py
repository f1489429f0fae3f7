"""Where a result comes from: code version, packages, machine."""

from __future__ import annotations

import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import eqbench

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "numpy", "onedl-mmdetection", "onedl-mmcv")


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """Commit of the checkout that eqbench is imported from and whether it has uncommitted changes.

    Both are None where there is no git checkout: an installed package, or a job's copy of the working folder.
    """
    folder = folder or Path(eqbench.__file__).parent
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py") is not None
    sha = _git(folder, "rev-parse", "HEAD") if tracked else None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no") if sha else None
    return {"git_sha": sha, "dirty": None if status is None else bool(status)}


def describe_machine() -> dict[str, Any]:
    """Versions and hardware of this process's machine."""
    import torch

    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "eqbench": eqbench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "hostname": socket.gethostname(),
        "device_name": device,
        "threads": torch.get_num_threads(),
        **versions,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
