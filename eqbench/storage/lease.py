"""One driver at a time works on a suite behind a URI: a small file there that its holder renews.

The lock of the suite's folder keeps out others on the same machine. A holder that has renewed nothing for `SECONDS` is
taken for gone. Stores have no lock to ask for: of two that write within `SETTLING_SECONDS`, the later one has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from eqbench.errors import EnvironmentProblem
from eqbench.storage.checkpoint_files import parsed
from eqbench.storage.remote import Remote

FILE = ".driver.json"
SECONDS = 180.0
RENEWED_EVERY = 30.0
SETTLING_SECONDS = 1.0


class Lease:
    """The right to drive the suite at `prefix`.

    Args:
        folder: of the suite on this machine, whose lock this process holds.
    """

    def __init__(self, remote: Remote, prefix: str, folder: Path) -> None:
        self._remote = remote
        self._path = f"{prefix}/{FILE}"
        self._folder = str(folder)
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
        if holder := holder_of(self._remote, self._path, self._folder):
            raise self._refusal(holder)
        self._write()
        time.sleep(SETTLING_SECONDS)
        now = parsed(self._remote.read(self._path))
        if now.get("owner") != self._owner:
            raise self._refusal(describe(now))
        self._thread.start()

    def release(self) -> None:
        """Give it back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if not self.lost and parsed(self._remote.read(self._path)).get("owner") == self._owner:
            self._remote.delete(self._path)

    def check(self) -> None:
        """That it is still held.

        Raises:
            EnvironmentProblem: it was taken over.
        """
        if self.lost:
            raise self._refusal(self.lost)

    def _refusal(self, holder: str) -> EnvironmentProblem:
        place = f"{self._remote.shown}/{self._path.removesuffix(f'/{FILE}')}"
        return EnvironmentProblem(
            f"{place}: another eqbench process ({holder}) works on this suite; if it is gone, its claim ends "
            f"{SECONDS:g} s after the last renewal"
        )

    def _write(self) -> None:
        content = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "folder": self._folder,
            "renewed": time.time(),
        }
        self._remote.write(self._path, json.dumps(content).encode() + b"\n")

    def _keep(self) -> None:
        while not self._stop.wait(RENEWED_EVERY) and not self.lost:
            with contextlib.suppress(EnvironmentProblem):  # the store is away for everybody
                self.renew()

    def renew(self) -> None:
        """Hold it for another while, if nobody has taken it over."""
        now = parsed(self._remote.read(self._path))
        if now and now.get("owner") != self._owner:
            self.lost = describe(now)
        else:
            self._write()


def holder_of(remote: Remote, path: str, folder: str) -> str:
    """Who drives a suite; nobody where the claim has run out, or is of this folder, whose lock the caller can see."""
    lease = parsed(remote.read(path))
    mine = lease.get("host") == socket.gethostname() and lease.get("folder") == folder
    alive = time.time() - float(lease.get("renewed", 0.0)) < SECONDS
    return describe(lease) if lease and alive and not mine else ""


def describe(lease: dict[str, Any]) -> str:
    """Host and process."""
    return f"{lease.get('host', 'unknown host')}, pid {lease.get('pid', 'unknown')}"
