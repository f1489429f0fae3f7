"""What every file of clusters/ says at its top, and what none of them may contain."""

from __future__ import annotations

import re
import shlex
import warnings
from typing import Any

import pytest
import typer.main
import yaml
from cluster_files import CLUSTERS, IMAGE, LAUNCHED, ROOT, commands, every_file, header, rows, text

from eqbench.listing import listing

FILES = every_file()
PROGRAMS = {
    *("ray", "eqbench", "pip", "export", "sbatch", "scancel", "ssh"),
    *("kubectl", "base64", "docker", "curl", "mlflow_server.sh", "az", "openssl", "tr", "mkdir", "touch", "chmod"),
}
MACHINE = re.compile(r"(?:InstanceType|machineType|vmSize): (\S+)|\b(\d+(?:\.\d+){3})\b")
ROWS = [(name, what, words) for name in FILES for what, simple in commands(name) for words in simple]
PLACEHOLDERS = [
    *(r"(?:fs|sg|ami)-0{17}", r"0{8}(?:-0{4}){3}-0{12}", r"my-project", r"10\.0\.0\.2", r"eqbenchstorage"),
    re.escape(IMAGE),
]
SECRETS = {
    "a key of AWS": r"\bAKIA[0-9A-Z]{16}\b",
    "a private key": r"BEGIN [A-Z ]*PRIVATE KEY",
    "a literal password or token": (
        r"(?i)(?:password|token|secret|key)[\"']?\s*[:=]\s*(?!/dev/stdin)[\"']?[\w+/]{8,}[\"']?\s*$"
    ),
    "a password in an address": r"://[\w.-]+:(?!%s@|\$\(PGPASSWORD\)@|PASSWORD@)[^@/\s]+@",
}


def row(name: str, what: str) -> str:
    """The command of a header's row."""
    [found] = [command for label, command in rows(name) if label == what]
    return found


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_three_commands_and_what_changes_cost_are_at_the_top(name: str) -> None:
    assert f"clusters/{name}" in row(name, "launch")
    assert row(name, "run").startswith("eqbench submit SUITE --address http://127.0.0.1:8265 --storage ")
    assert row(name, "tear down").split()[0] in {"ray", "kubectl", "scancel"}
    assert "What a change costs" in header(name)
    assert "Fill in" in header(name)


@pytest.mark.parametrize("name", ["Dockerfile", "mlflow_server.sh"])
def test_what_others_use_says_how_and_what_changes_cost(name: str) -> None:
    assert len(rows(name)) >= 3
    assert "What a change costs" in header(name)


@pytest.mark.parametrize(("name", "what", "words"), ROWS, ids=[f"{name}: {what}" for name, what, _ in ROWS])
def test_programs_are_known_and_files_exist(name: str, what: str, words: list[str]) -> None:
    assert words[0] in PROGRAMS
    for word in words[1:]:
        if word.startswith("clusters/"):
            assert (ROOT / word).is_file(), word


def ray_command(words: list[str]) -> None:
    with warnings.catch_warnings(action="ignore"):  # of Ray Serve, which comes along
        from ray.scripts.scripts import cli

    command: Any = cli.commands[words[1]]
    command.make_context(words[1], words[2:]).close()


def eqbench_command(words: list[str]) -> None:
    from eqbench.cli import app

    command: Any = typer.main.get_command(app)
    given = ["quickstart" if word == "SUITE" else word for word in words[2:]]
    command.commands[words[1]].make_context(words[1], given).close()


@pytest.mark.parametrize(
    "words", [words for _, _, words in ROWS if words[0] in ("ray", "eqbench")], ids=lambda words: shlex.join(words)
)
def test_ray_and_eqbench_take_the_commands(words: list[str]) -> None:
    (ray_command if words[0] == "ray" else eqbench_command)(words)


def test_a_command_with_a_mistake_is_noticed() -> None:
    with pytest.raises(KeyError):
        eqbench_command(["eqbench", "submitt", "SUITE", "--address", "http://127.0.0.1:8265"])
    with pytest.raises(Exception, match=r"[Nn]o such option|--yess"):
        ray_command(["ray", "up", "--yess", "clusters/aws.yaml"])
    with pytest.raises(Exception, match=r"[Nn]o (such )?option|--seed\b"):
        eqbench_command(["eqbench", "run", "SUITE", "--dry"])


