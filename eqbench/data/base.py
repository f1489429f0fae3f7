"""What every data set offers to the tasks, and how a sample is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from eqbench.data.image_files.normalization import Normalization


@dataclass(frozen=True, slots=True, order=True)
class Draw:
    """One sample as a sampler draws it.

    `seed` is a function of the run's seed, the epoch and the position, so random augmentation is the same whatever
    the number of workers and loader processes, and after a resume.
    """

    index: int
    seed: int
    progress: float = 0.0
    """Share of the run's budget that is behind when the sample is trained on, from 0 to below 1."""


class Samples(Protocol):
    """A map-style set of samples.

    `collate` must accept an empty list and return a batch of zero samples: the share of a worker in a last batch
    that has fewer samples than there are workers. A batch is a tensor or a tuple, list or dict of batches.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, draw: Draw) -> Any: ...

    def collate(self, samples: list[Any]) -> Any: ...


class Dataset(ABC):
    """A long-tailed data set: training and evaluation samples, class names, counts and groups.

    The constructor's keyword arguments are the YAML schema of the suite's `data` entry. It validates them and is
    cheap; images are read on access.
    """

    class_names: Sequence[str]
    group_names: tuple[str, ...]
    """From frequent to rare, e.g. `("many", "medium", "few")`."""
    normalization: Normalization | None = None
    """How uint8 images of a batch become what a model takes; None where batches hold that already."""
    mixes: bool = False
    """Training samples are mixtures, with soft labels (n, C)."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest, at most 36 characters, of everything that training and evaluation see."""

    @property
    @abstractmethod
    def class_counts(self) -> torch.Tensor:
        """(C,) int64: training samples per class."""

    @property
    def class_frequency(self) -> torch.Tensor:
        """(C,) float32: share of the training samples that show the class."""
        counts = self.class_counts
        return (counts.double() / counts.sum()).float()

    def sample_classes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The distinct classes of each training sample, for samplers that look at them.

        Returns:
            (N + 1,) int64 offsets, and int64 classes: those of sample i are `classes[offsets[i]:offsets[i + 1]]`.

        Raises:
            ValueError: this data set does not say.
        """
        raise ValueError(f"{type(self).__name__} does not say which classes a sample has; choose the random sampler")

    @property
    @abstractmethod
    def groups(self) -> Sequence[str]:
        """(C,) the group of each class, one of `group_names`."""

    @property
    @abstractmethod
    def train(self) -> Samples:
        """Training samples, augmented."""

    @property
    @abstractmethod
    def eval(self) -> Samples:
        """Evaluation samples, not augmented."""
