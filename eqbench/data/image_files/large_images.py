"""Opens images with Pillow up to a size of our own: Pillow warns of fewer pixels, or refuses them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

MOST_PIXELS = 2**28

_lock = threading.Lock()
_without_limit = 0  # calls that are inside
_limit_before: int | None = None


class TooManyPixels(ValueError):
    """An image of more than `MOST_PIXELS`."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"an image of {width:,} x {height:,} pixels; expected at most {MOST_PIXELS:,}")


def open_lazily(file: str | os.PathLike[str] | BytesIO) -> Image.Image:
    """As `Image.open`, which reads no pixels.

    Raises:
        TooManyPixels: it has more than 2**28.
    """
    with _any_size():
        image = Image.open(file)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise TooManyPixels(*image.size)
    return image


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lifts Pillow's limit, which is one for the process, as long as some thread is inside."""
    global _without_limit, _limit_before
    with _lock:
        if not _without_limit:
            _limit_before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _without_limit += 1
    try:
        yield
    finally:
        with _lock:
            _without_limit -= 1
            if not _without_limit:
                Image.MAX_IMAGE_PIXELS = _limit_before
