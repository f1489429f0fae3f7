"""The first bytes of JPEG and PNG files: size, bits and channels, without a decoder."""

from __future__ import annotations

import struct
from dataclasses import dataclass

PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
JPEG_BEGINNING = b"\xff\xd8\xff"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_PALETTE = 3
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that tell the size; the three are tables
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


@dataclass(frozen=True, slots=True)
class Header:
    """What a JPEG or PNG file says of itself; zeros for what is neither."""

    format: str = ""
    """`"JPEG"`, `"PNG"` or empty."""
    width: int = 0
    height: int = 0
    bits: int = 0
    """Per channel."""
    channels: int = 0
    palette: bool = False

    @property
    def for_torchvision(self) -> bool:
        """Whether torchvision's decoder gives what Pillow does, and bears damage."""
        return self.format == "JPEG" and self.channels in (1, 3)


def read_header(data: memoryview) -> Header:
    """Looks at the file's bytes, whatever its name ends with.

    Raises:
        struct.error, IndexError: the file ends within its header.
    """
    if data[:3] == JPEG_BEGINNING:
        return _jpeg(data)
    if data[:8] == PNG_BEGINNING:
        width, height, bits, color = struct.unpack_from(">IIBB", data, 16)
        return Header("PNG", width, height, bits, PNG_CHANNELS.get(color, 0), color == PNG_PALETTE)
    return Header()


def _jpeg(data: memoryview) -> Header:
    """Goes from marker to marker to the one of the frame."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # padding
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xDA:
            return Header("JPEG")
        if marker in FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            return Header("JPEG", width, height, bits, channels)
        at += 2 if marker in ALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]
