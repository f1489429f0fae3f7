"""The files of clusters/: their texts, headers and documents, and programs that stand in for those of a cluster."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "clusters"
RAY_CLUSTERS = ("laptop.yaml", "onprem.yaml", "aws.yaml", "gcp.yaml", "azure.yaml")
CLOUDS = ("aws.yaml", "gcp.yaml", "azure.yaml")
MANIFESTS = ("kuberay/mlflow.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml")
LAUNCHED = (*RAY_CLUSTERS, *MANIFESTS, "slurm.sbatch")
SCRIPTS = ("mlflow_server.sh", "slurm.sbatch")
IMAGE = "registry.example.com/eqbench:latest"
ROW = re.compile(r"^#   (\w[\w ]*?) {2,}(\S.*)$", re.MULTILINE)


def text(name: str) -> str:
    return (CLUSTERS / name).read_text(encoding="utf-8")


def every_file() -> list[str]:
    """Names relative to clusters/ of all files that lie there."""
    return sorted(file.relative_to(CLUSTERS).as_posix() for file in CLUSTERS.rglob("*") if file.is_file())


def header(name: str) -> str:
    """The comment that a file begins with, without a first line for the system."""
    lines = text(name).splitlines()
    lines = lines[1:] if lines[0].startswith("#!") or lines[0].startswith("# syntax=") else lines
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(lines[:end])


def commands(name: str) -> list[tuple[str, list[list[str]]]]:
    """What the rows of a header's commands are for, and their simple commands as words."""
    return [(what, simple_commands(line)) for what, line in rows(name)]


def rows(name: str) -> list[tuple[str, str]]:
    """The first rows `#   what   command` of a header."""
    parts = [ROW.findall(part) for part in header(name).split("\n#\n")]
    return next((part for part in parts if part), [])


def simple_commands(line: str) -> list[list[str]]:
    """Words of a shell line's simple commands, without redirections.

    >>> simple_commands("ray a --b >/dev/null; export C=d && kubectl e | base64 > f")
    [['ray', 'a', '--b'], ['export', 'C=d'], ['kubectl', 'e'], ['base64']]
    """
    lexer = shlex.shlex(re.sub(r"[12]?>&?\s*[\w./~-]+", "", line), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text(name)) if document]


def shell_commands(config: dict[str, Any]) -> list[str]:
    """Every shell command of one of Ray's cluster files."""
    kinds = [key for key in config if key.endswith("_commands")]
    types = config.get("available_node_types", {}).values()
    return [
        *(command for key in kinds for command in config[key]),
        *(command for node in types for command in node.get("initialization_commands", [])),
    ]


def shellcheck() -> str | None:
    """The program, beside this Python or on the PATH."""
    beside = Path(sys.executable).parent / "shellcheck"
    return str(beside) if beside.exists() else shutil.which("shellcheck")


def stand_in(folder: Path, name: str, body: str) -> None:
    """A program of that name, in Bash; each start is a line in the file $CALLS: its name and its words, quoted."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "{name}$(printf " %q" "$@")" >>"$CALLS"\n{body}\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What programs see that stand-ins surround: nothing of this machine's settings but the system's programs."""
    path = os.pathsep.join([str(folder), *os.defpath.split(os.pathsep)])
    return {"PATH": path, "LC_ALL": "C", "CALLS": str(folder.parent / "calls"), **more}


def calls(folder: Path) -> list[str]:
    """What was started so far, in order."""
    file = folder.parent / "calls"
    return file.read_text().splitlines() if file.exists() else []
