"""A suite file: tasks × losses × seeds, read, checked and expanded into runs.

suite = load_suite("quickstart", overrides=["train.epochs=2"])
specs = suite.expand(only=["loss=softmax_eql"], seeds=[0, 1])
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eqbench.errors import InputError, nearest
from eqbench.run_spec import RunSpec
from eqbench.suite_file import SuiteFile
from eqbench.suite_schema import MLflow, SuiteSchema, check

if TYPE_CHECKING:
    from eqbench.data.base import Dataset

Kind = Literal["suite", "sweep"]


@dataclass(frozen=True)
class SuiteSummary:
    """What `eqbench ls suites` shows: name, file, and the question from the file's header."""

    name: str
    file: Path
    question: str


class Suite:
    """A checked suite. The plugins and data that it names are looked at by `expand`."""

    def __init__(self, source: SuiteFile, schema: SuiteSchema, overrides: Sequence[str]) -> None:
        self.name = schema.name
        self.file = Path(source.file)
        self.text = source.text + "".join(f"\n# -o {argument}" for argument in overrides)
        self.mlflow: MLflow = schema.mlflow
        self._source = source
        self._schema = schema

    def expand(
        self,
        only: Sequence[str] = (),
        seeds: Sequence[int] | None = None,
        datasets: dict[str, Dataset] | None = None,
    ) -> list[RunSpec]:
        """The runs: by task, then by loss, then by seed.

        Args:
            only: filters `task=…`, `loss=…`, `seed=…` on labels, `*` and `?` allowed. Filters on the same field add
                up, those on different fields all have to match.
            seeds: instead of the suite's.
            datasets: data that were constructed before; gets those that were not.

        Raises:
            InputError: a plugin or parameter is not as expected, data cannot be read, two runs are the same,
                or a filter matches nothing.
        """
        from eqbench.suite_expansion import expand  # plugins import torch

        return expand(self._source, self._schema, only, seeds, datasets)


def load_suite(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Read and check a suite: a file, or the name of one in ./suites or in eqbench's own suites folder.

    Args:
        path_or_name: `mine.yaml`, `folder/mine.yaml` or `quickstart`.
        overrides: `train.epochs=2`, `tasks.digits.data.imbalance_factor=20`, `losses.softmax_eql.tau=2`.

    Raises:
        InputError: there is no such file, or one line for each problem of its content.
    """
    source = SuiteFile.read(find_suite(path_or_name))
    for argument in overrides:
        source.override(argument)
    if "sweep" in source.data:
        raise source.error([(("sweep",), f"this is a sweep and no suite; use: eqbench sweep {path_or_name}")])
    return Suite(source, check(source), overrides)


def list_suites(kind: Kind = "suite") -> list[SuiteSummary]:
    """Every suite, or sweep, that is found by name, those of the current folder first."""
    return [SuiteSummary(name, file, _question(file)) for name, file in _suite_files(kind).items()]


def find_suite(path_or_name: str | Path, kind: Kind = "suite") -> Path:
    """The file of a suite, or of a sweep.

    Raises:
        InputError: there is none; names the nearest one.
    """
    path = Path(path_or_name).expanduser()
    known = _suite_files(kind)
    is_name = path.suffix not in (".yaml", ".yml") and len(path.parts) == 1
    if is_name and path.name in known:
        return known[path.name]
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = kind if is_name else "file"
        other: Kind = "sweep" if kind == "suite" else "suite"
        elsewhere = f", but a {other} of this name" if is_name and path.name in _suite_files(other) else ""
        hint = f"{elsewhere or nearest(path.stem, known)} ({kind}s: {', '.join(known) or 'none'})"
        raise InputError(f"{path}: there is no such {what}{hint}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return path


def names_sweep(path_or_name: str) -> bool:
    """Whether this is a sweep, and no suite of the same name; False also for what is not there or cannot be read."""
    try:
        file = find_suite(path_or_name)
    except InputError:
        path = Path(path_or_name)
        return path.suffix not in (".yaml", ".yml") and path_or_name in _suite_files("sweep")
    try:
        return "sweep" in SuiteFile.read(file).data
    except InputError:
        return False


def _suite_files(kind: Kind) -> dict[str, Path]:
    """Files by name, in ./suites and in the folder beside the package, sweeps below them; the former win."""
    folders = (Path.cwd() / "suites", Path(__file__).resolve().parents[1] / "suites")
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "sweeps" if kind == "sweep" else folder).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return found


def _question(file: Path) -> str:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := re.fullmatch(r"# Question: (.*)", line):
            return match[1].strip()
        if not line.startswith("#"):
            break
    return ""
