"""Reads pickles that hold plain data and NumPy arrays, and nothing that could run a program."""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

from eqbench.errors import InputError

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"): ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    ("_codecs", "encode"): ("_codecs", "encode"),
}
"""What an array's pickle calls, by NumPy's names of old and of now, and where it is now."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        place = ALLOWED.get((module, name))
        if place is None:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which is none of the data's business")
        return getattr(importlib.import_module(place[0]), place[1])


def read_pickle(file: Path) -> dict[str, Any]:
    """The file's dictionary; byte strings of Python 2 become text.

    Raises:
        InputError: the file is missing, cut off, no pickle, calls something, or holds no dictionary by names.
    """
    try:
        content = _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except Exception as error:  # damaged pickles raise errors of any kind
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{file}: not a pickle of CIFAR, or cut off: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds a {type(content).__name__}; expected a dictionary, as CIFAR's files do")
    for key in content:
        if not isinstance(key, str | bytes):
            raise InputError(f"{file}: has a {type(key).__name__} for a key; expected names, as in CIFAR's files")
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
