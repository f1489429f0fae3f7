"""Looks closely at one image file: whether it decodes without a complaint, and what is unusual about it."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import torch

from eqbench.data.image_files.decoding import ImageProperties, decode_image, properties, read_bytes
from eqbench.errors import InputError

Finding = tuple[str, str]
"""Kind and text; a kind that begins with "note:" is a note, any other a problem."""

DAMAGE = re.compile(r"premature end|bad Huffman code|instead of RST")
"""Complaints of libjpeg after which it made pixels up: it goes on in grey or in the last colour, and raises nothing."""
EXTENSIONS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Of image files, in lower case, and the format that they announce."""
UNCHANGED = 0  # torchvision.io.ImageReadMode.UNCHANGED
USUAL_MODES = frozenset({"RGB", "P", "RGBX"})

_one_at_a_time = threading.Lock()


def image_findings(root: Path, path: str) -> list[Finding]:
    """What there is to say about `root / path`; raises nothing for a bad file."""
    return check_image(root, path)[1]


def check_image(root: Path, path: str) -> tuple[tuple[int, int] | None, list[Finding]]:
    """As `image_findings`, after the image's width and height, as stored; None for one that cannot be decoded."""
    file = root / path
    try:
        with complaints() as said:
            decode_image(file)
            found = properties(file)
            if (found.format, found.mode) == ("JPEG", "CMYK"):
                _have_libjpeg_complain(file)
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ")
        return None, [("missing files" if reason == "no such file" else "damaged images", f"{path}: {reason}")]
    return (found.width, found.height), [*_complaints_found(path, said), *_unusual(path, found)]


@contextlib.contextmanager
def complaints() -> Iterator[list[str]]:
    """What libjpeg writes to the process's standard error meanwhile, line by line; filled in afterwards.

    torchvision has no other way to tell. One thread at a time is inside.
    """
    lines: list[str] = []
    with _one_at_a_time, _collecting() as collected:
        before = os.dup(2)
        os.dup2(collected.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            size = os.lseek(collected.fileno(), 0, os.SEEK_END)
            lines += os.pread(collected.fileno(), size, 0).decode(errors="replace").splitlines()


def _collecting() -> IO[bytes]:
    """An empty file without a name: in memory on Linux, which needs no place for temporary files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("complaints"), "w+b")
    return tempfile.TemporaryFile()


def _have_libjpeg_complain(file: Path) -> None:
    """Decode a JPEG of four channels once more: Pillow, which decodes those, passes no complaint on."""
    with contextlib.suppress(RuntimeError):
        torch.ops.image.decode_jpeg(torch.from_numpy(read_bytes(file)), UNCHANGED, False)


def _complaints_found(path: str, said: list[str]) -> list[Finding]:
    return [
        ("damaged images" if DAMAGE.search(line) else "note:decoder complains", f"{path}: {line}")
        for line in dict.fromkeys(said)
    ]


def _unusual(path: str, found: ImageProperties) -> Iterator[Finding]:
    announced = EXTENSIONS.get(Path(path).suffix.lower())
    if announced and announced != found.format and (announced, found.format) != ("JPEG", "MPO"):
        yield "note:format other than the name says", f"{path}: {found.format}"
    if found.orientation != 1:
        yield "note:EXIF orientation, not applied", f"{path}: orientation {found.orientation}"
    if found.mode not in USUAL_MODES:
        yield f"note:mode {found.mode}, converted to RGB", path
