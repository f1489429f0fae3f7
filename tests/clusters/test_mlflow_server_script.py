"""The script that starts PostgreSQL and MLflow on a head, with a stand-in for docker; its MLflow with passwords."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from cluster_files import CLUSTERS, IMAGE, ROOT, calls, environment, every_file, stand_in, text
from mlflow import MlflowClient, environment_variables
from mlflow.exceptions import MlflowException
from mlflow.server.security_utils import is_allowed_host_header
from sqlalchemy.engine import make_url

SCRIPT = CLUSTERS / "mlflow_server.sh"
STARTUP_SECONDS = 180
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
    assert (database / "mlflow.env").read_text() == f"{uri}PGPASSWORD={password}\n"
    assert password not in answer.stdout + answer.stderr + "".join(given)
    assert {file.stat().st_mode & 0o077 for file in (database, *database.iterdir())} == {0}


def test_mlflow_listens_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    _, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    assert " mlflow server --host 127.0.0.1 " in given[-2]


@pytest.mark.parametrize(
    ("address", "reached"), [("10.1.2.3", "10.1.2.3"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")]
)
def test_mlflow_is_asked_where_it_listens(address: str, reached: str, tmp_path: Path) -> None:
    """At the address of one network alone, nothing listens on loopback."""
    answer, given = start(tmp_path, IMAGE, str(tmp_path / "share"), address)
    assert answer.returncode == 0, answer.stderr
    assert given[-1].endswith(f" http://{reached}:5000/health")


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


# -- passwords ---------------------------------------------------------------------------------------------------


def make_account(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run what the README says."""
    [block] = re.findall(r"^```bash\n(\(\n.*?^\)\n)```", text("README.md"), re.MULTILINE | re.DOTALL)
    folder = tmp_path / "programs"
    stand_in(folder, "openssl", "od -An -N24 -tx1 /dev/urandom | tr -d ' \\n'; echo")
    (tmp_path / "home").mkdir(exist_ok=True)
    surroundings = environment(folder, HOME=str(tmp_path / "home"))
    return subprocess.run(["bash", "-c", block], env=surroundings, capture_output=True, text=True, check=False)


def variables(file: Path) -> dict[str, str]:
    """As docker reads a file of variables."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def test_an_account_is_made_once_in_files_of_its_user_alone(tmp_path: Path) -> None:
    assert make_account(tmp_path).returncode == 0
    folder = tmp_path / "home/.mlflow"
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        "credentials": 0o600,
        "auth.env": 0o600,
    }
    server = variables(folder / "auth.env")
    password, key = server["MLFLOW_AUTH_ADMIN_PASSWORD"], server["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    assert password != key
    assert {len(password), len(key)} == {48}
    first, *client = (folder / "credentials").read_text().splitlines()
    assert (first, client) == (
        "[mlflow]",
        ["mlflow_tracking_username=eqbench", f"mlflow_tracking_password={password}"],
    )
    before = [file.read_text() for file in folder.iterdir()]
    again = make_account(tmp_path)
    assert (again.returncode, "cannot overwrite existing file" in again.stderr) == (1, True)
    assert [file.read_text() for file in folder.iterdir()] == before


def test_a_server_with_accounts_asks_for_passwords_which_nobody_sees(tmp_path: Path) -> None:
    make_account(tmp_path)
    database = tmp_path / "share/database"
    database.mkdir(parents=True)
    (tmp_path / "home/.mlflow/auth.env").rename(database / "auth.env")
    answer, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    assert answer.returncode == 0, answer.stderr
    assert f" --env-file {database}/auth.env " in given[-2]
    assert given[-2].endswith(" --app-name basic-auth")
    assert "with passwords" in answer.stdout
    for secret in [*variables(database / "auth.env").values(), variables(database / "mlflow.env")["PGPASSWORD"]]:
        assert secret == "eqbench" or secret not in answer.stdout + answer.stderr + "".join(given)


def test_a_server_without_accounts_says_that_it_asks_for_none(tmp_path: Path) -> None:
    answer, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    assert "--app-name" not in given[-2]
    assert "without passwords" in answer.stdout


def server_of_the_script(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the variables that the script gives to docker for MLflow."""
    make_account(tmp_path)
    database = tmp_path / "share/database"
    database.mkdir(parents=True)
    (database / "auth.env").write_text((tmp_path / "home/.mlflow/auth.env").read_text())
    _, given = start(tmp_path, IMAGE, str(tmp_path / "share"))
    words = shlex.split(given[-2])
    known: dict[str, str] = {}
    for option, value in pairwise(words):
        known |= variables(Path(value)) if option == "--env-file" else {}
        known |= dict([value.split("=", 1)]) if option == "--env" else {}
    return words[words.index(IMAGE) + 2 :], known


@contextlib.contextmanager
def databases(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for a PostgreSQL of the tests, or where there is none for files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "tracking"))
        import postgres_server
    accounts = CLUSTERS / "mlflow_auth.ini"
    if postgres_server.installed():
        with contextlib.closing(postgres_server.Postgres()) as database:
            url = make_url(database.uri)
            yield {
                "MLFLOW_BACKEND_STORE_URI": database.uri,
                "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
                "PGPORT": str(url.port),
                "PGDATABASE": str(url.database),
                "PGPASSWORD": database.password,
            }
    else:
        in_a_file = f"sqlite:///{tmp_path}/accounts.db"
        (tmp_path / "auth.ini").write_text(accounts.read_text().replace("postgresql+psycopg2://", in_a_file))
        yield {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db",
            "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
        }


@contextlib.contextmanager
def running(tmp_path: Path, port: int) -> Iterator[Path]:
    """The server that the script starts, on this machine and port; the log."""
    words, known = server_of_the_script(tmp_path)
    words[words.index("--port") + 1] = str(port)
    with databases(tmp_path) as stores, (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=tmp_path,
            env=os.environ | known | stores,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + STARTUP_SECONDS
            while True:
                said = Path(log.name).read_text()
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
                threading.Event().wait(0.1)
            yield Path(log.name)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(
    importlib.util.find_spec("flask_wtf") is None, reason="no mlflow[auth] here: pip install 'mlflow[auth]'"
)
def test_passwords_are_asked_for_and_found_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running(tmp_path, port) as log:
        for path in ("/", "/signup", "/api/2.0/mlflow/experiments/search?max_results=1"):
            with pytest.raises(HTTPError) as refused:
                urlopen(f"{address}{path}", timeout=30).close()
            assert refused.value.code == 401
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        with pytest.raises(MlflowException, match="401"):
            MlflowClient(tracking_uri=address).search_experiments()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        client = MlflowClient(tracking_uri=address)
        experiment = client.create_experiment("toy")
        assert client.get_experiment_by_name("toy").experiment_id == experiment  # type: ignore[union-attr]
        password = variables(tmp_path / "home/.mlflow/auth.env")["MLFLOW_AUTH_ADMIN_PASSWORD"]
        with monkeypatch.context() as given:
            given.setenv("HOME", str(tmp_path / "nobody"))
            given.setenv("MLFLOW_TRACKING_USERNAME", "eqbench")
            given.setenv("MLFLOW_TRACKING_PASSWORD", password)
            assert MlflowClient(tracking_uri=address).get_experiment(experiment).name == "toy"
            given.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2hunter2")
            with pytest.raises(MlflowException, match="401"):
                MlflowClient(tracking_uri=address).search_experiments()
        assert password not in log.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
