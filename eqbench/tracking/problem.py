"""Why something could not be sent to MLflow, in one line."""

from __future__ import annotations

import http.client
import re

from eqbench.errors import EnvironmentProblem
from eqbench.tracking.uri import public

NOT_NOW = {408, 429}
NOBODY = {401, 403}


class FilesRefused(Exception):
    """MLflow has everything of a run but its files: the artifact store does not take them."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status that stands for an error, if one does."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    return error.response.status_code if isinstance(error, HTTPError) and error.response is not None else None


def store_answers(error: Exception) -> bool:
    """Whether it is worth sending something else: the store refused this, or a file of the run cannot be read."""
    from requests import RequestException

    if isinstance(error, FilesRefused):
        return True
    status = status_of(error)
    if status is not None:
        return 400 <= status < 500 and status not in NOT_NOW
    return not isinstance(error, RequestException | EnvironmentProblem)


def of_one_file(error: Exception) -> bool:
    """Whether another file may well be taken: this one is too large, or not there."""
    status = status_of(error)
    if status is None:
        return isinstance(error, FileNotFoundError)
    return 400 <= status < 500 and status not in NOT_NOW | NOBODY


def describe(error: Exception, uri: str) -> str:
    """One line: where, and the innermost cause when nothing answers, else what was answered; no password."""
    if isinstance(error, FilesRefused) and isinstance(error.__cause__, Exception):
        return f"{describe(error.__cause__, uri)} (only files are missing)"
    return f"MLflow at {public(uri)}: {_text(error)}"


def _text(error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    cause: BaseException = error
    if isinstance(error, MlflowException) and not store_answers(error):
        while (inner := cause.__cause__ or cause.__context__) is not None:
            cause = inner
    text = str(cause).strip() or type(cause).__name__
    if isinstance(cause, OSError) and cause.strerror and not cause.filename:
        text = cause.strerror
    repeated = re.fullmatch("too many ([45][0-9]{2}) error responses", text)  # urllib3, of the last of its tries
    status = int(repeated[1]) if repeated else None if isinstance(cause, MlflowException) else status_of(cause)
    if status is not None:
        text = f"it answered {status} {http.client.responses.get(status, '')}".strip()
    return re.sub(r"//[^/@\s]+@", "//", text.splitlines()[0])[:300]
