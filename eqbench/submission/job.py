"""A job of eqbench on a cluster, as its job server describes it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from eqbench.errors import InputError, nearest

SUITE, KIND, STORAGE, VERSION = "eqbench.suite", "eqbench.kind", "eqbench.storage", "eqbench.version"
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}
INTERRUPTED = 130
PASSED_ON = (0, 1, 2, 3, 4, INTERRUPTED)
NOT_FOUND = 127
EXPLAINED = {
    1: "some runs failed",
    2: "wrong input",
    3: "a problem of the cluster's environment",
    INTERRUPTED: "interrupted; submit it again to continue",
    NOT_FOUND: "no program `eqbench` on the head node: install it there, and start Ray with its folder in PATH",
    137: "killed, perhaps for lack of memory on the head node; submit it again to continue",
}


@dataclass(frozen=True)
class Job:
    """One submitted job; times are seconds since 1970, None where it has not started or ended."""

    id: str
    status: str
    entrypoint: str
    message: str
    started: float | None
    ended_at: float | None
    metadata: Mapping[str, str]
    code: int | None
    """Of the entrypoint's process, once it has ended by itself."""

    @classmethod
    def read(cls, details: Mapping[str, Any]) -> Job:
        start, end = details.get("start_time"), details.get("end_time")
        return cls(
            id=str(details.get("submission_id") or ""),
            status=str(details.get("status")),
            entrypoint=str(details.get("entrypoint") or ""),
            message=str(details.get("message") or ""),
            started=start / 1000 if start else None,
            ended_at=end / 1000 if end else None,
            metadata=details.get("metadata") or {},
            code=details.get("driver_exit_code"),
        )

    @property
    def words(self) -> list[str]:
        """Of the entrypoint; empty if no shell could read it."""
        try:
            return shlex.split(self.entrypoint)
        except ValueError:
            return []

    @property
    def suite(self) -> str:
        """Name of its suite or sweep; empty for a job that is none of eqbench's runs."""
        if SUITE in self.metadata:
            return self.metadata[SUITE]
        words = self.words
        ours = len(words) > 2 and PurePath(words[0]).name == "eqbench" and words[1] in ("run", "sweep")
        return PurePath(words[2]).stem if ours else ""

    @property
    def kind(self) -> str:
        """`suite` or `sweep`."""
        return self.metadata.get(KIND) or ("sweep" if self.words[1:2] == ["sweep"] else "suite")

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def seconds(self) -> float | None:
        """From its start to its end, or to now."""
        if self.started is None:
            return None
        return max(0.0, (self.ended_at or time.time()) - self.started)

    @property
    def exit_code(self) -> int:
        """The suite's where it ended by itself; 130 if it was stopped, 3 for anything else."""
        if self.status == "SUCCEEDED":
            return 0
        if self.status == "STOPPED":
            return INTERRUPTED
        return self.code if self.code in PASSED_ON and self.code else 3

    @property
    def detail(self) -> str:
        """How it ended, in one line; empty while it is on its way, or if all went well."""
        if self.status == "STOPPED":
            return "submit it again to continue"
        if self.status != "FAILED":
            return ""
        if self.code is not None:
            return f"exit code {self.code}: {EXPLAINED.get(self.code, 'it has failed')}"
        lines = [line.strip() for line in self.message.splitlines() if line.strip()]
        return re.sub(r"\s+", " ", lines[-1])[:500] if lines else "it could not be started"

    def describe(self) -> dict[str, Any]:
        """What `eqbench status --address … --json` has of it."""
        return {
            "id": self.id,
            "suite": self.suite,
            "kind": self.kind,
            "status": self.status.lower(),
            "start": None if self.started is None else datetime.fromtimestamp(self.started).astimezone().isoformat(),
            "seconds": self.seconds,
            "exit_code": self.exit_code if self.ended else None,
            "message": self.detail,
            "storage": self.metadata.get(STORAGE, ""),
            "version": self.metadata.get(VERSION, ""),
            "entrypoint": self.entrypoint,
        }


def find_job(jobs: Sequence[Job], text: str) -> Job:
    """The job with this id, or of the suite with this name, the newest that has not ended, else the newest.

    A sweep may be called `NAME/sweeps` too.

    Raises:
        InputError: there is none; names the nearest.
    """
    name, _, place = text.partition("/")
    called = [
        job for job in jobs if job.suite == name and place in ("", "sweeps") and (not place or job.kind == "sweep")
    ]
    found = [job for job in jobs if job.id == text] or called
    if found:
        return max(found, key=lambda job: (not job.ended, job.started or 0))
    known = [name for job in jobs for name in (job.id, job.suite) if name]
    has = ", ".join(dict.fromkeys(job.suite for job in jobs if job.suite)) or "none"
    raise InputError(f"job {text!r}: there is no such job on the cluster (jobs of suites: {has}){nearest(text, known)}")
