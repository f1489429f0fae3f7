"""CIFAR-10 and CIFAR-100 with a long tail: from the files that torchvision unpacks, selected on loading.

Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019 (exponential); Buda et al., A Systematic
Study of the Class Imbalance Problem in Convolutional Neural Networks, 2018 (step).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from eqbench.data.base import Draw, Samples
from eqbench.data.cifar_files import CIFAR, FOLDERS, WHERE_TO_GET, find_cifar
from eqbench.data.cifar_files.examination import file_findings, is_whole
from eqbench.data.digits import long_tail_counts
from eqbench.data.image_files.normalization import Normalization
from eqbench.data.labelled_images.long_tail import LongTailedImages
from eqbench.data.labelled_images.mixing import Mixing
from eqbench.data.labelled_images.random_state import torch_random_state
from eqbench.data.verification import Contents, Findings
from eqbench.errors import InputError
from eqbench.validation import first_few

__all__ = ["CIFARLT"]

Imbalance = Literal["exponential", "step"]
NORMALIZATION = {
    10: Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    100: Normalization((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Of the pixels of all 50,000 training images."""


class CIFARLT(LongTailedImages):
    """CIFAR-10 or CIFAR-100, training images selected to a long tail from class 0 to the last; the test set is whole.

    With the real files, `imbalance_factor` 100 leaves 5,000 to 50 images a class of CIFAR-10, 500 to 5 of CIFAR-100.
    In training, images get a margin of black, are cropped to their size again and flipped, by their draw's seed.

    Args:
        root: folder that has `cifar-10-batches-py` or `cifar-100-python`.
        classes: which of the two.
        imbalance_factor: training images of the most frequent class over those of the rarest, at least 1.
        imbalance: `exponential` from class to class, or `step`: the first half of the classes has all images.
        selection_seed: decides which images of a class are used.
        padding: width of the margin, in pixels.
        flip: probability of mirroring a training image.
        options: as of `LongTailedImages`.

    Raises:
        ValueError: an argument is out of range.
        InputError: files are missing or damaged, or have too few images for the imbalance factor.
    """

    def __init__(
        self,
        *,
        root: Path,
        classes: Literal[10, 100] = 100,
        imbalance_factor: float = 100.0,
        imbalance: Imbalance = "exponential",
        selection_seed: int = 0,
        padding: int = 4,
        flip: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 1 <= imbalance_factor < math.inf:
            raise ValueError(f"imbalance_factor {imbalance_factor}: expected a number of at least 1")
        if not 0 <= selection_seed < 2**63:
            raise ValueError(f"selection_seed {selection_seed}: expected 0 to 2**63 - 1")
        if not 0 <= padding <= 32:
            raise ValueError(f"padding {padding}: expected 0 to 32 pixels")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip {flip}: expected a probability, 0 to 1")
        self.normalization = NORMALIZATION[classes]
        self._files = find_cifar(root.expanduser().absolute(), classes)
        self._long_tail = imbalance_factor, imbalance, selection_seed
        self._augmentation = padding, flip

    @property
    def class_names(self) -> Sequence[str]:  # type: ignore[override]
        return self._files.class_names

    @property
    def train_labels(self) -> Tensor:
        return self.train.labels

    @cached_property
    def digest(self) -> str:
        content = hashlib.sha256(repr((tuple(self.class_names), self.thresholds)).encode())
        for samples in (self.train, self.eval):
            content.update(samples.labels.numpy().astype("<i8").tobytes())
            content.update(samples.images.numpy().tobytes())
        return content.hexdigest()[:32]

    @cached_property
    def train(self) -> CIFARTraining:
        batch = self._files.train()
        selected = selection(torch.from_numpy(batch.labels), self.num_classes, *self._long_tail, source=self._files)
        images = torch.from_numpy(batch.images)[selected]
        labels = torch.from_numpy(batch.labels)[selected]
        return CIFARTraining(images, labels, *self._augmentation, self.mixing, self.normalization, self.num_classes)

    @cached_property
    def eval(self) -> CIFARImages:
        batch = self._files.test()
        return CIFARImages(torch.from_numpy(batch.images), torch.from_numpy(batch.labels))


class CIFARImages(Samples):
    """Images in memory, as they are. A batch is `(images (n, 3, 32, 32) uint8, labels (n,) int64)`."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor, int]:
        return self.images[draw.index], self.labels[draw.index], draw.seed

    def collate(self, samples: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor]:
        if not samples:
            return self.images.new_empty(0, *self.images.shape[1:]), self.labels.new_empty(0)
        images, labels, _ = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(labels)


class CIFARTraining(CIFARImages):
    """Shifted and flipped images; with mixing, batches are `(images float32, normalised, shares (n, C) float32)`."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        padding: int,
        flip: float,
        mixing: Mixing,
        normalization: Normalization,
        num_classes: int,
    ) -> None:
        super().__init__(images, labels)
        self._padding, self._flip = padding, flip
        self._mixing, self._normalization, self._num_classes = mixing, normalization, num_classes

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor, int]:
        with torch_random_state(draw.seed):
            image = self._transform(self.images[draw.index])
        return image, self.labels[draw.index], draw.seed

    def collate(self, samples: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor]:
        images, labels = super().collate(samples)
        if not self._mixing:
            return images, labels
        seed = samples[0][2] if samples else 0
        return self._mixing.apply(images, labels, self._normalization, self._num_classes, seed)

    @cached_property
    def _transform(self) -> Any:
        from torchvision.transforms import v2

        return v2.Compose([v2.RandomCrop(self.images.shape[-1], self._padding), v2.RandomHorizontalFlip(self._flip)])


