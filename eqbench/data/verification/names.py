"""Names of files and classes that the system, or what is printed on, cannot spell."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

from eqbench.errors import EnvironmentProblem, InputError


@contextlib.contextmanager
def spelled() -> Iterator[None]:
    """Says what to do where a file's name, as lists have it, cannot be given to the system.

    Raises:
        EnvironmentProblem: the locale does not allow it.
        InputError: no locale does.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        if encoding == "utf-8":
            raise InputError(f"{error.object!a}: no file can have this name, it has half a character") from error
        raise EnvironmentProblem(
            f"{error.object!a}: file names need a UTF-8 locale, here they are in {encoding}; set LC_ALL=C.UTF-8"
        ) from error


def check_names(paths: Iterable[str]) -> None:
    """Raises what `spelled` does for the first that cannot be given to the system."""
    with spelled():
        for path in paths:
            if not path.isascii():
                os.fsencode(path)


def printable(text: str) -> str:
    r"""With an escape for what standard output cannot take, such as each byte of a file's name that is not UTF-8.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
