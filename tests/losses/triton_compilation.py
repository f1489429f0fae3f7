"""Compiles the Triton kernels for an H100 as the host functions would launch them, without a GPU.

Run by test_triton.py. Prints one line of JSON per kernel: what a thread and a program take of the device.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from eqbench.losses.fused import triton_scale, triton_sigmoid, triton_softmax

TARGET = GPUTarget("cuda", 90, 32)
BINARIES = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class NoDriver:
    """What a launch asks of the driver before it compiles."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return TARGET


def report(name: str, kernel: Any, options: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([BINARIES / "cuobjdump", "-res-usage", file.name], check=True, capture_output=True)
        code = subprocess.run([BINARIES / "nvdisasm", file.name], check=True, capture_output=True)
    found = re.search(rb"REG:(\d+) STACK:(\d+)", usage.stdout)
    assert found is not None, usage.stdout
    widest = max(
        (int(width or 32) for width in re.findall(rb"\bLDG\.E(?:\.U16)?(?:\.(64|128))?", code.stdout)), default=0
    )
    line = {
        "kernel": name,
        "threads": 32 * options["num_warps"],
        "registers": int(found[1]),
        "stack": int(found[2]),
        "shared": kernel.metadata.shared,
        "widest_load": widest,
        "loads_together": max((max(groups(body)) for body in loops(code.stdout.decode())), default=0),
    }
    print(json.dumps(line))


def loops(code: str) -> Iterator[list[str]]:
    """Instructions of each loop."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in code.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?(.*?);", line):
            instructions.append(instruction[1])
    for end, instruction in enumerate(instructions):
        jump = re.search(r"BRA.*(\.L_x_\d+)", instruction)
        if jump and labels.get(jump[1], end) < end:
            yield instructions[labels[jump[1]] : end]


def groups(body: list[str]) -> list[int]:
    """How many loads from memory are under way whenever the next instruction has to wait for one of them."""
    waiting: list[set[int]] = []
    sizes = [0]
    for instruction in body:
        operation = instruction.split()[0]
        registers = [int(number) for number in re.findall(r"\bR(\d+)\b", instruction)]
        read = registers if operation.startswith("ST") else registers[1:]
        for position in reversed(range(len(waiting))):
            if waiting[position] & set(read):
                sizes.append(len(waiting))
                del waiting[: position + 1]
                break
        if operation.startswith("LDG"):
            width = re.search(r"\.(64|128)", operation)
            waiting.append(set(range(registers[0], registers[0] + (int(width[1]) // 32 if width else 1))))
    return sizes


def sigmoid(shape: tuple[int, int, int], dtype: torch.dtype, focal: bool) -> None:
    n, k, p = shape
    z, labels, weight, u = torch.empty(shape, dtype=dtype), torch.zeros(n, p).long(), torch.ones(n, p), torch.ones(k)
    triton_sigmoid.sigmoid_sums(z, labels, weight, u, u if focal else None, torch.ones(()), torch.empty_like(z))


def softmax(shape: tuple[int, int, int], dtype: torch.dtype, seesaw: bool = False) -> None:
    n, k, p = shape
    z, labels, weight, shift = (
        torch.empty(shape, dtype=dtype),
        torch.zeros(n, p).long(),
        torch.ones(n, p),
        torch.ones(k),
    )
    last = (torch.ones(()), torch.empty_like(z))
    if seesaw:
        triton_softmax.seesaw_sums(z, labels, weight, shift, 2.0, 0.01, *last)
    else:
        triton_softmax.softmax_sums(z, labels, weight, shift, shift, 1.0, *last)


def main() -> None:
    driver.set_active(NoDriver())
    launch = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        report(self.__name__, launch(self, *arguments, grid=grid, warmup=True, **options), options)

    JITFunction.run = compile_only
    sigmoid((4096, 1203, 1), torch.float32, focal=False)
    sigmoid((2, 80, 64 * 64), torch.bfloat16, focal=True)
    softmax((4096, 1203, 1), torch.bfloat16)
    softmax((4096, 8142, 1), torch.float32)
    softmax((4096, 1000, 1), torch.float32, seesaw=True)
    softmax((2, 150, 64 * 64), torch.float32)
    softmax((64, 16000, 1), torch.float32)
    softmax((2, 400, 64 * 64), torch.bfloat16, seesaw=True)
    triton_scale.scale_(torch.empty(2**16), torch.ones(()))
    triton_scale.scale_(torch.empty(2**16, dtype=torch.float64), torch.ones(()))


if __name__ == "__main__":
    main()
