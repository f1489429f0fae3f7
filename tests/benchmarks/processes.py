"""Processes with all that they started: pausing them, ending them, and the processor time they took."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence

import psutil

RAY_WORKER = "ray::RayTrainWorker"
SECONDS_TO_END = 60


class ProcessTree:
    """Some processes and their descendants, as they are when asked."""

    def __init__(self, roots: Sequence[subprocess.Popen[str]]) -> None:
        self._roots = roots

    def pause(self) -> None:
        """Stop all of them where they are."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def check(self) -> None:
        """Raises RuntimeError when one of the first processes has ended."""
        for root in self._roots:
            if root.poll() is not None:
                raise RuntimeError(f"{root.args!r} ended early with exit code {root.returncode}")

    def background_seconds(self) -> float:
        """Processor time so far of all of them but Ray Train's workers."""
        total = 0.0
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                if not " ".join(process.cmdline()).startswith(RAY_WORKER):
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    def end(self) -> None:
        """Resume, interrupt like Ctrl-C, and wait; kill what is left after a while."""
        self.resume()
        members = list(self._members())
        for root in self._roots:
            root.send_signal(signal.SIGINT)
        deadline = time.monotonic() + SECONDS_TO_END
        with contextlib.suppress(subprocess.TimeoutExpired):
            for root in self._roots:
                root.wait(max(0.0, deadline - time.monotonic()))
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for root in self._roots:
            root.wait()

    def _members(self) -> Iterator[psutil.Process]:
        for root in self._roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(root.pid)
                yield process
                yield from process.children(recursive=True)

    def _signal(self, number: signal.Signals) -> None:
        for process in list(self._members()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
