"""Errors that end a command with one message and an exit code instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EqbenchError(Exception):
    """What a command reports in one message; `exit_code` is the process's."""

    exit_code = 3


class InputError(EqbenchError):
    """A user's mistake: a file, key, value or argument that is not as expected."""

    exit_code = 2


class EnvironmentProblem(EqbenchError):
    """The machine, the cluster or a server is not able to do what was asked."""

    exit_code = 3


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of `candidates`, or an empty string.

    >>> nearest("sofmax_eql", ["cross_entropy", "softmax_eql"])
    "; did you mean 'softmax_eql'?"
    """
    close = difflib.get_close_matches(str(name), list(candidates), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
