"""Every command that a README quotes exists, takes the options it is shown with, and names files that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import typer.main

ROOT = Path(__file__).resolve().parents[1]
READMES = [file for file in (ROOT / "README.md", ROOT / "tests" / "benchmarks" / "README.md") if file.exists()]
EVERYWHERE = {"cd", "export", "git", "source"}
OURS = ("eqbench", "make")
FENCE = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:eqbench|make) [^`\n]+)`(?!`)")
PLACEHOLDER = re.compile(r"[\[\]<>…|]|\.\.\.|\b[A-Z]{2,}\b")
FILE_ENDINGS = (".yaml", ".yml", ".toml", ".txt", ".md")


def commands(text: str) -> list[list[str]]:
    """The commands in fenced shell blocks, and those of ours in inline code, as words."""
    blocks = "\n".join(match[1] for match in FENCE.finditer(text)).replace("\\\n", " ")
    outside = FENCE.sub("", text)
    lines = [line.strip().removeprefix("$ ") for line in blocks.splitlines()]
    found = [words for line in [*lines, *INLINE.findall(outside)] for words in split(line)]
    return [words for position, words in enumerate(found) if words not in found[:position]]


def split(line: str) -> list[list[str]]:
    """The simple commands of one line, without comments, assignments and the folder of a virtual environment.

    >>> split("A=1 .venv/bin/eqbench ls losses && make test   # all of it")
    [['eqbench', 'ls', 'losses'], ['make', 'test']]
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&;|"):
            simple.append([])
        elif simple[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            simple[-1].append(word)
    return [[words[0].removeprefix(".venv/bin/"), *words[1:]] for words in simple if words]


QUOTED = [words for readme in READMES for words in commands(readme.read_text())]


def targets() -> set[str]:
    """The targets that the Makefile declares as commands."""
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    return set(phony[1].split())


def parse(words: list[str], app: typer.Typer) -> None:
    """Let the command line's own parser read the words, without running anything.

    Words with a placeholder, as in `eqbench run SUITE [--dry-run]`, can only be searched for options.

    Raises:
        AssertionError: a verb or an option does not exist.
        Exception: what the parser raises.
    """
    command: Any = typer.main.get_command(app)
    name, rest = words[0], words[1:]
    while commands := getattr(command, "commands", None):
        assert rest, f"{shlex.join(words)}: a verb is missing"
        name, *rest = rest
        assert name in commands, f"{shlex.join(words)}: no verb {name!r}"
        command = commands[name]
    if "--help" in rest:
        return
    if not any(PLACEHOLDER.search(word) for word in rest):
        command.make_context(name, rest).close()
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    shown = {word.strip("[]").partition("=")[0] for word in rest if word.strip("[]").startswith("-")}
    assert shown <= known, f"{shlex.join(words)}: no option {', '.join(sorted(shown - known))}"


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also when these tests run under make."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_readme_quotes_the_two_commands() -> None:
    quoted = commands((ROOT / "README.md").read_text())
    assert ["make", "quickstart"] in quoted
    assert ["make", "test"] in quoted


@pytest.mark.parametrize("words", QUOTED, ids=shlex.join)
def test_program_is_one_of_ours_or_on_every_machine(words: list[str]) -> None:
    assert words[0] in {*OURS, *EVERYWHERE} or (ROOT / words[0]).is_file()


@pytest.mark.parametrize("words", [words for words in QUOTED if words[0] == "make"], ids=shlex.join)
def test_make_target_exists(words: list[str]) -> None:
    assert {word for word in words[1:] if "=" not in word} <= targets()
    assert make("--dry-run", *words[1:]).returncode == 0


@pytest.mark.parametrize("words", [words for words in QUOTED if words[0] == "eqbench"], ids=shlex.join)
def test_verb_exists_and_takes_these_arguments(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.cli import app

    monkeypatch.chdir(ROOT)
    parse(words, app)


@pytest.mark.parametrize("words", QUOTED, ids=shlex.join)
def test_files_named_exist(words: list[str]) -> None:
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"runs", "board"}
    for word in words[1:]:
        inside = "/" in word and word.partition("/")[0] in top
        made = word.startswith("runs/")  # by an earlier command
        if (inside or word.endswith(FILE_ENDINGS)) and not made and not PLACEHOLDER.search(word):
            assert (ROOT / word.partition(":")[0]).exists(), shlex.join(words)


# -- the reading itself ------------------------------------------------------------------------------------------

SAMPLE = """
Say `make test` or `eqbench run SUITE [--dry-run]`; `eqbench.losses` and `make` are no commands.

```bash
git clone <address>; cd eqbench
make quickstart     # sets everything up
$ MLFLOW_TRACKING_URI=x .venv/bin/eqbench run suites/quickstart.yaml \\
    --only 'loss=softmax_eql'
```

```python
make = "not a command"
```
"""


def test_commands_are_found_in_a_readme() -> None:
    assert commands(SAMPLE) == [
        ["git", "clone", "<address>"],
        ["cd", "eqbench"],
        ["make", "quickstart"],
        ["eqbench", "run", "suites/quickstart.yaml", "--only", "loss=softmax_eql"],
        ["make", "test"],
        ["eqbench", "run", "SUITE", "[--dry-run]"],
    ]


def example_app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def run(suite: str, dry_run: bool = False, seeds: Annotated[int, typer.Option("--seeds", "-s")] = 1) -> None:
        raise AssertionError("parsing runs nothing")

    @app.command()
    def ui() -> None:
        raise AssertionError("parsing runs nothing")

    return app


@pytest.mark.parametrize("line", ["run a.yaml -s 2 --dry-run", "run SUITE [--dry-run] [--seeds N]", "ui", "run --help"])
def test_commands_that_exist_are_accepted(line: str) -> None:
    parse(["eqbench", *line.split()], example_app())


@pytest.mark.parametrize(
    "line", ["", "rnu a.yaml", "run", "run a.yaml --seeds x", "run a.yaml --dry", "run SUITE [--dry]"]
)
def test_commands_that_do_not_exist_are_refused(line: str) -> None:
    with pytest.raises(Exception, match=r"verb|[Mm]issing|valid integer|[Nn]o (such )?option"):
        parse(["eqbench", *line.split()], example_app())


# -- the Makefile ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", sorted(targets()))
def test_every_make_target_can_be_made(target: str) -> None:
    answer = make("--dry-run", target)
    assert answer.returncode == 0, answer.stderr


def test_make_without_a_target_lists_them() -> None:
    assert {line.split()[1] for line in make().stdout.splitlines()} == targets()


@pytest.mark.parametrize("python", ["", "no-such-python", "false"])
def test_an_unsuitable_python_is_one_clear_sentence(python: str, tmp_path: Path) -> None:
    answer = make("quickstart", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    message, failed_rule = answer.stderr.splitlines()
    assert message.startswith("eqbench needs Python 3.11 or newer")
    assert failed_rule.startswith("make: ***")
    assert answer.returncode == 2


def test_the_loss_that_the_readme_adds_keeps_the_contract(tmp_path: Path) -> None:
    from eqbench.loss_contract import check_user_loss

    [code] = re.findall(
        r"^```python\n# mine\.py\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    file = tmp_path / "mine_of_the_readme.py"
    file.write_text(code)
    assert check_user_loss(f"{file}:SquareRootPrior") == {}
