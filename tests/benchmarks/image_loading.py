"""Images per second from disk to a ready batch, and the share of a training step that is spent waiting for one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.image_loading_worker import BATCH, CLASSES, SIZES, TIMED
from tests.benchmarks.report import Series, Table, progress

REPEATS = 3
IMAGES, WIDTH, HEIGHT, QUALITY = 600, 500, 375, 92
SLOWEST_SECONDS = 300
PROCESSES = (1, 2)
LOADERS = {
    "ours": "eqbench, float32 as a model takes it",
    "ours_as_bytes": "eqbench, uint8 as a GPU gets it",
    "torchvision_pillow": "torchvision ImageFolder, Pillow, ToTensor, Normalize",
    "torchvision_tensors": "torchvision ImageFolder, transforms.v2 on tensors",
}
PEER = "torchvision_pillow"
TRAINED = ("ours", PEER)
RATE_KEYS = {"images_per_second": 0, "processor_ms": 2}
"""What a loader's process measures, and the digits to print."""

Results = dict[tuple[str, int], list[dict[str, float]]]
"""By loader and its number of processes."""


def measure(scratch: Path) -> Iterator[Table]:
    """The loaders take turns, each in a process of its own with loader processes of its own."""
    folder = scratch / "images"
    progress(f"image_loading: writing {IMAGES} images")
    size = write_images(folder)
    yield _rates(_turns("load", tuple(LOADERS), folder, scratch), size)
    yield _waiting(_turns("train", TRAINED, folder, scratch))


def _turns(measured: str, loaders: tuple[str, ...], folder: Path, scratch: Path) -> Results:
    found: Results = {}
    for _ in range(REPEATS):
        for processes in PROCESSES:
            for loader in loaders:
                result = _run(f"{loader}:{processes}:{measured}", folder, scratch)
                found.setdefault((loader, processes), []).append(result)
    return found


def write_images(folder: Path) -> int:
    """Photograph-like JPEGs, smooth with details of all sizes, in folders of classes; returns their mean bytes."""
    random = np.random.default_rng(0)
    fields = [_photograph(random) for _ in range(24)]
    for number in range(IMAGES):
        chosen = random.integers(len(fields), size=3)
        planes = [np.roll(fields[field], tuple(random.integers(0, 300, size=2)), (0, 1)) for field in chosen]
        gray = planes[0]
        pixels = np.stack([0.7 * gray + 0.3 * plane for plane in planes], axis=-1)
        file = folder / "train" / f"class{number % CLASSES}" / f"{number:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((128 + 45 * pixels).clip(0, 255).astype(np.uint8)).save(file, quality=QUALITY)
        if number < CLASSES:
            other = folder / "val" / file.parent.name / file.name
            other.parent.mkdir(parents=True)
            other.write_bytes(file.read_bytes())
    return sum(file.stat().st_size for file in (folder / "train").rglob("*.jpg")) // IMAGES


def _photograph(random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(HEIGHT, WIDTH) of mean 0 and deviation 1, with the spectrum of photographs: amplitude falls as 1 / frequency."""
    rows, columns = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / WIDTH)
    noise = random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)
    field = np.fft.irfft2(noise / frequency**1.1, (HEIGHT, WIDTH))
    deviations: np.ndarray[Any, np.dtype[np.float64]] = (field - field.mean()) / field.std()
    return deviations


def _rates(found: Results, size: int) -> Table:
    table = Table(
        "Images per second from disk to a ready batch",
        f"JPEGs of {WIDTH} x {HEIGHT} pixels and {size / 1000:.0f} KB in the page cache; RandomResizedCrop to "
        f"{SIZES['load']}, flip, ColorJitter(0.4, 0.4, 0.4, 0); {TIMED} batches of {BATCH} after the first ones. "
        f"Median and range of {REPEATS} processes that took turns. Aim: at least as fast as torchvision's ImageFolder "
        "with Pillow; *against it*: the medians' ratio. *Processor time*: of all processes together, per image; it "
        "depends less on what else the machine does.",
        ("loader", "loader processes", "images/s", "against it", "processor time, ms", "against it"),
    )
    for processes in PROCESSES:
        rate, spent = ({name: _series(found[name, processes], key) for name in LOADERS} for key in RATE_KEYS)
        for name, title in LOADERS.items():
            faster = rate[name].median / rate[PEER].median
            less = spent[PEER].median / spent[name].median
            table.rows.append((title, processes, rate[name], f"{faster:.2f}", spent[name], f"{less:.2f}"))
    return table


def _series(results: list[dict[str, float]], key: str) -> Series:
    return Series([result[key] for result in results], RATE_KEYS[key])


def _waiting(steps: Results) -> Table:
    table = Table(
        "Share of a training step that is spent waiting for data",
        f"ResNet-10 at {SIZES['train']} pixels, batches of {BATCH}, one thread on the CPU, the same files and "
        f"augmentation; the normalisation of a batch counts as waiting. Median and range of {REPEATS} processes.",
        ("loader", "loader processes", "ms per step", "% of it waiting"),
    )
    for (loader, processes), results in steps.items():
        seconds = Series([1000 * result["step_seconds"] for result in results], 0)
        share = Series([100 * result["waiting"] for result in results])
        table.rows.append((LOADERS[loader], processes, seconds, share))
    return table


def _run(what: str, folder: Path, scratch: Path) -> dict[str, float]:
    progress(f"image_loading: {what}")
    output = scratch / "result.json"
    command = [sys.executable, "-m", "tests.benchmarks.image_loading_worker", what, str(folder), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SLOWEST_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{what}: {done.stderr}")
    result: dict[str, float] = json.loads(output.read_text())
    return result
