"""One driver at a time works on a suite behind a URI: a small file there that its holder renews.

The lock of the suite's folder keeps out others on the same machine. A holder that has renewed nothing for `SECONDS`, by
the store's clock, is taken for gone. Stores have no lock to ask for: of two that look and write at the same time, the
later one has it. The other sees that after `SETTLING_SECONDS`, or where a write takes longer than that, at its next
renewal, of which the first comes soon.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import write_atomically
from eqbench.storage.checkpoint_files import number_in, parsed
from eqbench.storage.remote import Remote

logger = logging.getLogger(__name__)
FILE = ".driver.json"
FOLDER_ID = ".driver-id"
"""In the folder of the suite: tells it from one of the same path on a machine of the same name."""
SECONDS = 180.0
RENEWED_EVERY = 30.0
FIRST_RENEWED_AFTER = 5.0
SETTLING_SECONDS = 2.0
TRIES = 3
SECOND = 1_000_000_000


class Lease:
    """The right to drive the suite at `prefix`.

    Args:
        folder: of the suite on this machine, whose lock this process holds.
    """

    def __init__(self, remote: Remote, prefix: str, folder: Path) -> None:
        self._remote = remote
        self._prefix = prefix
        self._path = f"{prefix}/{FILE}"
        self._folder = folder
        self._owner = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="eqbench-lease", daemon=True)
        self.lost = ""
        """By whom it was taken over."""

    def acquire(self) -> None:
        """Take it and keep it.

        Raises:
            EnvironmentProblem: somebody else has it, or the place cannot be written.
        """
        for _ in range(TRIES):
            began = time.monotonic()
            refuse_other(self._remote, self._prefix, self._folder)
            self._write()
            if time.monotonic() - began <= SETTLING_SECONDS:
                break
        time.sleep(SETTLING_SECONDS)
        now = parsed(self._remote.read(self._path))
        if now.get("owner") != self._owner:
            raise _refusal(self._remote, self._prefix, describe(now))
        self._thread.start()

    def release(self) -> None:
        """Renew it no more, and give it back if the store can be written."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            if not self.lost and parsed(self._remote.read(self._path)).get("owner") == self._owner:
                self._remote.delete(self._path)
        except (EnvironmentProblem, OSError) as error:
            logger.warning("%s; the claim to the suite ends in %g s", error, SECONDS)

    def check(self) -> None:
        """That it is still held.

        Raises:
            EnvironmentProblem: it was taken over.
        """
        if self.lost:
            raise _refusal(self._remote, self._prefix, self.lost)

    def _write(self) -> None:
        content = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "folder": str(self._folder),
            "folder_id": _folder_id(self._folder, make=True),
            "renewed": time.time(),
        }
        self._remote.write(self._path, json.dumps(content).encode() + b"\n")

    def _keep(self) -> None:
        pause = FIRST_RENEWED_AFTER
        while not self._stop.wait(pause) and not self.lost:
            pause = RENEWED_EVERY
            try:
                self.renew()
            except Exception as error:
                if not isinstance(error, EnvironmentProblem):  # else the store is away, for everybody
                    logger.warning("%s: %s: %s; renewing it again", self._path, type(error).__name__, error)

    def renew(self) -> None:
        """Hold it for another while, if nobody has taken it over."""
        now = parsed(self._remote.read(self._path))
        if now and now.get("owner") != self._owner:
            self.lost = describe(now)
        else:
            self._write()


def refuse_other(remote: Remote, prefix: str, folder: Path) -> None:
    """That nobody else drives the suite at `prefix`, by the clock of the store: those of two machines may differ.

    Raises:
        EnvironmentProblem: somebody does, or the place cannot be written.
    """
    path = f"{prefix}/{FILE}"
    lease = parsed(remote.read(path))
    if lease and not _ours(lease, folder) and _age(remote, path, lease) < SECONDS:
        raise _refusal(remote, prefix, describe(lease))


def holder_of(remote: Remote, path: str, folder: Path) -> str:
    """Who drives a suite, as far as this machine's clock is right; nobody where the claim has run out or is `_ours`.

    A claim that was renewed in the future says that the clock is not right, and nothing of its holder.
    """
    lease = parsed(remote.read(path))
    if not lease or _ours(lease, folder):
        return ""
    renewed = remote.stamps([path]).get(path, (0, 0))[1] / SECOND or number_in(lease, "renewed")
    return describe(lease) if abs(time.time() - renewed) < SECONDS else ""


def _age(remote: Remote, path: str, lease: Mapping[str, Any]) -> float:
    """Seconds since a claim was renewed, by the clock of the store, if it has one."""
    now = f"{path}.{uuid.uuid4().hex}"
    remote.write(now, b"{}\n")
    stamps = remote.stamps([now, path])
    remote.delete(now)
    if all(stamps.get(each, (0, 0))[1] for each in (now, path)):
        return (stamps[now][1] - stamps[path][1]) / SECOND
    return time.time() - number_in(lease, "renewed")


def _refusal(remote: Remote, prefix: str, holder: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{remote.shown}/{prefix}: another eqbench process ({holder}) works on this suite; if it is gone, its claim "
        f"ends {SECONDS:g} s after the last renewal"
    )


def _ours(lease: Mapping[str, Any], folder: Path) -> bool:
    """Whether a claim is of this folder, whose lock the caller can see."""
    known = _folder_id(folder)
    ours = {"host": socket.gethostname(), "folder": str(folder), "folder_id": known}
    return bool(known) and all(lease.get(key) == value for key, value in ours.items())


def _folder_id(folder: Path, make: bool = False) -> str:
    file = folder / FOLDER_ID
    if make and not file.exists():
        write_atomically(file, uuid.uuid4().hex)
    return file.read_text() if file.exists() else ""


def describe(lease: Mapping[str, Any]) -> str:
    """Host and process."""
    return f"{lease.get('host', 'unknown host')}, pid {lease.get('pid', 'unknown')}"
