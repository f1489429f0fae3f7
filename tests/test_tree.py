"""What holds for the source tree as a whole: its shape, what it may contain, what is pinned, what imports what."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from eqbench.doctor.packages import required_by

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "eqbench").rglob("*.py"))
LONGEST_FILE = 300
LONGEST_FUNCTION = 50
LONGEST_KERNEL = 100  # on a GPU: one loop, whose parts share its registers
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "core", "helpers", "helper", "misc"}
TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "LICENSE",
    "Makefile",
    "README.md",
    "clusters",
    "constraints.txt",
    "eqbench",
    "pyproject.toml",
    "suites",
    "tests",
}
NEVER_WRITTEN = {
    "a package registry's host": r"(?:pypi|pythonhosted|npmjs|debian|download\.pytorch)\.org|crates\.io",
    "a path of one machine": r"(?<![\w./}-])/(?:home|root|Users|work)/[\w.]",
    "work left over": r"\b(?:TO)(?:DO)\b|\bFIX(?:ME)\b",
}
HEAVY = {
    "ray",
    "mlflow",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "matplotlib",
    "mmdet",
    "mmcv",
    "mmengine",
    "torchvision",
}
PLATFORM_ONLY = ("nvidia-", "cuda-", "triton")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file that is, or would be, committed."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / path for path in answer.stdout.split("\0") if path and (ROOT / path).is_file()]


# -- shape -------------------------------------------------------------------------------------------------------


def test_top_level_is_the_agreed_one(files: list[Path]) -> None:
    assert {file.relative_to(ROOT).parts[0] for file in files} <= TOP_LEVEL


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """What a function is decorated with, without arguments."""
    return [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]


def test_files_and_functions_are_short() -> None:
    too_long = []
    for file in SOURCES:
        text = file.read_text()
        too_long += [name(file)] if text.count("\n") > LONGEST_FILE else []
        too_long += [
            f"{name(file)}:{node.lineno} {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno + 1
            > (LONGEST_KERNEL if "triton.jit" in map(ast.unparse, decorators(node)) else LONGEST_FUNCTION)
        ]
    assert too_long == []


def test_every_module_is_named_for_its_subject(files: list[Path]) -> None:
    modules = [file for file in files if file.suffix == ".py"]
    assert [
        name(file) for file in modules if {*file.relative_to(ROOT).with_suffix("").parts} & NAMES_THAT_SAY_NOTHING
    ] == []


def test_every_module_says_what_it_is() -> None:
    trees = {file: ast.parse(file.read_text()) for file in SOURCES}
    assert [name(file) for file, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("what", NEVER_WRITTEN)
def test_never_written(what: str, files: list[Path]) -> None:
    pattern = re.compile(NEVER_WRITTEN[what])
    found = []
    for file in files:
        lines = file.read_bytes().decode(errors="replace").splitlines()
        found += [f"{name(file)}:{number}: {line}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert found == []


# -- versions ----------------------------------------------------------------------------------------------------


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_constraints_pin_each_package_to_one_version() -> None:
    for pin in pins().values():
        assert re.fullmatch(r"==[\w.!+]+", str(pin.specifier)), pin
        assert (pin.url, pin.marker, pin.extras) == (None, None, set()), pin


def test_pins_satisfy_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = pins()
    for line in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(line)
        version = str(pinned[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version, prereleases=True), line


def test_constraints_hold_the_complete_installation_and_nothing_else() -> None:
    needed: set[str] = set()
    ahead = [("eqbench", ""), ("eqbench", "dev")]
    seen: set[tuple[str, str]] = set()
    while ahead:
        package, extra = ahead.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        needed.add(package)
        for requirement in required_by(package, extra):
            ahead += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    needed.discard("eqbench")
    pinned = {package for package in pins() if package in needed or not package.startswith(PLATFORM_ONLY)}
    assert needed - pinned == set()
    assert pinned - needed == set()


def test_the_package_is_installed_from_this_tree() -> None:
    assert importlib.metadata.version("eqbench") == __import__("eqbench").__version__


# -- imports -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("eqbench", {"torch", *HEAVY}),
        ("eqbench.cli", {"torch", *HEAVY}),
        ("eqbench.doctor", {"torch", *HEAVY}),
    ],
)
def test_importing_is_light(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert set(answer.stdout.split()) & unwanted == set()
