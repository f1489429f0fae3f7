"""The image of all clusters: what changes often comes last, versions are pinned, nothing secret, nobody is root."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from cluster_files import ROOT, text
from packaging.requirements import Requirement

Instruction = tuple[str, str]
OPTION = re.compile(r"^(?:--\w[\w-]*=\S+\s+)+")


def stages() -> list[list[Instruction]]:
    """Instructions of each stage of the Dockerfile, in order; those before the first FROM are left out."""
    joined = re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word and found:
            found[-1].append((word, rest.strip()))
    return found


LAST = stages()[-1]


def position(kind: str, part: str) -> int:
    [found] = [number for number, (word, rest) in enumerate(LAST) if word == kind and part in rest]
    return found


def copied(instructions: list[Instruction]) -> list[str]:
    """What is copied from the source tree."""
    plain = [rest for word, rest in instructions if word == "COPY" and "--from=" not in rest]
    return [source for rest in plain for source in OPTION.sub("", rest).split()[:-1]]


def test_dependencies_are_installed_before_any_source_is_copied() -> None:
    heavy = position("RUN", "pip install --constraint")
    assert position("RUN", "apt-get install") < heavy
    assert copied(LAST[:heavy]) == ["constraints.txt"]
    assert {"eqbench", "suites", "clusters", "pyproject.toml"} <= set(copied(LAST[heavy:]))
    after = [rest for word, rest in LAST[heavy + 1 :] if word == "RUN" and "pip install" in rest]
    assert len(after) == 1
    assert {"--no-deps", "--no-build-isolation", "--no-index"} <= set(after[0].split())


def test_dependencies_are_those_of_the_project(tmp_path: Path) -> None:
    [extraction] = [rest for word, rest in stages()[0] if word == "RUN"]
    words = shlex.split(extraction.replace("python", shlex.quote(sys.executable), 1))
    assert words[-2:] == [">", "requirements.txt"]
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    answer = subprocess.run(words[:-2], cwd=tmp_path, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert answer.stdout.splitlines() == project["dependencies"]
    assert "requirements.txt" in LAST[position("COPY", "--from=requirements")][1]


def test_what_else_it_installs_is_pinned() -> None:
    install = LAST[position("RUN", "pip install --constraint")][1]
    words = install[install.index("pip install") :].split()[2:]
    given = [word for before, word in pairwise(["", *words]) if "--" not in (before[:2], word[:2])]
    assert {"psycopg2-binary", "'mlflow[auth]'"} <= set(given)
    packages = [Requirement(word.strip("'")).name for word in given] + ["Flask-WTF", "WTForms"]
    constraints = (ROOT / "constraints.txt").read_text()
    assert [each for each in packages if not re.search(rf"^{each}==", constraints, re.MULTILINE | re.IGNORECASE)] == []


def test_bases_have_versions() -> None:
    python = re.search(r"^ARG PYTHON=(3\.\d+)$", text("Dockerfile"), re.MULTILINE)
    assert python
    assert python[1] == "3.11"  # the one that constraints.txt was resolved with
    for stage in stages():
        assert stage[0][1].split()[0] == "python:${PYTHON}-slim-bookworm"


def test_nobody_is_root_and_ray_finds_its_home() -> None:
    user = position("USER", "")
    assert LAST[user] == ("USER", "eqbench")
    assert all(word not in ("RUN", "COPY") for word, _ in LAST[user:])
    variables = " ".join(rest for word, rest in LAST if word == "ENV")
    assert "HOME=/eqbench " in variables  # where Ray's launcher looks for the home folder
    assert not re.search(r"(?i)token|password|secret", "\n".join(rest for stage in stages() for _, rest in stage))
    assert not any(word == "ENTRYPOINT" for word, _ in LAST)  # Ray and KubeRay start their own commands
    assert "tini" not in LAST[position("RUN", "apt-get install")][1].split()  # which nothing would start


def test_a_server_finds_its_accounts_and_clients_their_password() -> None:
    variables = " ".join(rest for word, rest in LAST if word == "ENV").split()
    [accounts] = [each.partition("=")[2] for each in variables if each.startswith("MLFLOW_AUTH_CONFIG_PATH=")]
    source = LAST[position("WORKDIR", "/source")][1]
    assert accounts.startswith(f"{source}/clusters/")
    assert (ROOT / accounts.removeprefix(f"{source}/")).is_file()
    assert LAST[position("RUN", "useradd")][1].endswith("--mode=700 /eqbench/.ray /eqbench/.mlflow")


def test_it_takes_no_gpus_by_itself() -> None:
    """Or each of Kubernetes' pods would have all GPUs of its machine."""
    assert "NVIDIA_VISIBLE_DEVICES" not in text("Dockerfile")


@pytest.mark.parametrize("program", ["rsync", "openssh-client", "wget", "g++", "libgl1"])
def test_it_has_what_others_start(program: str) -> None:
    assert program in LAST[position("RUN", "apt-get install")][1].split()


def ignored(path: str) -> bool:
    """Whether a file at the top level stays out of the image: the last line of the list that matches decides."""
    lines = [line for line in text("Dockerfile.dockerignore").splitlines() if line and not line.startswith("#")]
    verdict = False
    for line in lines:
        if fnmatch.fnmatch(path, line.lstrip("!").removeprefix("**/")):
            verdict = not line.startswith("!")
    return verdict


def test_what_is_copied_is_there_and_sent_to_the_builder() -> None:
    for stage in stages():
        for source in copied(stage):
            assert (ROOT / source).exists(), source
            assert not ignored(source), source


@pytest.mark.parametrize("path", [".git", ".venv", "runs", "data", "mlflow.db", "tests", "__pycache__", ".env"])
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    assert ignored(path)
