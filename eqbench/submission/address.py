"""Where a cluster's job server is, and what it is told to let us in."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from eqbench.errors import EnvironmentProblem, InputError
from eqbench.tracking.uri import shown

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS")
GCS_PORT, CLIENT_PORT, DASHBOARD_PORT = 6379, 10001, 8265
TOKEN_FILE = Path(".ray") / "auth_token"


def find_address(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The job server's URL without a slash at its end: as given, else from the environment as `ray job` has it.

    Raises:
        InputError: there is none, or it is no URL of a job server.

    >>> find_address("head:8265/", {})
    'http://head:8265'
    """
    address = given or address_of_environment(environment)
    if not address:
        raise InputError(
            f"--address: none is given; expected the URL of the cluster's dashboard, e.g. "
            f"--address http://127.0.0.1:{DASHBOARD_PORT}, or in {VARIABLES[0]}"
        )
    if "@" in address:
        raise InputError("--address: a password does not belong in it; tokens come from RAY_AUTH_TOKEN_PATH")
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    named = f"--address {shown(address)}"
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise InputError(f"{named}: is no URL ({error}); expected {_example(None)}") from error
    if parts.scheme == "ray" or port in (GCS_PORT, CLIENT_PORT):
        what = "Ray's client" if parts.scheme == "ray" or port == CLIENT_PORT else "Ray's own store (GCS)"
        raise InputError(f"{named}: this is the address of {what}, jobs go to {_example(parts.hostname)}")
    if parts.scheme not in ("http", "https") or not parts.hostname or address == "auto":
        raise InputError(f"{named}: expected {_example(None)}")
    if not re.fullmatch("[!-~]+", url) or parts.query or parts.fragment:
        raise InputError(f"{named}: has a blank, a query or more than plain ASCII; expected {_example(None)}")
    return url


def address_of_environment(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the environment names as the job server, if anything: RAY_ADDRESS too, where that is a URL."""
    named = next((environment[name] for name in VARIABLES if environment.get(name)), None)
    address = environment.get("RAY_ADDRESS", "")
    return named or (address if address.startswith(("http://", "https://")) else None)


def _example(host: str | None) -> str:
    return f"the dashboard, e.g. --address http://{host or '<head>'}:{DASHBOARD_PORT}"


def is_loopback(host: str) -> bool:
    """Whether every machine means itself by this name or address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("head")
    (True, True, False)
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def headers(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> dict[str, str]:
    """What every request carries: RAY_JOB_HEADERS, and the token where RAY_AUTH_MODE=token.

    Raises:
        InputError: RAY_JOB_HEADERS is no JSON object, or holds what no header can.
        EnvironmentProblem: RAY_AUTH_TOKEN_PATH cannot be read, or a token is not one word.
    """
    try:
        sent = {str(key): str(value) for key, value in json.loads(environment.get("RAY_JOB_HEADERS") or "{}").items()}
    except (ValueError, AttributeError) as error:
        raise InputError('RAY_JOB_HEADERS: expected a JSON object, e.g. {"X-Team": "vision"}') from error
    for name, value in sent.items():
        if not HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise InputError(f"RAY_JOB_HEADERS: {name!r}: expected a header's name and one line of plain ASCII")
    wanted = environment.get("RAY_AUTH_MODE", "").lower() == "token" and "authorization" not in map(str.lower, sent)
    if wanted and (token := _token(environment, home)):
        sent["Authorization"] = f"Bearer {token}"
    return sent


def _token(environment: Mapping[str, str], home: Path | None) -> str:
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return _one_word(token.encode(errors="surrogateescape"), "RAY_AUTH_TOKEN")
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    try:
        file = Path(named).expanduser() if named else (home or Path.home()) / TOKEN_FILE
        content = file.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no such user, or none with a home
        if named:
            why = getattr(error, "strerror", None) or error
            raise EnvironmentProblem(f"RAY_AUTH_TOKEN_PATH={named}: cannot be read ({why})") from error
        return ""
    return _one_word(content, f"RAY_AUTH_TOKEN_PATH={named}" if named else str(file))


def _one_word(content: bytes, origin: str) -> str:
    """The token, which no message shows."""
    token = content.strip()
    if any(not 0x21 <= byte <= 0x7E for byte in token):
        raise EnvironmentProblem(f"{origin}: holds no token; expected one word of plain ASCII, as Ray prints it")
    return token.decode("ascii")