@pytest.mark.parametrize("name", ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml"])
def test_what_a_launch_on_kubernetes_needs_is_in_its_own_header(name: str) -> None:
    """Without the Secret, PostgreSQL and MLflow never start."""
    once = [line for what, line in rows("kuberay/mlflow.yaml") if what == "once"]
    assert [line for what, line in rows(name) if what == "once"] == [*once, row("kuberay/mlflow.yaml", "launch")]


def test_the_password_of_the_database_is_in_no_command_line() -> None:
    """Everyone on a machine can read those."""
    assert [name for name in FILES if "--from-literal" in text(name) or "$(openssl" in text(name)] == []


def test_a_token_of_kubernetes_takes_no_other_clusters_place_and_is_private() -> None:
    make, fill, use = (line for what, line in rows("kuberay/raycluster.yaml") if what == "token")
    file = fill.split("> ")[1]
    assert file != "~/.ray/auth_token"
    assert make == f"mkdir -p ~/.ray; touch {file}; chmod 600 {file}"
    assert use == f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={file}"
    assert "~/.ray/auth_token" not in text("slurm.sbatch")


def test_slurm_runs_a_command_of_eqbench() -> None:
    words = row("slurm.sbatch", "launch").split()
    eqbench_command(["eqbench", *words[words.index("clusters/slurm.sbatch") + 1 :]])


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_must_be_filled_in_is_named_at_the_top(name: str) -> None:
    body = text(name).removeprefix(header(name))
    for pattern in PLACEHOLDERS:
        assert set(re.findall(pattern, body)) <= set(re.findall(pattern, header(name)))


def test_the_image_is_called_the_same_everywhere() -> None:
    named = {image for name in FILES for image in re.findall(r"[\w.-]+/eqbench:[\w.-]+", text(name))}
    assert named == {IMAGE}


@pytest.mark.parametrize("what", SECRETS)
def test_there_is_no_secret(what: str) -> None:
    found = [f"{name}: {line}" for name in FILES for line in text(name).splitlines() if re.search(SECRETS[what], line)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a key of AWS", "aws_access_key_id: AKIAABCDEFGHIJKLMNOP"),
        ("a private key", "-----BEGIN RSA PRIVATE KEY-----"),
        ("a literal password or token", "POSTGRES_PASSWORD=hunter2hunter2"),
        ("a literal password or token", '  auth_token: "0123456789abcdef"'),
        ("a password in an address", "postgresql://mlflow:hunter2@postgres:5432/mlflow"),
    ],
)
def test_a_secret_would_be_found(what: str, line: str) -> None:
    assert re.search(SECRETS[what], line)


def words_of(document: Any) -> set[str]:
    """Every key and every word of every value of a YAML document."""
    if isinstance(document, dict):
        return {word for pair in document.items() for part in pair for word in words_of(part)}
    if isinstance(document, list):
        return {word for part in document for word in words_of(part)}
    return set(re.findall(r"[\w.-]+", str(document)))


def test_a_cluster_names_no_loss() -> None:
    losses = {entry["name"] for entry in listing("losses")}
    assert len(losses) >= 15
    for name in FILES:
        assert set(re.findall(r"[\w-]+", text(name))) & losses == set(), name


def test_a_suite_names_no_machine() -> None:
    named = {match[1] or match[2] for name in LAUNCHED for match in MACHINE.finditer(text(name))}
    assert len(named) >= 8
    settings = {"provider", "head_ip", "worker_ips", "address", "RAY_ADDRESS", "EQBENCH_STORAGE", "storage"}
    for suite in sorted((ROOT / "suites").rglob("*.yaml")):
        assert words_of(yaml.safe_load(suite.read_text())) & (named | settings) == set(), suite


def test_the_readme_names_every_file_and_every_link_leads_somewhere() -> None:
    readme = text("README.md")
    links = set(re.findall(r"\]\(([^)#]+)\)", readme))
    assert {link for link in links if not (CLUSTERS / link).exists()} == set()
    assert {name for name in FILES if name not in links and f"`{name}`" not in readme} == {"README.md"}


README_COMMANDS = [
    line.partition("#")[0].split()
    for block in re.findall(r"^```bash\n(.*?)^```", text("README.md"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize(
    "words", [words for words in README_COMMANDS if words[:1] == ["eqbench"]], ids=lambda words: " ".join(words)
)
def test_commands_of_the_readme_are_taken(words: list[str]) -> None:
    eqbench_command(words)
