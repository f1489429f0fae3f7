"""Where results go: a folder that all machines share, or a URI, of which each machine keeps a working copy.

With a URI everything is written to a local folder as always, and mirrored:

    $EQBENCH_CACHE/storage/<kind>-<bucket>-<prefix>-<digest>/      by default below ~/.cache/eqbench
        .place.json                    the URI, and which storage it was when it was first used
        <suite>/…                      as in `eqbench.run_folder`; .mirror.json beside it: what the URI has of it
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from eqbench.errors import EnvironmentProblem, InputError, nearest
from eqbench.stored_json import Damaged, read_object

if TYPE_CHECKING:
    from eqbench.storage.remote import Remote

PYARROW_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
FSSPEC_PACKAGES = {"az": "adlfs", "oss": "ossfs", "sftp": "paramiko", "smb": "smbprotocol", "webdav": "webdav4"}
SECRETS = {"key", "secret", "password", "token", "signature", "sas", "credential", "sig"}
ENDS_OF_SECRETS = ("accesskey", "secretkey", "accountkey", "keyid", "password", "token")
"""Of names in which words cannot be told apart."""
MARKER = ".place.json"
IDENTITY = ".eqbench-storage.json"
"""Behind the URI: which storage it is, by a number that the first who writes there has drawn."""
SETTLING_SECONDS = 60.0
"""Of several that write there first, the last one's number holds; nobody remembers one that is younger than this."""
_remembering = threading.Lock()


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

    def check(self, doubtful: bool = True, begin: bool = False) -> None:
        """That what is behind the URI is the storage that this machine knows, not an empty folder in its place.

        Args:
            doubtful: something is missing there; otherwise it is only looked at until it is known.
            begin: something is going to be written there; one without a number is given one.

        Raises:
            EnvironmentProblem: it is another one.
        """
        from eqbench.storage.checkpoint_files import number_in, parsed

        if self.remote is None or (not doubtful and _marked(self.local).get("storage")):
            return
        with _remembering:
            known = _marked(self.local).get("storage")
            found = parsed(self.remote.read(IDENTITY))
            number = found.get("storage")
            if known and number != known:
                state = f"has another {IDENTITY}" if number else f"has no {IDENTITY} any more"
                raise EnvironmentProblem(
                    f"{self.shown}: is not the storage that it was ({state}); is it mounted? "
                    f"If it was emptied on purpose, delete {self.local / MARKER}"
                )
            if known:
                return
            if not number and begin:
                new = {"storage": uuid.uuid4().hex, "since": time.time()}
                self.remote.write(IDENTITY, json.dumps(new).encode() + b"\n")
            elif number and time.time() - number_in(found, "since") >= SETTLING_SECONDS:
                _mark(self.local, {"uri": self.uri, "storage": number})


def place(text: str | Path) -> Place:
    """The storage that `--storage` names; the working folder of a URI is made.

    Raises:
        InputError: a URI of an unknown kind, without a bucket, or with a password in it.
    """
    if isinstance(text, Path) or "://" not in text:
        return Place(Path(text))
    start, _, query = text.partition("?")
    uri = f"{start.rstrip('/')}?{query}" if query else start.rstrip("/")
    check_uri(uri)
    cache = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench").expanduser().absolute()
    local = cache / "storage" / _folder_name(uri)
    local.mkdir(parents=True, exist_ok=True)
    try:
        known = _marked(local).get("uri")
    except Damaged:
        known = None
    if known != uri:
        _mark(local, {"uri": uri})
    return Place(local, uri)


def place_of(path: Path) -> Place | None:
    """The URI that a file or folder is mirrored in; None for one that is not below the working folder of a URI.

    Raises:
        Damaged: the working folder does not say which.
    """
    path = Path(path).expanduser().absolute()
    for folder in reversed((path, *path.parents)):  # what is mirrored may hold anything, also such a file
        if found := _marked(folder):
            return Place(folder, found["uri"])
    return None


def located(folder: Path) -> tuple[Remote, str] | None:
    """What holds the mirror of a folder, and the path there; None for a folder without a mirror."""
    found = place_of(folder)
    if found is None or found.remote is None:
        return None
    return found.remote, Path(folder).expanduser().absolute().relative_to(found.local).as_posix()


def shown(path: Path) -> str:
    """Where a file or folder is, for people: below the URI that mirrors it, or its path."""
    found = place_of(path)
    return str(path) if found is None else f"{found.shown}/{path.relative_to(found.local).as_posix()}"


def uri_of(path: Path) -> str:
    """How a storage is named to another machine: its URI, or the path."""
    found = place_of(path)
    return str(path) if found is None else str(found.uri)


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


def check_uri(uri: str) -> None:
    """Refuse what cannot be a storage, and what says a secret.

    Raises:
        InputError: the scheme is unknown, a bucket or an absolute path is missing, or there is a password in it.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InputError(f"--storage {uri.partition('://')[0]}://…: is no URI ({error})") from error
    shown = public(uri)
    known = (*PYARROW_SCHEMES, *FSSPEC_PACKAGES)
    if parts.scheme not in known:
        expected = ", ".join(f"{scheme}://" for scheme in known)
        raise InputError(f"--storage {shown}: expected a folder or one of {expected}{nearest(parts.scheme, known)}")
    azure = parts.scheme.startswith("abf")
    if parts.password or (parts.username and not azure and parts.scheme not in ("hdfs", "sftp", "smb")):
        raise InputError(f"--storage {shown}: holds a user name or a password; {_FIX}")
    if secret := _secret_in(parts.query):
        raise InputError(f"--storage {shown}: its query holds {secret}, a secret by its name; {_FIX}")
    if not parts.netloc and parts.scheme not in ("file", "hdfs", "viewfs"):
        raise InputError(f"--storage {shown}: names no bucket; expected e.g. {parts.scheme}://bucket/runs")
    if parts.scheme == "file" and (parts.netloc or len(parts.path) < 2):
        raise InputError(f"--storage {shown}: expected an absolute path with three slashes, e.g. file:///shared/runs")


def _secret_in(query: str) -> str:
    """The first name of a query that is one of a secret.

    >>> _secret_in("region=eu-west-1&X-Amz-Signature=a1"), _secret_in("secretKey=a1"), _secret_in("monkey=1")
    ('X-Amz-Signature', 'secretKey', '')
    """
    for name, _ in parse_qsl(query, keep_blank_values=True):
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
        secret = any({word.lower(), word.lower().rstrip("s")} & SECRETS for word in words)
        if secret or name.lower().endswith(ENDS_OF_SECRETS):
            return name
    return ""


_FIX = (
    "it would be in logs and in MLflow. Give the machine a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS or AZURE_STORAGE_ACCOUNT_KEY in the environment"
)


def _marked(folder: Path) -> dict[str, Any]:
    """What the marker of a working folder says; nothing in any other folder.

    Raises:
        Damaged: it names no URI.
    """
    if not (file := folder / MARKER).exists():
        return {}
    if isinstance((found := read_object(file) or {}).get("uri"), str):
        return found
    raise Damaged(f"{file}: uri: {found.get('uri')!r}, expected the URI of this folder; give it to --storage once more")


def _mark(folder: Path, content: dict[str, Any]) -> None:
    from eqbench.run_folder import write_atomically

    write_atomically(folder / MARKER, json.dumps(content) + "\n")


def _folder_name(uri: str) -> str:
    readable = re.sub(r"[^\w.]+", "-", public(uri)).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
