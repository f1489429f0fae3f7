"""Image files to tensors: RGB images, label masks, and what a file's header says.

Every format gives three channels of 8 bits: grayscale as three equal channels, palettes expanded, CMYK and YCCK as
Pillow converts them, of 16 bits the higher 8, transparency dropped, of an animation the first frame. The EXIF
orientation is not applied: pixels come as they are stored, as in the loaders that the releases' results are from.
JPEG is decoded by torchvision, which is faster; with four channels, and everything else, by Pillow: torchvision's
decoder of PNG ends the process on some damaged files.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torchvision.io  # noqa: F401  (its functions warn at every call that they are to move; the operators do not)
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from eqbench.data.image_files.headers import Header, read_header
from eqbench.data.image_files.large_images import MOST_PIXELS, TooManyPixels, open_lazily
from eqbench.errors import InputError

RGB = 3  # torchvision.io.ImageReadMode.RGB
ORIENTATION = 0x0112  # tag of EXIF

Bytes = NDArray[np.uint8]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ImageProperties:
    """What the header of an image file says, in Pillow's terms."""

    width: int
    height: int
    mode: str
    """As Pillow names it: `"RGB"`, `"L"`, `"P"`, `"CMYK"`, `"I;16"`..."""
    orientation: int
    """Of EXIF, 1 to 8; 1 is upright."""
    format: str
    """As Pillow names it: `"JPEG"`, `"PNG"`..."""


def decode_image(path: PathLike) -> Tensor:
    """The image as (3, H, W) uint8, RGB.

    A JPEG that lacks a part but is closed with an end marker is decoded, what is missing in grey; only
    `eqbench data verify --deep` finds it, see `checking`.

    Raises:
        InputError: the file is missing, empty, cut off, not an image, or has more than 2**28 pixels.
    """
    data = read_bytes(path)
    header = _header(path, data)
    if not header.for_torchvision:
        return _pillow_rgb(path, data)
    try:
        image: Tensor = torch.ops.image.decode_jpeg(torch.from_numpy(data), RGB, False)
    except RuntimeError as error:
        raise damaged(path, error) from error
    return image


def decode_mask(path: PathLike) -> Tensor:
    """A label mask as (H, W) uint8: the values of a grayscale PNG, the indices of a palette PNG.

    Raises:
        InputError: the file cannot be read, is not a PNG, has several channels, or a value above 255.
    """
    data = read_bytes(path)
    header = _header(path, data)
    if header.format != "PNG":
        raise InputError(f"{path}: a mask in the format {header.format or _pillow_format(path, data)}; expected PNG")
    if header.channels != 1:
        raise InputError(f"{path}: a mask with {header.channels} channels; expected one, the labels")
    if header.bits in (2, 4) and not header.palette:
        raise InputError(f"{path}: a grayscale mask of {header.bits} bits; expected 8 bits, or a palette")
    values = np.asarray(_loaded(path, data))
    if values.dtype != np.uint8 and (largest := int(values.max())) > 255:
        row, column = (int(index[0]) for index in np.nonzero(values > 255))
        raise InputError(
            f"{path}: label {values[row, column]} at row {row}, column {column} (the largest is {largest}); "
            "expected at most 255"
        )
    return torch.from_numpy(values.astype(np.uint8))


def properties(path: PathLike) -> ImageProperties:
    """What the file's header says; pixels are not decoded.

    Raises:
        InputError: the file is missing, empty or not an image.
    """
    try:
        with open_lazily(path) as image:
            # Pillow would decode a PNG to look for EXIF behind the pixels
            absent = image.format == "PNG" and "exif" not in image.info
            orientation = 1 if absent else image.getexif().get(ORIENTATION, 1)
            return ImageProperties(*image.size, image.mode, _valid(orientation), image.format or "")
    except Exception as error:  # Pillow's readers raise errors of many kinds on damaged data
        read_bytes(path)
        raise damaged(path, error) from error


def read_bytes(path: PathLike) -> Bytes:
    """The file's content, as an array of uint8.

    Raises:
        InputError: it is missing, cannot be read, or is empty.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise InputError(f"{path}: {reason}") from error
    if not len(data):
        raise InputError(f"{path}: the file is empty")
    return data


def damaged(path: PathLike, error: Exception) -> InputError:
    """What a decoder's error means."""
    text = (str(error) or type(error).__name__).split("\n")[0].removesuffix(".")
    text = text.rpartition(".cpp:")[2].partition(", ")[2] or text  # torchvision begins with where in its code it was
    if isinstance(error, TooManyPixels):
        return InputError(f"{path}: {error}")
    if "truncated" in text.lower() or "out of bound" in text.lower():
        return InputError(f"{path}: the image is cut off ({text})")
    if "cannot identify" in text:
        return InputError(f"{path}: not an image; it begins with {bytes(read_bytes(path)[:20])!r}")
    return InputError(f"{path}: cannot be decoded: {text}")


def _header(path: PathLike, data: Bytes) -> Header:
    try:
        header = read_header(data.data)
    except (struct.error, IndexError) as error:
        raise InputError(f"{path}: the image is cut off (in its header)") from error
    if header.width * header.height > MOST_PIXELS:
        raise damaged(path, TooManyPixels(header.width, header.height))
    return header


def _loaded(path: PathLike, data: Bytes) -> Image.Image:
    try:
        image = open_lazily(BytesIO(data.data))
        image.load()
    except Exception as error:  # Pillow's readers raise errors of many kinds on damaged data
        raise damaged(path, error) from error
    return image


def _pillow_format(path: PathLike, data: Bytes) -> str:
    return _loaded(path, data).format or "unknown"


def _pillow_rgb(path: PathLike, data: Bytes) -> Tensor:
    image = _loaded(path, data)
    if image.mode in ("I", "F"):
        raise InputError(f"{path}: pixels of 32 bits; expected 8 or 16 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
