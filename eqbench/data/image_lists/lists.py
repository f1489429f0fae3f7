"""Lists of labelled images, one `relative/path label` a line, as ImageNet-LT and its relatives are published.

A list of 437,513 lines is read some megabytes at a time with NumPy; Python looks at single lines only where there is
something wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqbench.data.image_files.paths import path_fault
from eqbench.data.labelled_images.image_list import PathColumn
from eqbench.errors import InputError

WINDOW_BYTES = 4 * 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LABEL = 9
LONGEST_TRAILING_SPACE = 64
SHOWN = 80
NEWLINE, ZERO, NINE, SLASH, COLON = b"\n09/:"
SPACE = np.zeros(256, dtype=bool)
SPACE[list(b" \t\r\v\f")] = True
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
EMPTY_LINE = "empty; expected `path label`"
SUSPICIOUS = (b"..", b"./", b"/.", b"//", b"/ ", b"/\t", b"\\", b"\0")
"""Lines with none of these can only have a path that is wrong in how it begins."""

Positions = NDArray[np.int64]


class Fault(NamedTuple):
    """What is wrong with a line."""

    line: int
    reason: str


@dataclass(frozen=True)
class ParsedList:
    """A list's images in its order; lines with a fault are left out."""

    file: Path
    paths: PathColumn
    labels: Tensor
    """(N,) int64."""
    faults: list[Fault] = field(default_factory=list)


def read_list(file: Path, *, num_classes: int | None = None) -> ParsedList:
    """Read a list in which every line is as it has to be.

    The label is a line's last word, so that paths may contain spaces. Lines end as on Unix or Windows.

    Args:
        file: in UTF-8, with or without byte order mark.
        num_classes: labels are below it; None if any whole number from 0 will do.

    Raises:
        InputError: no such file, empty, or not UTF-8; or the first line that has no label, a label that is none, a
            path that is absolute or leads out of the data set's folder, or the path of an earlier line.
    """
    images = parse_list(file, num_classes=num_classes)
    if images.faults:
        line, reason = images.faults[0]
        more = f" ({len(images.faults):,} such lines)" if len(images.faults) > 1 else ""
        raise InputError(f"{file}, line {line}: {reason}{more}")
    return images


def parse_list(file: Path, *, num_classes: int | None = None) -> ParsedList:
    """As `read_list`, with what is wrong with lines in `faults`, by line.

    Raises:
        InputError: no such file, empty, or not UTF-8.
    """
    windows = [_read_window(first, data, num_classes) for first, data in _windows(file)]
    if all(window.is_blank() for window in windows):
        raise InputError(f"{file}: empty; expected a line `path label` for each image")
    kept = _Window(
        b"".join(window.names for window in windows),
        np.concatenate([window.lengths for window in windows]),
        np.concatenate([window.labels for window in windows]),
        np.concatenate([window.lines for window in windows]),
        np.concatenate([window.hashes for window in windows]),
        [fault for window in windows for fault in window.faults],
    )
    offsets = np.concatenate([[0], np.cumsum(kept.lengths)])
    paths, labels = PathColumn(kept.names, offsets), kept.labels
    repeated = _repeated(paths, kept)
    if repeated:
        paths = PathColumn.from_strings(path for index, path in enumerate(paths) if index not in repeated)
        labels = np.delete(labels, list(repeated))
    faults = sorted([*_without_last_empty(kept), *repeated.values()])
    return ParsedList(file, paths, torch.from_numpy(labels), faults)


def line_with_label(file: Path, label: int) -> int | None:
    """The first line of a list that ends with this label."""
    with file.open("rb") as source:
        for line, text in enumerate(source, 1):
            last = text.rsplit(None, 1)[-1:]
            if last and last[0].lstrip(b"0") == str(label).encode():
                return line
    return None


class _Window(NamedTuple):
    """Some lines of a list: the paths in one text, and of each its length, label, line and hash."""

    names: bytes
    lengths: Positions
    labels: Positions
    lines: Positions
    hashes: Positions
    faults: list[Fault]

    def is_blank(self) -> bool:
        return not len(self.lines) and all(fault.reason == EMPTY_LINE for fault in self.faults)


