"""Pickles as Python 2 wrote them (protocol 2, byte strings), which is what the files of CIFAR are.

Python 3 would write text for the keys and NumPy's present module names for the arrays.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dumps(value: Any) -> bytes:
    """A dict, list, ASCII string, whole number of at most 32 bits, or array of bytes, or any nesting of them.

    >>> pickle.loads(dumps({"labels": [3, 700]}), encoding="bytes")
    {b'labels': [3, 700]}
    """
    out = io.BytesIO()
    out.write(pickle.PROTO + b"\x02")
    _write(out, value)
    out.write(pickle.STOP)
    return out.getvalue()


def _write(out: io.BytesIO, value: Any) -> None:
    match value:
        case dict():
            out.write(pickle.EMPTY_DICT + pickle.MARK)
            for key, entry in value.items():
                _write(out, key)
                _write(out, entry)
            out.write(pickle.SETITEMS)
        case list():
            out.write(pickle.EMPTY_LIST + pickle.MARK)
            for entry in value:
                _write(out, entry)
            out.write(pickle.APPENDS)
        case str():
            _write_bytes(out, value.encode("ascii"))
        case int():
            out.write(pickle.BININT + struct.pack("<i", value))
        case np.ndarray() if value.dtype == np.uint8:
            _write_array(out, value)
        case _:
            raise TypeError(f"{type(value).__name__}: expected dict, list, str, int or an array of uint8")


def _write_bytes(out: io.BytesIO, value: bytes) -> None:
    if len(value) < 256:
        out.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
    else:
        out.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)


def _write_array(out: io.BytesIO, array: NDArray[np.uint8]) -> None:
    """`_reconstruct(ndarray, (0,), "b")`, then its state: version, shape, dtype, not in Fortran order, content."""
    out.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
    out.write(pickle.MARK + pickle.GLOBAL + b"numpy\nndarray\n")
    out.write(pickle.MARK)
    _write(out, 0)
    out.write(pickle.TUPLE)
    _write(out, "b")
    out.write(pickle.TUPLE + pickle.REDUCE)
    out.write(pickle.MARK)
    _write(out, 1)
    out.write(pickle.MARK)
    for length in array.shape:
        _write(out, length)
    out.write(pickle.TUPLE)
    _write_dtype_of_bytes(out)
    out.write(pickle.NEWFALSE)
    _write_bytes(out, array.tobytes())
    out.write(pickle.TUPLE + pickle.BUILD)


def _write_dtype_of_bytes(out: io.BytesIO) -> None:
    """`dtype("u1", 0, 1)` and its state `(3, "|", None, None, None, -1, -1, 0)`."""
    out.write(pickle.GLOBAL + b"numpy\ndtype\n" + pickle.MARK)
    for argument in ("u1", 0, 1):
        _write(out, argument)
    out.write(pickle.TUPLE + pickle.REDUCE + pickle.MARK)
    _write(out, 3)
    _write(out, "|")
    out.write(pickle.NONE * 3)
    for number in (-1, -1, 0):
        _write(out, number)
    out.write(pickle.TUPLE + pickle.BUILD)