def long_tail(largest: int, num_classes: int, imbalance_factor: float, imbalance: Imbalance) -> list[int]:
    """Training images of each class.

    >>> long_tail(500, 4, 100, "exponential"), long_tail(500, 4, 100, "step")
    ([500, 107, 23, 5], [500, 500, 5, 5])
    """
    exponential = long_tail_counts(largest, num_classes, imbalance_factor)
    if imbalance == "exponential":
        return exponential
    many = num_classes // 2
    return [exponential[0]] * many + [exponential[-1]] * (num_classes - many)


def selection(
    labels: Tensor, num_classes: int, imbalance_factor: float, imbalance: Imbalance, seed: int, *, source: CIFAR
) -> Tensor:
    """Sorted rows of the images that are used.

    Raises:
        InputError: a class would have none.
    """
    smallest = int(labels.bincount(minlength=num_classes).min())
    counts = long_tail(smallest, num_classes, imbalance_factor, imbalance)
    if min(counts) < 1:
        raise InputError(
            f"{source.root / source.folder}: imbalance_factor {imbalance_factor:g}, expected at most {smallest}, the "
            "training images of a class; the rarest class would have none"
        )
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    members = [shuffled[labels[shuffled] == label][:count] for label, count in enumerate(counts)]
    return torch.cat(members).sort().values


def prepare(root: Path, classes: Literal[10, 100] | None = None) -> list[str]:
    """Nothing has to be prepared; says what there is of both, or of the one with so many classes.

    Raises:
        InputError: neither data set is there, or a file is missing or damaged.
    """
    lines = []
    for cifar in _present(root, classes):
        if missing := cifar.missing_files():
            raise InputError(f"{cifar.root}: missing: {first_few(missing)}; {WHERE_TO_GET[cifar.classes]}")
        _ = cifar.class_names
        train, test = cifar.train(), cifar.test()
        lines.append(
            f"CIFAR-{cifar.classes}: {cifar.root / cifar.folder}: {len(train.labels):,} training images, "
            f"{len(test.labels):,} test images"
        )
    return [*lines, "nothing to prepare; the long tail is selected when training starts"]


def examine(
    root: Path,
    found: Findings,
    *,
    miniature: bool = False,
    classes: Literal[10, 100] | None = None,
    imbalance_factor: float = 100.0,
    imbalance: Literal["exponential", "step"] = "exponential",
    selection_seed: int = 0,
) -> Contents | None:
    """Checksums, counts and labels of what is there of the two; the contents are those of CIFAR-100, or else 10.

    The counts are those of the long tail with these options, or, in a miniature that is too small for it, with the
    largest imbalance factor that it has images for.

    Raises:
        ValueError: an option is out of range.
    """
    try:
        present = _present(root, classes)
    except InputError as error:
        found.problem("files", str(error))
        return None
    whole = [cifar for cifar in present if is_whole(cifar, found, miniature=miniature)]
    for cifar in whole[:1]:
        return _contents(cifar, found, imbalance_factor, imbalance=imbalance, selection_seed=selection_seed)
    return None


def _present(root: Path, classes: Literal[10, 100] | None = None) -> list[CIFAR]:
    root = root.expanduser().absolute()
    order: tuple[Literal[10, 100], ...] = (classes,) if classes else (100, 10)
    return [CIFAR(root, number) for number in order if (root / FOLDERS[number]).is_dir()] or [
        find_cifar(root, order[0])
    ]


def _contents(cifar: CIFAR, found: Findings, factor: float, **tail: Any) -> Contents | None:
    smallest = int(torch.from_numpy(cifar.train().labels).bincount(minlength=cifar.classes).min())
    if not smallest:
        return None
    if smallest < factor:
        found.note("imbalance factor", f"{cifar.folder}: at most {smallest}, the images of a class; not {factor:g}")
        factor = float(smallest)
    data = CIFARLT(root=cifar.root, classes=cifar.classes, imbalance_factor=factor, **tail)
    return Contents(
        class_names=data.class_names,
        group_names=data.group_names,
        groups=data.groups,
        unit="images",
        counts={
            "train": data.class_counts.numpy(),
            "test": data.eval.labels.bincount(minlength=data.num_classes).numpy(),
        },
        files=cifar.files,
        decode=file_findings,
        digest=data.digest,
        where_to_get=WHERE_TO_GET[cifar.classes],
    )