def _windows(file: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines, without the last line's end, and the number of the first of them.

    Raises:
        InputError: no such file, or not UTF-8.
    """
    try:
        with file.open("rb") as source:
            line, rest = 1, source.read(len(BYTE_ORDER_MARK))
            rest = rest.removeprefix(BYTE_ORDER_MARK)
            while data := source.read(WINDOW_BYTES):
                data = rest + data
                end = data.rfind(b"\n") + 1
                data, rest = data[:end], data[end:]
                if data:
                    yield line, _checked(file, line, data)
                line += data.count(b"\n")
            if rest:
                yield line, _checked(file, line, rest)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error


def _checked(file: Path, first: int, data: bytes) -> bytes:
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = first + data.count(b"\n", 0, error.start)
            raise InputError(
                f"{file}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); expected a text file"
            ) from error
    return data


def _read_window(first: int, data: bytes, num_classes: int | None) -> _Window:
    characters = np.frombuffer(data, dtype=np.uint8)
    starts, ends = _line_positions(data, characters)
    ends = _without_trailing_space(characters, starts, ends)
    labels, digits = _trailing_numbers(characters, starts, ends)
    path_ends = ends - digits
    good = (digits > 0) & (digits <= LONGEST_LABEL) & (path_ends > starts)
    good &= SPACE[characters[np.maximum(path_ends - 1, 0)]]
    if num_classes is not None:
        good &= labels < num_classes
    path_ends = _without_trailing_space(characters, starts, path_ends)
    good &= path_ends > starts
    good &= ~_begins_absolute(characters, starts, path_ends)
    faults = []
    if not good.all() or any(mark in data for mark in SUSPICIOUS):
        for index in range(len(starts)):
            reason = _fault(data[starts[index] : ends[index]], num_classes)
            if reason or not good[index]:
                faults.append(Fault(first + index, reason or "expected `path label`"))
                good[index] = False
    lines = np.flatnonzero(good)
    spans = [data[start:end] for start, end in zip(starts[lines].tolist(), path_ends[lines].tolist(), strict=True)]
    hashes = np.fromiter(map(hash, spans), dtype=np.int64, count=len(spans))
    return _Window(b"".join(spans), (path_ends - starts)[lines], labels[lines], lines + first, hashes, faults)


def _line_positions(data: bytes, characters: NDArray[np.uint8]) -> tuple[Positions, Positions]:
    """Where each line starts and ends."""
    ends = np.flatnonzero(characters == NEWLINE)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    return np.concatenate([[0], ends[:-1] + 1]), ends


def _without_trailing_space(characters: NDArray[np.uint8], starts: Positions, ends: Positions) -> Positions:
    for _ in range(LONGEST_TRAILING_SPACE):
        trailing = (ends > starts) & SPACE[characters[np.maximum(ends - 1, 0)]]
        if not trailing.any():
            break
        ends = ends - trailing
    return ends


def _trailing_numbers(characters: NDArray[np.uint8], starts: Positions, ends: Positions) -> tuple[Positions, Positions]:
    """The number that each line ends with, and how many digits it has (0: none)."""
    numbers, digits = np.zeros_like(ends), np.zeros_like(ends)
    for power in range(LONGEST_LABEL + 1):
        position = ends - 1 - power
        character = characters[np.maximum(position, 0)]
        more = (digits == power) & (position >= starts) & (character >= ZERO) & (character <= NINE)
        if not more.any():
            break
        numbers += more * (character.astype(np.int64) - ZERO) * 10**power
        digits += more
    return numbers, digits


def _begins_absolute(characters: NDArray[np.uint8], starts: Positions, ends: Positions) -> NDArray[np.bool_]:
    last = len(characters) - 1
    first, second, third = (characters[np.minimum(starts + place, last)] for place in range(3))
    drive = (ends > starts + 2) & (second == COLON) & (third == SLASH)
    absolute: NDArray[np.bool_] = (first == SLASH) | drive
    return absolute


def _fault(line: bytes, num_classes: int | None) -> str:
    """What is wrong with a line; empty if nothing is."""
    words = [word.decode() for word in line.rsplit(None, 1)]
    text = line.decode().strip()
    shown = repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
    if not words:
        return EMPTY_LINE
    if len(words) == 1:
        return f"{shown} has no label; expected `path label`"
    path, label = words
    if not WHOLE_NUMBER.fullmatch(label):
        return f"{shown} has no label: {label!r} is not a whole number; expected `path label`"
    if not label.isdecimal() or len(label) > LONGEST_LABEL or int(label) >= (num_classes or 10**LONGEST_LABEL):
        expected = "a whole number from 0" if num_classes is None else f"0 to {num_classes - 1}"
        return f"label {label}, expected {expected}"
    return path_fault(path)


def _without_last_empty(kept: _Window) -> list[Fault]:
    """The faults; empty lines at the end of a file are none."""
    written = [fault.line for fault in kept.faults if fault.reason != EMPTY_LINE] + kept.lines[-1:].tolist()
    last = max(written, default=0)
    return [fault for fault in kept.faults if fault.line < last or fault.reason != EMPTY_LINE]


def _repeated(paths: PathColumn, kept: _Window) -> dict[int, Fault]:
    """Images with the path of an earlier one, by index."""
    order = np.argsort(kept.hashes, kind="stable")
    same = kept.hashes[order[1:]] == kept.hashes[order[:-1]]
    if not same.any():
        return {}
    first_line: dict[str, int] = {}
    faults = {}
    for index in np.unique(np.concatenate([order[1:][same], order[:-1][same]])).tolist():
        line = int(kept.lines[index])
        earlier = first_line.setdefault(paths[index], line)
        if earlier != line:
            faults[index] = Fault(line, f"path {paths[index]!r} is already in line {earlier}")
    return faults
