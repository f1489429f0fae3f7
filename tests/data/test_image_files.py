"""Decoding image files: every format gives what Pillow gives, and every damage is refused by name."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from eqbench.data.image_files import decoding
from eqbench.data.image_files.checking import check_image, image_findings
from eqbench.data.image_files.decoding import decode_image, decode_mask, properties
from eqbench.data.image_files.normalization import IMAGENET, Normalization
from eqbench.errors import InputError

HEIGHT, WIDTH = 45, 61
UPRIGHT, QUARTER_TURN = 1, 6


def pixels(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    red, green = (np.sin(columns / 9) + 1) * 127, (np.cos(rows / 7) + 1) * 127
    return np.stack([red, green, (rows + columns) % 256], axis=-1).astype(np.uint8)


def picture(mode: str = "RGB") -> Image.Image:
    if mode != "RGBA":
        return Image.fromarray(pixels()).convert(mode)
    image = Image.fromarray(pixels())
    image.putalpha(Image.fromarray(pixels()[..., 2]))
    return image


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = QUARTER_TURN
    return exif


def png16(values: NDArray[np.uint16], color: int) -> bytes:
    """A PNG of 16 bits with 1 to 4 channels, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


FRAMES = {"save_all": True, "append_images": [picture().rotate(90), picture().rotate(180)]}
READABLE: dict[str, bytes] = {
    "rgb.jpg": encoded(picture(), quality=90),
    "progressive.jpg": encoded(picture(), progressive=True, subsampling=0),
    "gray.jpg": encoded(picture("L")),
    "cmyk.jpg": encoded(picture("CMYK")),
    "rotated.jpg": encoded(picture(), exif=rotated()),
    "rgb.png": encoded(picture(), "PNG"),
    "gray.png": encoded(picture("L"), "PNG"),
    "bilevel.png": encoded(picture("1"), "PNG"),
    "palette.png": encoded(picture("P"), "PNG"),
    "palette_transparent.png": encoded(picture("P"), "PNG", transparency=3),
    "gray_transparent.png": encoded(picture("L"), "PNG", transparency=30),
    "alpha.png": encoded(picture("RGBA"), "PNG"),
    "gray_alpha.png": encoded(picture("RGBA").convert("LA"), "PNG"),
    "still.gif": encoded(picture(), "GIF"),
    "animated.gif": encoded(picture(), "GIF", **FRAMES),
    "animated.png": encoded(picture(), "PNG", **FRAMES),
    "animated.webp": encoded(picture(), "WEBP", **FRAMES),
    "still.webp": encoded(picture(), "WEBP"),
    "rgb.bmp": encoded(picture(), "BMP"),
    "rgb.tif": encoded(picture(), "TIFF"),
    "png_named.jpg": encoded(picture(), "PNG"),
}


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("name", READABLE)
def test_every_format_gives_what_pillow_gives(tmp_path: Path, name: str) -> None:
    image = decode_image(written(tmp_path, name, READABLE[name]))
    with Image.open(tmp_path / name) as reference:
        expected = np.asarray(reference.convert("RGB"))
    assert image.dtype is torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(("color", "channels"), [(0, [0, 0, 0]), (2, [0, 1, 2]), (4, [0, 0, 0]), (6, [0, 1, 2])])
def test_of_16_bits_the_higher_8_are_kept(tmp_path: Path, color: int, channels: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (7, 9, {0: 1, 2: 3, 4: 2, 6: 4}[color]), dtype=np.uint16)
    image = decode_image(written(tmp_path, "deep.png", png16(values, color)))
    assert np.array_equal(image.permute(1, 2, 0).numpy(), (values >> 8)[..., channels])


def test_orientation_is_reported_and_not_applied(tmp_path: Path) -> None:
    file = written(tmp_path, "rotated.jpg", READABLE["rotated.jpg"])
    assert decode_image(file).shape == (3, HEIGHT, WIDTH)
    found = properties(file)
    assert (found.width, found.height, found.mode, found.format) == (WIDTH, HEIGHT, "RGB", "JPEG")
    assert found.orientation == QUARTER_TURN
    assert properties(written(tmp_path, "upright.jpg", READABLE["rgb.jpg"])).orientation == UPRIGHT


