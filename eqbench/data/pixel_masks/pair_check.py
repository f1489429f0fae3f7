"""Looks closely at an image or its mask, as the file is now: an index is of when it was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eqbench.data.image_files.checking import Finding, check_image
from eqbench.data.image_files.decoding import decode_mask, properties
from eqbench.data.pixel_masks.labels import LabelMap
from eqbench.data.pixel_masks.scanning import different_sizes
from eqbench.errors import InputError


@dataclass(frozen=True)
class PairCheck:
    """Decodes one file and compares it with its counterpart: the `decode` of `Contents`.

    Attributes:
        labels: what the values of masks mean.
        image_of: image of each mask, as paths below the root; other files are images.
    """

    labels: LabelMap
    image_of: Mapping[str, str]

    def __call__(self, root: Path, path: str) -> list[Finding]:
        image = self.image_of.get(path)
        return self._image(root, path) if image is None else self._mask(root, path, image)

    @cached_property
    def _mask_of(self) -> dict[str, str]:
        return {image: mask for mask, image in self.image_of.items()}

    def _mask(self, root: Path, path: str, image: str) -> list[Finding]:
        try:
            mask = decode_mask(root / path)
        except InputError as error:
            return [("masks that cannot be used", str(error).removeprefix(f"{root}/"))]
        findings = []
        try:
            self.labels.apply(mask, path)
        except InputError as error:
            findings.append(("labels out of range", str(error)))
        try:
            found = properties(root / image)
        except InputError:  # the image is looked into too
            return findings
        height, width = mask.shape
        if (found.height, found.width) != (height, width):
            findings.append(("masks of another size", different_sizes(path, (height, width), found)))
        return findings

    def _image(self, root: Path, path: str) -> list[Finding]:
        size, findings = check_image(root, path)
        mask = self._mask_of.get(path)
        if size is None or mask is None:
            return findings
        try:
            found = properties(root / mask)
        except InputError:  # the mask is looked into too
            return findings
        if size != (found.width, found.height):
            what = f"{path}: {size[0]} x {size[1]} pixels (width x height), its mask has {found.width} x {found.height}"
            return [*findings, ("images of another size than their masks", what)]
        return findings
