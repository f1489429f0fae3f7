"""Where results go: a folder that all machines share, or a URI, of which each machine keeps a working copy.

With a URI everything is written to a local folder as always, and mirrored:

    $EQBENCH_CACHE/storage/<kind>-<bucket>-<prefix>-<digest>/      by default below ~/.cache/eqbench
        .place.json                    the URI
        <suite>/…                      as in `eqbench.run_folder`; .mirror.json beside it: what the URI has of it
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from eqbench.errors import InputError, nearest

if TYPE_CHECKING:
    from eqbench.storage.remote import Remote

PYARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
FSSPEC_PACKAGES = {"az": "adlfs", "oss": "ossfs", "sftp": "paramiko", "smb": "smbprotocol", "webdav": "webdav4"}
SECRETS = ("key", "secret", "password", "token", "signature", "sas", "credential")
MARKER = ".place.json"


@dataclass(frozen=True)
class Place:
    """A storage: the folder to work in, and the URI that it mirrors; no URI for a folder that machines share."""

    local: Path
    uri: str | None = None

    @property
    def shown(self) -> str:
        """For messages: the URI without its query, or the path."""
        return str(self.local) if self.uri is None else public(self.uri)

    @cached_property
    def remote(self) -> Remote | None:
        """What is behind the URI.

        Raises:
            InputError: no package that is installed knows this kind of URI.
        """
        from eqbench.storage.remote import Remote

        return None if self.uri is None else Remote.of(self.uri)


def place(text: str | Path) -> Place:
    """The storage that `--storage` names; the working folder of a URI is made.

    Raises:
        InputError: a URI of an unknown kind, without a bucket, or with a password in it.
    """
    if isinstance(text, Path) or "://" not in text:
        return Place(Path(text))
    uri = text.rstrip("/") if "?" not in text else text
    _check(uri)
    cache = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench").expanduser().absolute()
    local = cache / "storage" / _folder_name(uri)
    local.mkdir(parents=True, exist_ok=True)
    if not (local / MARKER).exists():
        from eqbench.run_folder import write_atomically

        write_atomically(local / MARKER, json.dumps({"uri": uri}) + "\n")
    return Place(local, uri)


def place_of(path: Path) -> Place | None:
    """The URI that a file or folder is mirrored in; None for one that is not below the working folder of a URI."""
    path = Path(path).expanduser().absolute()
    for folder in (path, *path.parents):
        if (marker := folder / MARKER).exists():
            return Place(folder, json.loads(marker.read_text())["uri"])
    return None


def shown(path: Path) -> str:
    """Where a file or folder is, for people: below the URI that mirrors it, or its path."""
    found = place_of(path)
    return str(path) if found is None else f"{found.shown}/{path.relative_to(found.local).as_posix()}"


def uri_of(path: Path) -> str:
    """How a storage is named to another machine: its URI, or the path."""
    found = place_of(path)
    return str(path) if found is None or found.uri is None else found.uri


def public(uri: str) -> str:
    """The URI without user, password and query.

    >>> public("s3://ada:secret@bucket/runs?endpoint_override=localhost:9000")
    's3://bucket/runs'
    """
    parts = urlsplit(uri)
    azure = parts.scheme.startswith("abf") and ":" not in parts.netloc.partition("@")[0]  # container@account
    host = parts.netloc if azure else parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def below(storage: str | Path, name: str) -> str:
    """A folder in a folder, by path or by URI.

    >>> below("s3://bucket/runs?region=eu-west-1", ".ray")
    's3://bucket/runs/.ray?region=eu-west-1'
    """
    text = str(storage)
    if "://" not in text:
        return f"{text}/{name}"
    start, mark, query = text.partition("?")
    return f"{start.rstrip('/')}/{name}{mark}{query}"


def _check(uri: str) -> None:
    parts = urlsplit(uri)
    shown = public(uri)
    known = (*PYARROW_SCHEMES, *FSSPEC_PACKAGES)
    if parts.scheme not in known:
        expected = ", ".join(f"{scheme}://" for scheme in known)
        raise InputError(f"--storage {shown}: expected a folder or one of {expected}{nearest(parts.scheme, known)}")
    azure = parts.scheme.startswith("abf")
    if parts.password or (parts.username and not azure and parts.scheme not in ("hdfs", "sftp", "smb")):
        raise InputError(f"--storage {shown}: holds a user name or a password; {_FIX}")
    if found := [word for word in SECRETS if word in parts.query.lower()]:
        raise InputError(f"--storage {shown}: its query holds a {found[0]}; {_FIX}")
    if not parts.netloc and parts.scheme not in ("file", "hdfs", "viewfs"):
        raise InputError(f"--storage {shown}: names no bucket; expected e.g. {parts.scheme}://bucket/runs")
    if parts.scheme == "file" and (parts.netloc or len(parts.path) < 2):
        raise InputError(f"--storage {shown}: expected an absolute path with three slashes, e.g. file:///shared/runs")


_FIX = (
    "it would be in logs and in MLflow. Give the machine a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS or AZURE_STORAGE_ACCOUNT_KEY in the environment"
)


def _folder_name(uri: str) -> str:
    readable = re.sub(r"[^\w.]+", "-", public(uri)).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
