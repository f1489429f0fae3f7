"""The agent of spot machines, with a metadata service on loopback and a stand-in for Ray."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cluster_files import CLOUDS, CLUSTERS, calls, documents, environment, stand_in
from ray._private import services

SCRIPT = CLUSTERS / "spot_notice.py"
NODE = "ab" * 28
RAYLET = ["/opt/ray/raylet", f"--node_id={NODE}", "--node_ip_address=10.0.0.7", "--gcs-address=10.0.0.1:6379"]


def module() -> Any:
    spec = importlib.util.spec_from_file_location("spot_notice", SCRIPT)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


spot_notice = module()


class Service:
    """A metadata service: `answers` by path to those who send the headers it `needs`; all else is 404."""

    def __init__(self, needs: dict[str, str]) -> None:
        self.needs = needs
        self.answers: dict[str, str] = {}
        self.out_of_order = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if service.out_of_order:
                self.send(500, "out of order")
            elif any(self.headers[name] != value for name, value in service.needs.items()):
                self.send(401, "")
            elif self.path in service.answers:
                self.send(200, service.answers[self.path])
            else:
                self.send(404, "nothing")

        def do_PUT(self) -> None:
            known = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            self.send(*(200, "a session") if known else (400, ""))

        def send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    return Handler


NEEDS = {
    "aws": {"X-aws-ec2-metadata-token": "a session"},
    "gcp": {"Metadata-Flavor": "Google"},
    "azure": {"Metadata": "true"},
}
NOTICE = {
    "aws": "/latest/meta-data/spot/instance-action",
    "gcp": "/computeMetadata/v1/instance/preempted",
    "azure": "/metadata/scheduledevents?api-version=2020-07-01",
}
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


def within(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def aws(action: str = "terminate", seconds: float = 100) -> str:
    return json.dumps({"action": action, "time": within(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")})


def azure(kind: str = "Preempt", machine: str = "worker-3", begins: str | None = None) -> str:
    start = format_datetime(within(25), usegmt=True) if begins is None else begins
    event = {"EventId": "1", "EventType": kind, "EventStatus": "Scheduled", "Resources": [machine], "NotBefore": start}
    return json.dumps({"DocumentIncarnation": 1, "Events": [event]})


class Machine:
    """A spot machine of a cloud with Ray on it; between two questions, time passes as the test says."""

    def __init__(self, cloud: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        self.cloud = cloud
        self.folder = tmp_path / "programs"
        stand_in(self.folder, "ray", 'if [ -e "$CALLS.refuse" ]; then echo "no head" >&2; exit 1; fi')
        self.refusal = tmp_path / "calls.refuse"
        for name, value in environment(self.folder, http_proxy="http://127.0.0.1:9").items():
            patch.setenv(name, value)
        processes = tmp_path / "processes"
        self.ray = processes / "4711" / "cmdline"
        self.ray.parent.mkdir(parents=True)
        self.ray.write_text("\0".join([*RAYLET, ""]))
        (processes / "1").mkdir()
        (processes / "1" / "cmdline").write_text("bash\0-c\0raylet\0")
        self.service = Service(NEEDS[cloud])
        if cloud == "azure":
            self.service.answers[AZURE_NAME] = "worker-3"
        patch.setattr(spot_notice, "PROCESSES", processes)
        patch.setattr(spot_notice, "time", SimpleNamespace(monotonic=time.monotonic, sleep=self._pass))

    def watch(self, *then: Callable[[], object]) -> int:
        """Run the agent: one of `then` happens after each question, then Ray ends. The exit code."""
        self._then = [*then, self.ray.unlink]
        return int(spot_notice.watch(self.cloud, self.service.address, 1.0))

    def notice(self, text: str) -> Callable[[], None]:
        """From then on, the service says this."""
        return lambda: self.service.answers.update({NOTICE[self.cloud]: text})

    def _pass(self, seconds: float) -> None:
        self._then.pop(0)()

    @property
    def told(self) -> list[list[str]]:
        return [shlex.split(line) for line in calls(self.folder)]


def seconds_of(words: list[str]) -> int:
    return int(words[words.index("--deadline-remaining-seconds") + 1])


def nothing() -> None: ...


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Machine]]:
    made = []

    def of(cloud: str) -> Machine:
        made.append(Machine(cloud, tmp_path, monkeypatch))
        return made[-1]

    yield of
    for each in made:
        each.service.close()


@pytest.mark.parametrize(
    ("cloud", "before", "notice", "least", "most"),
    [
        ("aws", None, aws, 90, 100),
        ("aws", None, lambda: aws("stop"), 90, 100),
        ("aws", None, lambda: aws("hibernate"), 10, 10),
        ("aws", None, lambda: aws(seconds=-5), 10, 10),
        ("aws", None, lambda: '{"action": "terminate"}', 120, 120),
        ("gcp", "FALSE", lambda: "TRUE\n", 30, 30),
        ("azure", azure("Reboot"), azure, 15, 25),
        ("azure", azure(machine="worker-4"), lambda: azure(begins=""), 10, 10),
    ],
)
def test_a_notice_is_told_to_ray_once(
    cloud: str,
    before: str | None,
    notice: Callable[[], str],
    least: int,
    most: int,
    machine: Callable[[str], Machine],
) -> None:
    spot = machine(cloud)
    if before is not None:
        spot.notice(before)()
    too_early: list[list[str]] = []
    assert spot.watch(nothing, lambda: too_early.extend(spot.told), spot.notice(notice()), nothing, nothing) == 0
    assert too_early == []
    [words] = spot.told
    assert words[:4] == ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    assert words[-4:] == ["--address", "10.0.0.1:6379", "--node-id", NODE]
    assert least <= seconds_of(words) <= most


@pytest.mark.parametrize("cloud", NOTICE)
def test_without_a_notice_nothing_is_told(cloud: str, machine: Callable[[str], Machine]) -> None:
    spot = machine(cloud)
    assert spot.watch(nothing, spot.notice(azure("Freeze") if cloud == "azure" else ""), nothing) == 0
    assert spot.told == []


def test_it_tells_again_until_ray_has_taken_it(machine: Callable[[str], Machine], caplog: Any) -> None:
    spot = machine("gcp")
    spot.notice("TRUE")()
    spot.refusal.touch()
    spot.watch(nothing, spot.refusal.unlink, nothing, nothing)
    assert len(spot.told) == 3
    assert caplog.messages.count("Ray could not be told: no head") == 2


@pytest.mark.parametrize("answer", [500, "not JSON", '{"time": "2026-01-01T00:00:00Z"}'])
def test_a_service_that_is_out_of_order_is_said_once_and_asked_on(
    answer: int | str, machine: Callable[[str], Machine], caplog: Any
) -> None:
    spot = machine("aws")
    if isinstance(answer, int):
        spot.service.out_of_order = True
    else:
        spot.notice(answer)()

    def repaired() -> None:
        spot.service.out_of_order = False
        spot.notice(aws())()

    spot.watch(nothing, nothing, repaired, nothing)
    assert sum("that makes sense" in message for message in caplog.messages) == 1
    assert len(spot.told) == 1


def test_a_ray_that_restarts_has_another_agent(machine: Callable[[str], Machine]) -> None:
    """Or there would be two."""
    spot = machine("gcp")

    def restart() -> None:
        spot.notice("TRUE")()
        spot.ray.parent.rename(spot.ray.parent.with_name("4712"))

    assert spot.watch(nothing, restart) == 0
    assert spot.told == []


def test_it_waits_for_ray_and_not_for_ever(machine: Callable[[str], Machine], monkeypatch: Any) -> None:
    spot = machine("gcp")
    spot.notice("TRUE")()
    later = spot.ray.with_name("later")
    spot.ray.rename(later)
    spot.watch(nothing, lambda: later.rename(spot.ray), nothing)
    assert len(spot.told) == 1
    monkeypatch.setattr(spot_notice, "SECONDS_TO_START", -1)
    assert spot.watch() == 1


def test_ray_takes_the_command_and_has_what_the_agent_looks_for(machine: Callable[[str], Machine]) -> None:
    with warnings.catch_warnings(action="ignore"):  # of Ray Serve, which comes along
        from ray.scripts.scripts import cli

    spot = machine("gcp")
    spot.notice("TRUE")()
    spot.watch(nothing)
    command: Any = cli.commands["drain-node"]
    command.make_context("drain-node", spot.told[0][2:]).close()
    starter = Path(services.__file__).read_text()
    assert 'f"--node_id={node_id}"' in starter
    assert 'f"--gcs-address={gcs_address}"' in starter
    assert services.RAYLET_EXECUTABLE.endswith(f"/{spot_notice.RAY_NODE}")


def test_it_is_a_program_of_its_own() -> None:
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), "alibaba"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "argument cloud: invalid choice: 'alibaba'" in answer.stderr


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_start_it_beside_ray_and_heads_do_not(name: str, tmp_path: Path) -> None:
    [document] = documents(name)
    start = document["worker_start_ray_commands"][-1]
    assert "spot_notice" not in str(document["head_start_ray_commands"])
    folder = tmp_path / "programs"
    for program in ("ray", "python"):
        stand_in(folder, program, 'echo "$MLFLOW_TRACKING_URI"')
    stand_in(folder, "ulimit", "")
    log = tmp_path / "log"
    command = start.replace("/tmp/spot_notice.log", str(log)).replace("ulimit -n 65536", "true")
    answer = subprocess.run(
        ["bash", "-c", f"{command}; wait"],
        env=environment(folder, RAY_HEAD_IP="10.0.0.1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    ray_start, agent = sorted(calls(folder), reverse=True)
    assert ray_start.startswith("ray start --address=10.0.0.1:6379")
    assert agent == f"python /eqbench/source/clusters/spot_notice.py {name.removesuffix('.yaml')}"
    assert answer.stdout == "http://10.0.0.1:5000\n"
    assert log.exists()
    stand_in(folder, "ray", "exit 1")
    failed = subprocess.run(["bash", "-c", command], env=environment(folder, RAY_HEAD_IP="10.0.0.1"), check=False)
    assert failed.returncode == 1