# -- damage ------------------------------------------------------------------------------------------------------

JPEG, PNG = READABLE["rgb.jpg"], READABLE["rgb.png"]
REFUSED: dict[str, tuple[bytes, str]] = {
    "cut.jpg": (JPEG[: len(JPEG) // 2], "cut off"),
    "without_its_last_bytes.jpg": (JPEG[:-2], "cut off"),
    "cut_in_its_header.jpg": (JPEG[:100], "cut off"),
    "half_of_it_zeros.jpg": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), "cut off"),
    "cut_cmyk.jpg": (READABLE["cmyk.jpg"][:-300], "cut off"),
    "cut.png": (PNG[: len(PNG) // 2], "cut off"),
    "cut_in_its_header.png": (PNG[:20], "cut off"),
    "cut.gif": (READABLE["still.gif"][:-200], "cut off"),
    "cut.webp": (READABLE["still.webp"][:100], "cannot be decoded"),
    "empty.jpg": (b"", "the file is empty"),
    "zeros.jpg": (bytes(1000), "not an image"),
    "text.jpg": (b"photograph of a cat", "not an image"),
    "download.jpg": (b"<html><body>404 Not Found</body></html>", "not an image; it begins with b'<html><body>404 Not"),
    "huge.png": (PNG[:16] + struct.pack(">II", 2**15, 2**14) + PNG[24:], "32,768 x 16,384 pixels; expected at most"),
    "float.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "pixels of 32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_files_are_refused_with_name_and_reason(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    file = written(tmp_path, name, content)
    with pytest.raises(InputError) as raised:
        decode_image(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [kind for kind, _ in image_findings(tmp_path, name)] == ["damaged images"]


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    for read in (decode_image, decode_mask, properties):
        with pytest.raises(InputError, match=r"nowhere\.jpg: no such file"):
            read(tmp_path / "nowhere.jpg")
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["rgb.jpg", "cmyk.jpg", "palette.png", "animated.gif", "still.webp", "rgb.tif"])
def test_random_damage_is_refused_or_decoded_and_nothing_else(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    refusals = []
    for number in range(60):
        content = bytearray(READABLE[name])
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if chance.random() < 0.3:
            del content[chance.randrange(1, len(content)) :]
        file = written(tmp_path, f"{number}_{name}", bytes(content))
        for read in (decode_image, decode_mask, properties):
            try:
                read(file)
            except InputError as error:
                refusals.append((file, read, str(error)))
    assert [message for file, _, message in refusals if not message.startswith(f"{file}: ")] == []
    assert decode_image in {read for _, read, _ in refusals}


# -- close looks -------------------------------------------------------------------------------------------------


def test_an_end_that_a_decoder_makes_up_is_found(tmp_path: Path) -> None:
    filled = JPEG[: len(JPEG) // 2] + b"\xff\xd9"
    written(tmp_path, "filled.jpg", filled)
    assert image_findings(tmp_path, "filled.jpg") == [
        ("damaged images", "filled.jpg: Corrupt JPEG data: premature end of data segment")
    ]


def test_harmless_complaints_and_unusual_files_are_notes(tmp_path: Path) -> None:
    extra = JPEG[:-2] + b"\x00\x01\x02" + JPEG[-2:]
    kinds = {}
    for name, content in {**READABLE, "extra.jpg": extra}.items():
        written(tmp_path, name, content)
        size, findings = check_image(tmp_path, name)
        assert size == (WIDTH, HEIGHT)
        kinds[name] = [kind for kind, _ in findings]
    assert kinds["rgb.jpg"] == kinds["palette.png"] == kinds["animated.webp"] == []
    assert kinds["extra.jpg"] == ["note:decoder complains"]
    assert kinds["cmyk.jpg"] == ["note:mode CMYK, converted to RGB"]
    assert kinds["gray.jpg"] == ["note:mode L, converted to RGB"]
    assert kinds["rotated.jpg"] == ["note:EXIF orientation, not applied"]
    assert kinds["png_named.jpg"] == ["note:format other than the name says"]


def test_damage_is_found_where_files_in_memory_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    test_an_end_that_a_decoder_makes_up_is_found(tmp_path)


@pytest.mark.parametrize(("width", "allowed"), [(2**14 - 1, True), (2**14 + 1, False)])
def test_the_limit_is_our_own_without_a_warning(tmp_path: Path, width: int, allowed: bool) -> None:
    """Up to 2**28 pixels; Pillow's limit, less than a third of it, stays as it is for others."""
    assert Image.MAX_IMAGE_PIXELS == 2**30 // 12
    ends = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, 2**14, 1, 24, 0, 0, 0, 0, 0, 0)
    file = written(tmp_path, "large.bmp", ends)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if allowed:
            assert properties(file).width == width
        for read in () if allowed else (properties, decode_image):
            with pytest.raises(
                InputError, match=r"large.bmp: an image of 16,385 x 16,384 pixels; expected at most 268,4"
            ):
                read(file)
    assert Image.MAX_IMAGE_PIXELS == 2**30 // 12


def test_standard_error_is_as_it_was_after_a_close_look(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "filled.jpg", JPEG[: len(JPEG) // 2] + b"\xff\xd9")
    image_findings(tmp_path, "filled.jpg")
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


# -- masks -------------------------------------------------------------------------------------------------------


def test_masks_are_as_stored(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 151, (5, 6), dtype=np.uint8)
    indexed = Image.fromarray(labels)
    indexed.putpalette(bytes(range(256)) * 3)
    for name, content in {
        "gray.png": encoded(Image.fromarray(labels), "PNG"),
        "palette.png": encoded(indexed, "PNG"),
        "transparent.png": encoded(Image.fromarray(labels), "PNG", transparency=0),
        "deep.png": png16(labels[..., None].astype(np.uint16), 0),
    }.items():
        mask = decode_mask(written(tmp_path, name, content))
        assert mask.dtype is torch.uint8
        assert np.array_equal(mask.numpy(), labels), name
    few = Image.fromarray(labels % 3)
    few.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask = decode_mask(written(tmp_path, "two_bits.png", encoded(few, "PNG", bits=2)))
    assert np.array_equal(mask.numpy(), labels % 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("mask.jpg", encoded(picture("L")), "in the format JPEG; expected PNG"),
        ("mask.gif", encoded(picture("L"), "GIF"), "in the format GIF; expected PNG"),
        ("rgb.png", PNG, "with 3 channels; expected one"),
        ("alpha.png", READABLE["alpha.png"], "with 4 channels"),
        ("deep.png", png16(np.full((2, 3, 1), 300, np.uint16), 0), "label 300 at row 0, column 0"),
        ("cut.png", encoded(picture("L"), "PNG")[:300], "cut off"),
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"0 0 0 1", "not an image"),
    ],
)
def test_other_masks_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    file = written(tmp_path, name, content)
    with pytest.raises(InputError) as raised:
        decode_mask(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert reason in str(raised.value)


# -- normalisation -----------------------------------------------------------------------------------------------


def test_normalization_is_the_formula_in_any_memory_format() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    expected = (images.float() / 255 - mean) / std
    for given in (images, images.to(memory_format=torch.channels_last)):
        result = IMAGENET.apply(given)
        assert result.dtype is torch.float32
        assert result.is_contiguous()
        torch.testing.assert_close(result, expected)
    assert IMAGENET.apply(images[:0]).shape == (0, 3, 5, 7)
    assert IMAGENET.apply(expected) is expected


def test_normalization_can_be_used_in_training_after_evaluation() -> None:
    normalization = Normalization((0.5,), (0.25,))
    images = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    with torch.inference_mode():
        normalization.apply(images)
    weight = torch.ones(1, 1, 2, 2, requires_grad=True)
    (weight * normalization.apply(images)).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.full_like(weight, 2.0))
    assert pickle.loads(pickle.dumps(normalization)) == normalization
