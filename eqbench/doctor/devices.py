"""What computes: torch, GPUs, number formats, the C++ compiler."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from eqbench.doctor.packages import install_command
from eqbench.doctor.report import Check

SMI_QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
SMI_SECONDS = 20
COMPILER_SECONDS = 60
COMPILER_PROBE = """
#include <Python.h>
#include <omp.h>
#include <vector>
int probe() { return omp_get_max_threads(); }
"""


def torch_and_torchvision() -> Check:
    """Whether torch and torchvision are a matching pair: one of torchvision's compiled operators runs."""
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        command = install_command("--force-reinstall", "torch", "torchvision")
        return Check("torch", "problem", f"torchvision's operators do not run beside this torch: {error}", command)
    return Check("torch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def gpus() -> list[Check]:
    """Each GPU that torch can use, or why there is none."""
    import torch

    if torch.cuda.is_available():
        return [_gpu(index) for index in range(torch.cuda.device_count())]
    listed, complaint = nvidia_smi()
    if complaint:
        fix = "restart the machine after a driver update, else reinstall the driver; without a GPU there is no need"
        return [Check("gpu", "warning", f"nvidia-smi fails: {complaint}; CPU only", fix)]
    if not listed:
        return [Check("gpu", "ok", "none: CPU only")]
    return [unusable_gpus(listed, torch.__version__, torch.version.cuda, os.environ.get("CUDA_VISIBLE_DEVICES"))]


def _gpu(index: int) -> Check:
    import torch

    properties = torch.cuda.get_device_properties(index)
    name, capability = f"gpu {index}", f"{properties.major}.{properties.minor}"
    found = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, compute capability {capability}"
    try:
        free = torch.cuda.mem_get_info(index)[0]
        torch.ones(1, device=f"cuda:{index}").add_(1).item()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        fix = f"hide it with CUDA_VISIBLE_DEVICES, or install a torch built for capability {capability}"
        return Check(name, "problem", f"{found}: cannot compute: {reason}", fix)
    return Check(name, "ok", f"{found}, {free / 2**30:.0f} GiB free, torch for CUDA {torch.version.cuda}")


def nvidia_smi() -> tuple[list[str], str]:
    """The GPUs that the driver lists, as `name, memory, driver version`, and nvidia-smi's complaint if any."""
    if shutil.which(SMI_QUERY[0]) is None:
        return [], ""
    try:
        answer = subprocess.run(SMI_QUERY, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    lines = (answer.stdout.strip() or answer.stderr.strip()).splitlines()
    return (lines, "") if answer.returncode == 0 else ([], lines[0] if lines else f"exit code {answer.returncode}")


def unusable_gpus(listed: list[str], torch_version: str, cuda: str | None, visible: str | None) -> Check:
    """Why torch uses none of the GPUs that the driver lists."""
    found = f"{len(listed)} listed by the driver ({listed[0]})"
    if visible is not None and visible.strip() in ("", "-1"):
        return Check("gpu", "ok", f"{found}, hidden by CUDA_VISIBLE_DEVICES={visible!r}: CPU only")
    if cuda is None:
        command = install_command("--force-reinstall", "torch", "torchvision")
        return Check("gpu", "problem", f"{found}, but torch {torch_version} is a build without CUDA", command)
    fix = (
        f"update the NVIDIA driver to one for CUDA {cuda} (`nvidia-smi` shows the CUDA version it supports), "
        "or hide the GPUs: export CUDA_VISIBLE_DEVICES=-1"
    )
    return Check("gpu", "problem", f"{found}, but torch {torch_version} for CUDA {cuda} cannot use them", fix)


def bf16() -> Check:
    """Whether `train.precision: bf16` has hardware behind it."""
    import torch

    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Check("bf16", "ok", "in hardware on the GPU")
        return Check("bf16", "warning", "emulated on this GPU, slower than float32", "-o train.precision=fp16")
    native = any(able is True for name, able in torch.cpu.get_capabilities().items() if "bf16" in name)
    return Check("bf16", "ok", "in hardware on the CPU" if native else "emulated on this CPU, slower than float32")


def compiler() -> Check:
    """Whether torch.compile can build its CPU kernels: a C++ compiler, Python's headers, OpenMP."""
    command = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    include = sysconfig.get_paths()["include"]
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    fix = f"sudo apt-get install g++ {package}   (Debian, Ubuntu; or set CXX to another compiler)"
    if shutil.which(command) is None:
        return Check("compiler", "warning", f"no {command}: torch.compile cannot run", fix)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(COMPILER_PROBE)
        library = str(source.with_suffix(".so"))
        arguments = ["-std=c++20", "-fopenmp", "-shared", "-fPIC", f"-I{include}", str(source), "-o", library]
        answer = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=COMPILER_SECONDS, check=False
        )
    if answer.returncode != 0:
        reason = next((line for line in answer.stderr.splitlines() if "error" in line), answer.stderr.strip())
        return Check("compiler", "warning", f"{command}: torch.compile cannot build: {reason}", fix)
    return Check("compiler", "ok", f"{command} with Python's headers and OpenMP, for {platform.machine()}")
