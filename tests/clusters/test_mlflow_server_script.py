"""The script that starts PostgreSQL and MLflow on a head, with a stand-in for docker."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from cluster_files import CLUSTERS, IMAGE, calls, environment, every_file, stand_in, text
from mlflow import environment_variables
from mlflow.server.security_utils import is_allowed_host_header
from sqlalchemy.engine import make_url

SCRIPT = CLUSTERS / "mlflow_server.sh"
DOCKER = """
case "$*" in
    *"id -u") id -u ;;
    inspect*) [ -e "$HOME/${*: -1}" ] && echo true || exit 1 ;;
    run*--name*) while [ "$1" != --name ]; do shift; done; touch "$HOME/$2" ;;
    *) [ ! -e "$HOME/refuse" ] ;;
esac
"""


def start(tmp_path: Path, *words: str, **more: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script; the docker commands that it gave."""
    folder = tmp_path / "programs"
    stand_in(folder, "docker", DOCKER)
    stand_in(folder, "sleep", "")
    stand_in(folder, "hostname", 'case "$*" in -I) echo "129.187.10.4 fe80::1" ;; -f) exit 1 ;; *) echo head ;; esac')
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "calls").unlink(missing_ok=True)
    surroundings = environment(folder, HOME=str(tmp_path / "home"), **more)
    answer = subprocess.run(
        ["bash", str(SCRIPT), *words], env=surroundings, capture_output=True, text=True, check=False, timeout=60
    )
    return answer, [line for line in calls(folder) if line.startswith("docker ")]


def test_both_servers_start_and_nothing_happens_the_second_time(tmp_path: Path) -> None:
    share = tmp_path / "share"
    answer, given = start(tmp_path, IMAGE, str(share), "0.0.0.0")
    assert answer.returncode == 0, answer.stderr
    postgres, mlflow = (line for line in given if "--detach" in line)
    assert "--publish 127.0.0.1:5432:5432 " in postgres
    assert f"--volume {share}/database/postgres:/var/lib/postgresql/data" in postgres
    assert "--restart unless-stopped" in postgres
    assert f"{IMAGE} mlflow server --host 0.0.0.0 --port 5000 " in mlflow
    assert f"--artifacts-destination {share}/mlartifacts" in mlflow
    assert "--env MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false " in mlflow
    assert environment_variables.MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get()  # or the setting is needless
    assert {each.name for each in share.iterdir()} == {"runs", "data", "mlartifacts", "database"}
    secret = (share / "database/postgres.env").read_text()
    again, given = start(tmp_path, IMAGE, str(share), "0.0.0.0")
    assert again.returncode == 0, again.stderr
    assert [line for line in given if "--detach" in line or " rm " in line] == []
    assert (share / "database/postgres.env").read_text() == secret


def test_the_password_is_made_here_and_only_in_files_of_this_user(tmp_path: Path) -> None:
    answer, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    database = tmp_path / "share/database"
    [password] = re.findall(r"POSTGRES_PASSWORD=([0-9a-f]{48})$", (database / "postgres.env").read_text().strip())
    uri = f"MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://mlflow:{password}@127.0.0.1:5432/mlflow\n"
    assert (database / "mlflow.env").read_text() == uri
    assert password not in answer.stdout + answer.stderr + "".join(given)
    assert {file.stat().st_mode & 0o077 for file in (database, *database.iterdir())} == {0}


def test_mlflow_listens_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    _, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    assert " mlflow server --host 127.0.0.1 " in given[-2]


def allowed_hosts(command: str) -> list[str]:
    words = shlex.split(command)
    return words[words.index("--allowed-hosts") + 1].split(",")


def test_mlflow_answers_to_the_names_of_its_machine_and_those_given(tmp_path: Path) -> None:
    _, given = start(tmp_path, IMAGE, str(tmp_path / "share"), "0.0.0.0", "tracking", "head.example.edu")
    hosts = allowed_hosts(given[-2])
    assert "*" not in hosts
    for name in ("localhost", "127.0.0.1", "head", "129.187.10.4", "tracking", "head.example.edu"):
        assert is_allowed_host_header(hosts, f"{name}:5000"), name
    assert not is_allowed_host_header(hosts, "elsewhere.example.com:5000")
    assert not any("fe80" in host for host in hosts)


def test_the_server_of_the_readme_answers_to_the_name_that_clients_use() -> None:
    [command] = re.findall(r"^mlflow server (?:.*\\\n)*.*$", text("README.md"), re.MULTILINE)
    hosts = allowed_hosts(command.replace("NAME", "tracking"))
    for name in ("localhost:5000", "127.0.0.1:5000", "tracking:5000"):
        assert is_allowed_host_header(hosts, name)


def test_the_database_can_lie_elsewhere(tmp_path: Path) -> None:
    answer, _ = start(tmp_path, IMAGE, str(tmp_path / "share"), EQBENCH_DATABASE=str(tmp_path / "disk"))
    assert answer.returncode == 0
    assert (tmp_path / "disk/postgres.env").exists()
    assert not (tmp_path / "share/database").exists()


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/refuse").touch()
    answer, _ = start(tmp_path, IMAGE, str(tmp_path / "share"))
    assert answer.returncode == 1
    assert "no success within 120 s: docker exec eqbench-postgres pg_isready" in answer.stderr


def test_too_few_words_are_an_error(tmp_path: Path) -> None:
    answer, given = start(tmp_path, IMAGE)
    assert (answer.returncode, given) == (2, [])
    assert "usage: mlflow_server.sh IMAGE FOLDER [ADDRESS [NAME...]]" in answer.stderr
    assert list((tmp_path / "home").iterdir()) == []


def test_every_address_of_a_database_names_a_driver_that_the_image_has() -> None:
    """Without a name, SQLAlchemy looks for another one, and the server does not start."""
    image = text("Dockerfile")
    found = {scheme for name in every_file() for scheme in re.findall(r"postgresql[+\w]*(?=://)", text(name))}
    assert found
    for scheme in found:
        driver = make_url(f"{scheme}://ada:PASSWORD@127.0.0.1/mlflow").get_dialect().import_dbapi().__name__
        assert f"{driver}-binary" in image
