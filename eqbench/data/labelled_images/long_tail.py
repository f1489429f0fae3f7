"""Images with one label each: counts, groups many, medium and few, mixing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from eqbench.data.base import Dataset
from eqbench.data.image_files.normalization import IMAGENET, Normalization
from eqbench.data.labelled_images.mixing import Mixing


class LongTailedImages(Dataset):
    """What data sets of images with one label each have in common.

    Args:
        mixup, cutmix: mix the images of a training batch, with the parameter alpha of the Beta distribution; 0 is off.
            With both, one of them at random for each batch. Labels are then shares of the classes.
        many_above, few_below: a class with more than `many_above` training images is of the group `many`, with fewer
            than `few_below` of `few`, and `medium` otherwise.

    Raises:
        ValueError: an argument is out of range.
    """

    group_names = ("many", "medium", "few")
    normalization: Normalization = IMAGENET

    def __init__(self, *, mixup: float = 0.0, cutmix: float = 0.0, many_above: int = 100, few_below: int = 20) -> None:
        self.mixing = Mixing(mixup, cutmix)
        self.mixes = bool(self.mixing)
        if not 0 <= few_below <= many_above + 1:
            raise ValueError(
                f"few_below {few_below}, many_above {many_above}: expected 0 <= few_below <= many_above + 1, "
                "so that no class is in two groups"
            )
        self.thresholds = many_above, few_below

    @property
    @abstractmethod
    def train_labels(self) -> Tensor:
        """(N,) int64: label of each training image."""

    @cached_property
    def class_counts(self) -> Tensor:
        return torch.bincount(self.train_labels, minlength=self.num_classes)

    @cached_property
    def groups(self) -> Sequence[str]:
        return groups_of(self.class_counts, *self.thresholds)

    def sample_classes(self) -> tuple[Tensor, Tensor]:
        return torch.arange(len(self.train_labels) + 1), self.train_labels


def groups_of(counts: Tensor, many_above: int = 100, few_below: int = 20) -> list[str]:
    """Group of each class by its number of training images.

    >>> groups_of(torch.tensor([101, 100, 20, 19]))
    ['many', 'medium', 'medium', 'few']
    """
    return ["many" if count > many_above else "few" if count < few_below else "medium" for count in counts.tolist()]
