"""One setting in a process of its own: `python -m tests.benchmarks.loss_worker KEY DEVICE measure|first OUTPUT`.

`measure` writes times and peak memory of every contestant, `first` only how long the first call of ours takes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from tests.benchmarks.loss_peers import OURS, Contestant, contestants, ours
from tests.benchmarks.loss_settings import SETTINGS, Inputs, Setting, make_inputs

THREADS = 2
WARM_UP = 3
"""Steps before any is timed; they also fill the statistics that weights depend on."""
ROUNDS = (7, 40)
"""At least, at most."""
SECONDS = 3.0
"""A setting is measured so long, within `ROUNDS`."""
SAME = 1e-4
"""Relative difference of the values of two float32 spellings of one formula."""
SETTLING_SECONDS = 0.25
"""A step shorter than this comes after an untimed one: heap and caches are then as its own steps leave them."""
LEAD_CYCLES = 10_000_000
"""A GPU waits so long, about 5 ms, that a step's launches are queued when its clock starts."""
SWEEP_BYTES = 2**28
"""Written between two steps on a GPU: more than its cache."""
COPY_BYTES = 2**30


@dataclass
class Measured:
    """Seconds of each round; on a GPU those of the device, and of a step that is waited for in `wall`."""

    name: str
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    extra_bytes: int = 0
    error: str | None = None


def main() -> None:
    key, device_name, what, output = sys.argv[1:]
    torch.set_num_threads(THREADS)
    setting, device = SETTINGS[key], torch.device(device_name)
    inputs = make_inputs(setting, device)
    result: dict[str, object] = {"first": first_call(setting, inputs)}
    if what == "measure":
        found, missing = contestants(setting, device)
        result |= {"measured": [asdict(each) for each in measure(found, inputs)], "missing": missing}
        if device.type == "cuda":
            result |= {"bandwidth": copy_bandwidth(device), "device": torch.cuda.get_device_name(device)}
    Path(output).write_text(json.dumps(result))


def first_call(setting: Setting, inputs: Inputs) -> float:
    """Seconds of the first step of ours in this process, PyTorch itself being awake already."""
    stepped(Contestant("sum", lambda inputs: inputs.logits.sum()), inputs)
    return wall_seconds(ours(setting, OURS), inputs)


def measure(found: list[Contestant], inputs: Inputs) -> list[Measured]:
    """All in turn, so that a machine that slows down slows every one of them."""
    results = {each.name: Measured(each.name) for each in found}
    values: dict[str, float] = {}
    running = []
    for each in found:
        try:
            for _ in range(WARM_UP - 1):
                seconds = wall_seconds(each, inputs)
            results[each.name].extra_bytes = peak_bytes(lambda each=each: values.update(_value(each, inputs)), inputs)
            running.append((each, seconds < SETTLING_SECONDS))
        except Exception as error:
            inputs.logits.grad = None
            results[each.name].error = f"{type(error).__name__}: {error}".splitlines()[0]
    if inputs.logits.dtype == torch.float32:
        check_values([each for each, _ in running], values)

    start = time.perf_counter()
    for number in range(ROUNDS[1]):
        if number >= ROUNDS[0] and time.perf_counter() - start > SECONDS:
            break
        for each, settles in running:
            if settles:
                stepped(each, inputs)
            if inputs.logits.is_cuda:
                results[each.name].seconds.append(device_seconds(each, inputs))
                results[each.name].wall.append(wall_seconds(each, inputs))
            else:
                results[each.name].seconds.append(wall_seconds(each, inputs))
    return list(results.values())


def check_values(running: list[Contestant], values: dict[str, float]) -> None:
    """Raises RuntimeError where two that compute the same formula disagree."""
    for each in running:
        if each.same_value and OURS in values:
            expected, value = values[OURS], values[each.name]
            if not abs(value - expected) <= SAME * abs(expected):
                raise RuntimeError(f"after {WARM_UP - 1} steps, {each.name} is {value}, ours {expected}")


def stepped(contestant: Contestant, inputs: Inputs) -> None:
    contestant.step(inputs)
    inputs.logits.grad = None


def wall_seconds(contestant: Contestant, inputs: Inputs) -> float:
    """Seconds of one step, waited for; the gradient is freed after the clock has stopped."""
    _synchronize(inputs)
    start = time.perf_counter()
    contestant.step(inputs)
    _synchronize(inputs)
    seconds = time.perf_counter() - start
    inputs.logits.grad = None
    return seconds


def device_seconds(contestant: Contestant, inputs: Inputs) -> float:
    """Seconds between two events around one step, its launches queued ahead, the caches swept before."""
    torch.empty(SWEEP_BYTES, dtype=torch.uint8, device=inputs.logits.device).zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(LEAD_CYCLES)
    start.record()
    contestant.step(inputs)
    end.record()
    torch.cuda.synchronize()
    inputs.logits.grad = None
    return start.elapsed_time(end) / 1000


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by a large copy on a GPU."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    contestant = Contestant("copy", lambda inputs: target.copy_(source), differentiable=False)
    target = torch.empty_like(source)
    seconds = sorted(device_seconds(contestant, Inputs(source, source, None)) for _ in range(ROUNDS[0]))
    return 2 * COPY_BYTES / seconds[len(seconds) // 2]


def peak_bytes(action: Callable[[], None], inputs: Inputs) -> int:
    """What `action` needs at its worst moment beyond what is there before."""
    inputs.logits.grad = None
    gc.collect()
    if inputs.logits.is_cuda:
        _synchronize(inputs)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        _synchronize(inputs)
        peak = torch.cuda.max_memory_allocated()
    else:
        # Freed pages that malloc keeps would be used again without showing.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident_bytes("VmRSS")
        action()
        peak = _resident_bytes("VmHWM")
    inputs.logits.grad = None
    return peak - before


def _resident_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: no {name}")


def _value(contestant: Contestant, inputs: Inputs) -> dict[str, float]:
    value = contestant.step(inputs)
    return {} if value is None else {contestant.name: value.item()}


def _synchronize(inputs: Inputs) -> None:
    if inputs.logits.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
