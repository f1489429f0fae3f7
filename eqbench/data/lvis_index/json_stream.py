"""Reads a large json object of arrays in one pass, some megabytes at a time.

A 600 MB annotation file as Python objects takes 4 GB; a batch of its records some tens of megabytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from eqbench.errors import InputError

WINDOW_BYTES = 8 * 2**20
SPACE = b" \t\r\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BETWEEN_RECORDS = re.compile(rb"\}\s*(?=,\s*\{)")
LAST_RECORD = re.compile(rb"\}\s*(?=\])")
COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
LONGEST_TOKEN = 16
"""A parser that fails so near the end of the file has met a number or a word that is cut off."""

OnBatch = Callable[[str, int, list[Any]], None]


def read_arrays(path: Path, on_batch: OnBatch) -> tuple[str, dict[str, Any]]:
    """Read the json object in `path`.

    `on_batch(key, first, records)` gets the elements of every array, in order; `first` is the position of
    `records[0]`. An empty array is one empty batch.

    Returns:
        SHA-256 of the file, and the values that are not arrays.

    Raises:
        InputError: not a json object, or cut off; with the place.
    """
    with path.open("rb") as file:
        return _Reader(path, file.read).read_object(on_batch)


class _Reader:
    """A window on the file: `buffer[position:]` is what has not been read."""

    def __init__(self, path: Path, read: Callable[[int], bytes]) -> None:
        self._path = path
        self._read = read
        self._buffer = b""
        self._position = 0
        self._dropped = 0  # bytes of the file before the buffer
        self._ended = False
        self._digest = hashlib.sha256()
        self._scan = json.JSONDecoder().raw_decode

    def read_object(self, on_batch: OnBatch) -> tuple[str, dict[str, Any]]:
        self._fill()
        if self._buffer.startswith(BYTE_ORDER_MARK):
            self._position = len(BYTE_ORDER_MARK)
        first = self._peek()
        if first != b"{":
            found = "an empty file" if not first else "a list" if first == b"[" else f"{first!r}"[1:]
            raise InputError(
                f"{self._path}: expected a json object with images, annotations and categories, found {found}"
            )
        self._position += 1
        others: dict[str, Any] = {}
        while self._peek() != b"}":
            key = str(self._value("a key"))
            self._expect(b":", f"{key!r}")
            if self._peek() == b"[":
                self._position += 1
                self._array(key, on_batch)
            else:
                others[key] = self._value(f"{key!r}")
            if self._peek() != b"}":
                self._expect(b",", f"{key!r}")
        self._position += 1
        if self._peek():
            self._fail(self._position, "the end of the file expected after the object")
        return self._digest.hexdigest(), others

    def _array(self, key: str, on_batch: OnBatch) -> None:
        """Read up to the closing bracket."""
        first = 0
        if self._peek() == b"]":
            on_batch(key, 0, [])
        while self._peek() != b"]":
            if len(self._buffer) - self._position < WINDOW_BYTES // 2 and not self._ended:
                self._fill()
            records = self._fast_batch() or self._slow_batch(f"{key}[{{}}]", first)
            on_batch(key, first, records)
            first += len(records)
            if self._peek() != b"]":
                self._expect(b",", f"{key}[{first - 1}]")
                if self._peek() == b"]":
                    self._fail(self._position, f"a comma and nothing after it: {key}[{first - 1}]")
        self._position += 1

    def _fast_batch(self) -> list[Any] | None:
        """As many records as the window holds, if where they end can be told from the characters around it.

        A cut at a wrong place, in a text or in a list within a record, leaves something that is not json.
        """
        from pydantic_core import from_json

        last = LAST_RECORD.search(self._buffer, self._position)
        if last:
            end = last.end()
        else:
            tail = max(self._position, len(self._buffer) - WINDOW_BYTES // 8)
            ends = [found.end() for found in BETWEEN_RECORDS.finditer(self._buffer, tail)]
            if not ends:
                return None
            end = ends[-1]
        try:
            records = from_json(b"[" + self._buffer[self._position : end] + b"]", cache_strings="keys")
        except ValueError:
            return None
        self._position = end
        return records if isinstance(records, list) else None

    def _slow_batch(self, where: str, first: int) -> list[Any]:
        """The window's records one by one, at least one; says where the file is not json."""
        records = [self._value(where.format(first))]
        text = self._text()
        offset = 0
        while found := COMMA.match(text, offset):
            try:
                record, end = self._scan(text, found.end())
            except json.JSONDecodeError:
                break
            if end == len(text):
                break
            records.append(record)
            offset = end
        self._position += len(text[:offset].encode("utf-8", "surrogateescape"))
        return records

    def _value(self, where: str) -> Any:
        """One value of any kind; the window grows until it is complete."""
        self._peek()
        while True:
            text = self._text()
            try:
                value, end = self._scan(text, 0)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(text) - LONGEST_TOKEN
                if self._ended or not cut:
                    place = self._position + len(text[: error.pos].encode("utf-8", "surrogateescape"))
                    self._fail(place, f"{where}: {error.msg}", cut=cut and self._ended)
            else:
                if end < len(text) or self._ended:
                    self._position += len(text[:end].encode("utf-8", "surrogateescape"))
                    return value
            self._fill()

    def _text(self) -> str:
        return self._buffer[self._position :].decode("utf-8", "surrogateescape")

    def _expect(self, character: bytes, after: str) -> None:
        if (found := self._peek()) != character:
            self._fail(self._position, f"{character.decode()!r} expected after {after}", cut=not found)
        self._position += 1

    def _peek(self) -> bytes:
        """The next character that is no space; empty at the end of the file."""
        while True:
            while (found := self._buffer[self._position : self._position + 1]) and found in SPACE:
                self._position += 1
            if found or self._ended:
                return found
            self._fill()

    def _fill(self) -> None:
        """Read on: at least a window, and as much as there is already."""
        rest = self._buffer[self._position :]
        more = self._read(max(WINDOW_BYTES, len(rest)))
        self._dropped += self._position
        self._buffer, self._position = rest + more, 0
        self._ended = not more
        self._digest.update(more)

    def _fail(self, position: int, reason: str, *, cut: bool = False) -> NoReturn:
        place = self._dropped + position
        if cut:
            size = self._dropped + len(self._buffer)
            raise InputError(
                f"{self._path}: cut off after {size:,} bytes, in the middle of the json ({reason}); "
                "download it again, or unpack it again"
            )
        with self._path.open("rb") as file:
            before = file.read(place)
        line, column = before.count(b"\n") + 1, place - (before.rfind(b"\n") + 1) + 1
        raise InputError(f"{self._path}: not json at line {line}, column {column} (byte {place:,}): {reason}")
