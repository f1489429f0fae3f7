"""Why something could not be sent to MLflow, in one line."""

from __future__ import annotations

from eqbench.errors import EnvironmentProblem
from eqbench.tracking.uri import public

BUSY = {408, 429}


def store_answers(error: Exception) -> bool:
    """Whether it is worth sending something else: the store refused this, or a file of the run cannot be read."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if isinstance(error, MlflowException):
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
        return 400 <= status < 500 and status not in BUSY
    return not isinstance(error, RequestException | EnvironmentProblem)


def describe(error: Exception, uri: str) -> str:
    """One line: where, and the innermost cause when nothing answers, else what was answered."""
    from mlflow.exceptions import MlflowException

    cause: BaseException = error
    if isinstance(error, MlflowException) and not store_answers(error):
        while (inner := cause.__cause__ or cause.__context__) is not None:
            cause = inner
    text = str(cause) or type(cause).__name__
    if isinstance(cause, OSError) and cause.strerror and not cause.filename:
        text = cause.strerror
    return f"MLflow at {public(uri)}: {text.splitlines()[0][:300]}"
