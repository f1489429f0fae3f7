"""One loader of images in its own process: `python -m tests.benchmarks.image_loading_worker WHAT FOLDER OUTPUT`.

WHAT is `LOADER:PROCESSES:load` for images per second, or `LOADER:PROCESSES:train` for the share of a step's time that
is spent waiting for its batch.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from eqbench.data.base import Draw

BATCH = 32
JITTER = (0.4, 0.4, 0.4, 0.0)
SIZES = {"load": 224, "train": 64}
UNTIMED, TIMED = 8, 40
STEPS = 24
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 10

Batches = Iterator[tuple[Tensor, Tensor]]


def main() -> None:
    what, folder, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    loader, processes, measured = what.split(":")
    batches = LOADERS[loader](folder, SIZES[measured], int(processes))
    result = rate(batches) if measured == "load" else waiting(batches)
    output.write_text(json.dumps(result))


def rate(batches: Batches) -> dict[str, Any]:
    """Images per second once the first batches are over, at which loaders are ahead; processor time per image."""
    for images, _ in itertools.islice(batches, UNTIMED):
        assert images.shape == (BATCH, 3, SIZES["load"], SIZES["load"])
    start, spent = time.perf_counter(), processor_seconds()
    number = sum(len(images) for images, _ in itertools.islice(batches, TIMED))
    return {
        "images_per_second": number / (time.perf_counter() - start),
        "processor_ms": 1000 * (processor_seconds() - spent) / number,
    }


def processor_seconds() -> float:
    """Of this process and the loader's, so far."""
    process = psutil.Process()
    times = [each.cpu_times() for each in (process, *process.children())]
    return sum(each.user + each.system for each in times)


def waiting(batches: Batches) -> dict[str, Any]:
    """Seconds of a training step of ResNet-10, and the share of them until its batch is there."""
    from eqbench.models.resnet import build_backbone

    torch.manual_seed(0)
    backbone, features = build_backbone("resnet10", in_channels=3, norm="batch", width=None)
    model = nn.Sequential(backbone, nn.Linear(features, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    waited, whole = [], []
    for _ in range(UNTIMED + STEPS):
        start = time.perf_counter()
        images, labels = next(batches)
        waited.append(time.perf_counter() - start)
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        whole.append(time.perf_counter() - start)
    return {
        "step_seconds": statistics.median(whole[UNTIMED:]),
        "waiting": sum(waited[UNTIMED:]) / sum(whole[UNTIMED:]),
    }


def ours(folder: Path, size: int, processes: int, *, normalize: bool = True) -> Batches:
    """Batches of uint8, and the normalisation where they arrive."""
    from eqbench.data.image_folder import ImageFolder

    data = ImageFolder(root=folder, image_size=size, color_jitter=JITTER)
    samples = data.train
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    draws = [Draw(index, position) for position, index in enumerate(order * 100)]
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=[draws[start : start + BATCH] for start in range(0, len(draws) - BATCH + 1, BATCH)],
        collate_fn=samples.collate,
        num_workers=processes,
    )
    for images, labels in loader:
        yield (data.normalization.apply(images) if normalize else images), labels


def ours_as_bytes(folder: Path, size: int, processes: int) -> Batches:
    """Without the normalisation, as a GPU would get them."""
    return ours(folder, size, processes, normalize=False)


def torchvision_pillow(folder: Path, size: int, processes: int) -> Batches:
    """ImageFolder with torchvision's transforms of images of Pillow, as in its examples."""
    from torchvision import datasets, transforms

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(*JITTER),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return _torchvision(datasets.ImageFolder(str(folder / "train"), transform), processes)


def torchvision_tensors(folder: Path, size: int, processes: int) -> Batches:
    """ImageFolder with the second version of the transforms, on tensors of bytes made of Pillow's images."""
    from torchvision import datasets
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(*JITTER),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(MEAN), list(STD)),
        ]
    )
    return _torchvision(datasets.ImageFolder(str(folder / "train"), transform), processes)


def _torchvision(data: Any, processes: int) -> Batches:
    torch.manual_seed(0)
    endless = itertools.chain.from_iterable(torch.randperm(len(data)).tolist() for _ in itertools.count())
    loader: DataLoader[Any] = DataLoader(data, batch_size=BATCH, sampler=endless, num_workers=processes)
    return iter(loader)


LOADERS: dict[str, Callable[[Path, int, int], Batches]] = {
    "ours": ours,
    "ours_as_bytes": ours_as_bytes,
    "torchvision_pillow": torchvision_pillow,
    "torchvision_tensors": torchvision_tensors,
}


if __name__ == "__main__":
    main()
