"""Processes that look into files; one that crashes costs the files it had, each of which is then tried alone.

They come from a server that has imported the decoders once, so that each takes little memory and starts at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from eqbench.data.verification.contents import Decode

FILES_AT_ONCE = 32
"""What a process is given at a time."""
PRELOADED = ("eqbench.data.image_files.checking",)
CRASHED = "files that end the process which reads them"
FAILED = "files whose check failed"


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking into a file gave: its SHA-256 (empty where it could not be read) and its findings."""

    path: str
    sha256: bytes
    findings: list[tuple[str, str]]


def look_into(root: Path, paths: Sequence[str], decode: Decode, workers: int) -> Generator[list[Looked], None, None]:
    """All files, some at a time in no order; processes are ended when the iterator is closed, however that is."""
    ahead = deque(paths[start : start + FILES_AT_ONCE] for start in range(0, len(paths), FILES_AT_ONCE))
    pool = _Pool(root, decode)
    try:
        while ahead or pool.busy:
            while ahead and len(pool.busy) < workers:
                pool.give(ahead.popleft())
            for part, answer in pool.answers():
                if isinstance(answer, list):
                    yield answer
                elif len(part) == 1:
                    yield [Looked(part[0], b"", [(CRASHED, f"{part[0]}: {answer}")])]
                else:
                    ahead.extendleft([path] for path in reversed(part))
    finally:
        pool.end()


class _Pool:
    """Processes, what each is working on, and those that wait for work."""

    def __init__(self, root: Path, decode: Decode) -> None:
        self._root = root
        self._decode = decode
        self._context = _server()
        self._idle: list[tuple[Connection, ForkServerProcess]] = []
        self.busy: dict[Connection, tuple[ForkServerProcess, Sequence[str]]] = {}

    def give(self, part: Sequence[str]) -> None:
        connection, process = self._idle.pop() if self._idle else self._start()
        self.busy[connection] = process, part
        with contextlib.suppress(BrokenPipeError):  # it has died; `answers` notices
            connection.send(part)

    def answers(self) -> list[tuple[Sequence[str], list[Looked] | str]]:
        """Waits for the next; each with the paths it is about, or how the process ended that had them."""
        found: list[tuple[Sequence[str], list[Looked] | str]] = []
        for ready in wait(list(self.busy)):
            assert isinstance(ready, Connection)
            process, part = self.busy.pop(ready)
            try:
                found.append((part, ready.recv()))
                self._idle.append((ready, process))
            except (EOFError, OSError):
                process.join()
                found.append((part, _ending(process.exitcode)))
                ready.close()
        return found

    def end(self) -> None:
        everyone = [*self._idle, *((connection, process) for connection, (process, _) in self.busy.items())]
        for connection, process in everyone:
            process.kill()
            connection.close()
        for _, process in everyone:
            process.join()

    def _start(self) -> tuple[Connection, ForkServerProcess]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._root, self._decode), daemon=True)
        process.start()
        theirs.close()
        return ours, process


def _server() -> ForkServerContext:
    """Starts the server of processes, which Ctrl-C at a terminal does not reach: this process ends them all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    resource_tracker.ensure_running()  # or else the server starts it, and it lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what the server starts inherits it
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _work(connection: Connection, root: Path, decode: Decode) -> None:
    """Answer one part after another until there are no more."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send([_look(root, path, decode) for path in connection.recv()])


def _look(root: Path, path: str, decode: Decode) -> Looked:
    try:
        with (root / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        return Looked(path, digest, decode(root, path))
    except OSError as error:
        return Looked(path, b"", [("files that cannot be read", f"{path}: {error.strerror or error}")])
    except Exception as error:  # whatever a decoder raises is about this file alone
        return Looked(path, b"", [(FAILED, f"{path}: {type(error).__name__}: {error}")])


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code}"
    number = -code
    known = {each.value: each.name for each in signal.Signals}
    reason = " (too little memory?)" if number == signal.SIGKILL else ""
    return f"the process was ended by {known.get(number, f'signal {number}')}{reason}"
