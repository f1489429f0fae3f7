"""What a job is told to do, and the same as a command of Ray's own."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eqbench import __version__
from eqbench.submission.address import VARIABLES
from eqbench.submission.job import KIND, STORAGE, SUITE, VERSION
from eqbench.submission.package import Package
from eqbench.submission.places import shown

SECONDS_TO_END = 120
"""That Ray gives a job which it stops: its runs save a checkpoint and are marked as killed."""


@dataclass(frozen=True)
class RunOptions:
    """Options of `eqbench run` and `eqbench sweep` that a job passes on."""

    only: Sequence[str] = ()
    seeds: str | None = None
    overrides: Sequence[str] = ()
    mlflow: bool = True
    verbose: bool = False
    num_samples: int | None = None
    resume: bool = False
    retry_failed: bool = False

    @property
    def words(self) -> list[str]:
        """As on a command line; a value that begins with a dash would not be taken for an option."""
        words = [f"--only={each}" for each in self.only] + [f"--override={each}" for each in self.overrides]
        words += [] if self.seeds is None else [f"--seeds={self.seeds}"]
        words += [] if self.num_samples is None else [f"--num-samples={self.num_samples}"]
        flags = {"--resume": self.resume, "--retry-failed": self.retry_failed, "--verbose": self.verbose}
        flags["--no-mlflow"] = not self.mlflow
        return words + [flag for flag, given in flags.items() if given]


@dataclass(frozen=True)
class Request:
    """A job as the job server is asked for it. `words` are its entrypoint's."""

    words: Sequence[str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    package: Package | None = None

    def as_json(self, submission_id: str) -> dict[str, Any]:
        """What the job server takes."""
        runtime_env: dict[str, Any] = {"env_vars": dict(self.variables)}
        if self.package:
            runtime_env["working_dir"] = self.package.uri
        return {
            "entrypoint": shlex.join(self.words),
            "submission_id": submission_id,
            "runtime_env": runtime_env,
            "metadata": dict(self.metadata),
        }

    def as_command(self, address: str, environment: Mapping[str, str] = os.environ) -> str:
        """The command of Ray's own that does the same; Ray would prefer an address in the environment."""
        unset = [word for name in (*VARIABLES, "RAY_ADDRESS") if environment.get(name) for word in ("-u", name)]
        words = [*(["env", *unset] if unset else []), "ray", "job", "submit", "--address", address]
        words += ["--working-dir", str(self.package.file)] if self.package else []
        words += ["--runtime-env-json", json.dumps({"env_vars": dict(self.variables)})]
        words += ["--metadata-json", json.dumps(dict(self.metadata))] if self.metadata else []
        return shlex.join([*words, "--", *self.words])


def request(
    verb: str, file: str, name: str, options: RunOptions, storage: str | None, uri: str | None, package: Package
) -> Request:
    """The job that runs a suite or a sweep.

    Args:
        verb: `run` or `sweep`.
        file: the suite's, in the package.
        name: the suite's.
        storage, uri: where results and metrics go; None leaves it to the cluster.
    """
    words = ["eqbench", verb, file, *(["--storage", storage] if storage else []), *options.words]
    metadata = {SUITE: name, KIND: "sweep" if verb == "sweep" else "suite", VERSION: __version__}
    if storage:
        metadata[STORAGE] = shown(storage)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_END)}
    if uri and options.mlflow:
        variables["MLFLOW_TRACKING_URI"] = uri
    return Request(words, metadata, variables, package)


def submission_id(name: str, now: datetime | None = None) -> str:
    """A readable name for a job, another one at each call.

    >>> submission_id("quickstart", datetime(2030, 1, 2, 3, 4, 5))[:-4]
    'eqbench-quickstart-20300102-030405-'
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-")
    return f"eqbench-{plain}-{now or datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
