"""`eqbench submit`, `status`, `logs` and `cancel` against a job server of the tests: every check, and what is sent."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import re
import shlex
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_cluster
import pytest
import small_suites
from fake_cluster import FakeCluster, job, node

from eqbench import cli
from eqbench.submission import command, following, package

STORAGE = ("--storage", "/shared/runs")
GRPC = bytes.fromhex("000018040000000000000400400000000500400000")


@dataclass
class Answer:
    code: int
    output: str
    errors: str

    @property
    def message(self) -> str:
        """The one message of a refusal."""
        assert self.code in (2, 3), (self.code, self.output, self.errors)
        assert self.errors.startswith("eqbench: "), self.errors
        assert "Traceback" not in self.errors
        return self.errors.removeprefix("eqbench: ").rstrip("\n")


Eqbench = Callable[..., Answer]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeCluster]:
    with FakeCluster().running() as running:
        yield running


@pytest.fixture
def fake(server: FakeCluster) -> FakeCluster:
    """The same server, as new."""
    address = server.address
    server.__dict__.update(FakeCluster(address=address).__dict__)
    return server


@pytest.fixture
def eqbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Eqbench:
    """Calls the program in a folder with a suite."""
    small_suites.write(tmp_path / "here" / "small.yaml", small_suites.suite())
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(following, "SECONDS_BETWEEN_TRIES", 0.01)
    for name in (
        *("MLFLOW_TRACKING_URI", "EQBENCH_STORAGE", "EQBENCH_DATA", "XDG_CACHE_HOME"),
        *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_JOB_HEADERS"),
        *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "NETRC"),
        *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
    ):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["eqbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Answer(ended.value.code if isinstance(ended.value.code, int) else 0, printed.out, printed.err)

    return call


def sent_files(fake: FakeCluster) -> dict[str, bytes]:
    """Content of the one package that was sent, by place."""
    [content] = fake.packages.values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# -- what works --------------------------------------------------------------------------------------------------


def test_submit_follows_to_the_end(eqbench: Eqbench, fake: FakeCluster) -> None:
    answer = eqbench(
        "submit", "small.yaml", "--address", fake.address, *STORAGE, "--seeds", "0,1", "-o", "train.epochs=3"
    )
    assert (answer.code, answer.errors) == (0, "")
    [asked] = fake.submitted
    words = shlex.split(asked["entrypoint"])
    assert words == [
        *("eqbench", "run", "small.yaml", "--storage", "/shared/runs", "--override=train.epochs=3", "--seeds=0,1")
    ]
    assert asked["submission_id"].startswith("eqbench-small-2")
    assert asked["metadata"]["eqbench.suite"] == "small"
    assert asked["metadata"]["eqbench.storage"] == "/shared/runs"
    assert asked["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
    assert sent_files(fake) == {"small.yaml": Path("small.yaml").read_bytes()}
    assert asked["runtime_env"]["working_dir"] == f"gcs://{next(iter(fake.packages))}"
    assert "small (4 runs), small.yaml" in answer.output
    assert "1 node, 8 CPU, 0 GPU; room for 4 runs at once" in answer.output
    assert answer.output.endswith("the log\n")


def test_the_printed_command_is_the_same_job(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # Ray would prefer it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    only = ("--only", "loss=* max", "--only", "loss=*(soft, [m]ax)")
    losses = [{"name": "cross_entropy", "label": label} for label in ("soft max", "b(soft, max)")]
    small_suites.write(Path("small.yaml"), small_suites.suite(losses=[losses[0], {**losses[1], "name": "focal"}]))
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE, *only, "--no-wait")
    assert answer.code == 0, answer.errors
    [line] = [line for line in answer.output.splitlines() if line.startswith("command ")]
    words = shlex.split(line.removeprefix("command"))
    assert words[:6] == ["env", "-u", "RAY_ADDRESS", "ray", "job", "submit"]
    options, entrypoint = words[6 : words.index("--")], words[words.index("--") + 1 :]
    given = dict(zip(options[::2], options[1::2], strict=True))
    [asked] = fake.submitted
    assert shlex.join(entrypoint) == asked["entrypoint"]
    assert given["--address"] == fake.address
    assert json.loads(given["--metadata-json"]) == asked["metadata"]
    environment = json.loads(given["--runtime-env-json"])["env_vars"]
    assert environment == asked["runtime_env"]["env_vars"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert Path(given["--working-dir"]).read_bytes() == next(iter(fake.packages.values()))
    assert f"eqbench cancel {asked['submission_id']} --address {fake.address}" in answer.output


def test_dry_run_submits_nothing(eqbench: Eqbench, fake: FakeCluster) -> None:
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE, "--dry-run")
    assert (answer.code, fake.submitted, fake.packages) == (0, [], {})
    assert "command   ray job submit" in answer.output


def test_a_sweep_is_a_sweep(eqbench: Eqbench, fake: FakeCluster) -> None:
    sweep = {"space": {"loss.tau": {"uniform": [0.5, 2]}}, "trials": 3, "objective": {"maximize": "val/few"}}
    small_suites.write(Path("tau.yaml"), small_suites.suite(name="tau", sweep=sweep))
    answer = eqbench("submit", "tau.yaml", "--address", fake.address, *STORAGE, "--num-samples", "5", "--no-wait")
    assert answer.code == 0, answer.errors
    [asked] = fake.submitted
    assert asked["entrypoint"] == "eqbench sweep tau.yaml --storage /shared/runs --num-samples=5"
    assert asked["metadata"]["eqbench.kind"] == "sweep"


def test_what_the_suite_needs_goes_with_it(eqbench: Eqbench, fake: FakeCluster) -> None:
    for name in ("first.py", "second.py"):
        Path(name).write_text("model = {}\n")
    Path("models").mkdir()
    Path("models/mine.py").write_text("_base_ = ['../first.py', './other.py']\n")
    Path("models/other.py").write_text("_base_ = '../second.py'\n")
    Path("unneeded.bin").write_bytes(bytes(1000))
    losses = ["cross_entropy", "faulty_losses:Breaks"]
    suite = small_suites.suite(losses=losses, mlflow={"tracking_uri": "http://mlflow/models/mine.py"})
    small_suites.write(Path("suites/mine.yaml"), suite)
    from eqbench.submission.needed_files import NeededFiles

    needed = NeededFiles(Path.cwd())
    needed._add_named("models/mine.py")
    assert sorted(needed.sources) == ["first.py", "models/mine.py", "models/other.py", "second.py"]
    answer = eqbench("submit", "mine", "--address", fake.address, *STORAGE, "--no-wait")
    assert answer.code == 0, answer.errors
    assert sorted(sent_files(fake)) == ["faulty_losses.py", "suites/mine.yaml"]
    assert fake.submitted[0]["entrypoint"].startswith("eqbench run suites/mine.yaml ")


def test_a_suite_of_eqbench_by_name(eqbench: Eqbench, fake: FakeCluster) -> None:
    arguments = ("--only", "task=digits", "--no-wait", "--dry-run")
    answer = eqbench("submit", "digits", "--address", fake.address, *STORAGE, *arguments)
    assert answer.code == 0, answer.errors
    assert "eqbench run suites/digits.yaml" in answer.output


def test_a_suite_goes_with_those_that_it_starts_from(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small_suites.suite(name="first")
    start = {"suite": "../first.yaml", "task": "digits", "loss": "cross_entropy"}
    second = small_suites.suite(name="second", tasks=[small_suites.task(start_from=start)])
    small_suites.write(Path("first.yaml"), first)
    small_suites.write(Path("more/second.yaml"), second)
    answer = eqbench("submit", "more/second.yaml", "--address", fake.address, *STORAGE, "--no-wait")
    assert answer.code == 0, answer.errors
    assert sorted(sent_files(fake)) == ["first.yaml", "more/second.yaml"]
    fake.packages.clear()
    Path("below").mkdir()
    monkeypatch.chdir("below")  # the suite is not below the current folder
    outside = eqbench("submit", "../more/second.yaml", "--address", fake.address, *STORAGE, "--no-wait", "--force")
    assert outside.code == 0, outside.errors
    assert sorted(sent_files(fake)) == ["first.yaml", "suites/second.yaml"]
    assert fake.submitted[-1]["entrypoint"].startswith("eqbench run suites/second.yaml ")


def test_a_folder_of_ones_own(eqbench: Eqbench, fake: FakeCluster) -> None:
    for place, text in {
        ".rayignore": "*.bin\n",
        ".gitignore": "out/\n",
        "a.bin": "x",
        "out/b": "x",
        "c/d.txt": "x",
    }.items():
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text(text)
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE, "--working-dir", ".", "--no-wait")
    assert answer.code == 0, answer.errors
    assert sorted(sent_files(fake)) == [".gitignore", ".rayignore", "c/d.txt", "faulty_losses.py", "small.yaml"]


def test_of_a_folder_dot_files_and_what_is_elsewhere_stay(eqbench: Eqbench, fake: FakeCluster, tmp_path: Path) -> None:
    for place in (".env", ".aws/credentials", "c/.netrc", "c/.gitignore", "c/d.txt", ".mine/d.txt"):
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text("x")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("x")
    Path("folder").symlink_to(tmp_path / "secrets")
    Path("file").symlink_to("../secrets/key")
    Path("again.txt").symlink_to("c/d.txt")
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE, "--working-dir", ".", "--no-wait")
    answer = eqbench(*arguments)
    assert answer.code == 0, answer.errors
    kept = ["again.txt", "c/.gitignore", "c/d.txt", "faulty_losses.py", "small.yaml"]
    assert sorted(sent_files(fake)) == kept
    fake.packages.clear()
    mine = small_suites.task(name="mine", data={"name": "cifar_lt", "root": ".mine"})
    small_suites.write(Path("small.yaml"), small_suites.suite(tasks=[small_suites.task(), mine]))
    assert eqbench(*arguments, "--force").code == 0
    assert sorted(sent_files(fake)) == [".mine/d.txt", *kept]


def test_a_text_of_a_suite_names_no_dot_file(tmp_path: Path) -> None:
    from eqbench.submission.needed_files import NeededFiles

    for place in (".aws/credentials", ".env", "models/mine.txt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("x")
    needed = NeededFiles(tmp_path)
    for text in (".aws/credentials", "./.env", "./models/mine.txt"):
        needed._add_named(text)
    assert list(needed.sources) == ["models/mine.txt"]


def test_packages_that_a_user_has_installed_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.submission.needed_files import NeededFiles

    of_user, of_path = ".local/lib/python3.11/site-packages", "lib/python3/dist-packages"
    for place in (f"{of_user}/of_user/__init__.py", f"{of_path}/of_path.py", "of_mine.py"):
        module = ModuleType(place.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")[2])
        module.__file__ = str(tmp_path / place)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
        monkeypatch.setitem(sys.modules, module.__name__, module)
    needed = NeededFiles(tmp_path)
    needed.add_modules()
    assert list(needed.sources) == ["of_mine.py"]


def test_a_file_that_cannot_be_read(eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE, "--working-dir", ".")
    memory, gone = {"memory": Path("/proc/self/mem")}, {"gone": Path("gone").absolute()}
    monkeypatch.setattr("eqbench.submission.submit.folder_files", lambda folder: memory)
    answer = eqbench(*arguments)
    assert (answer.code, "mem: cannot be read (Input/output error)" in answer.message) == (3, True), answer.message
    monkeypatch.setattr("eqbench.submission.submit.folder_files", lambda folder: gone)
    assert "gone: cannot be read (No such file or directory)" in eqbench(*arguments).message


def test_a_package_that_another_call_has_just_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.zip").symlink_to("nowhere.zip")
    (tmp_path / "file").write_text("x")
    assert package.pack({"file": tmp_path / "file"}, "small", tmp_path).file.exists()


def test_jobs_of_one_second_have_names_of_their_own(eqbench: Eqbench, fake: FakeCluster) -> None:
    now = datetime(2030, 1, 2, 3, 4, 5)
    names = {command.submission_id("small", now) for _ in range(20)}
    assert len(names) > 1
    assert all(re.fullmatch("eqbench-small-20300102-030405-[0-9a-f]{4}", name) for name in names)


def test_of_a_folder_data_go_only_where_the_suite_names_them(eqbench: Eqbench, fake: FakeCluster) -> None:
    for place in ("data/made/image", "data/mine/image", "other/image"):
        Path(place).parent.mkdir(parents=True)
        Path(place).write_text("x")
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE, "--working-dir", ".", "--no-wait")
    assert eqbench(*arguments).code == 0
    assert sorted(sent_files(fake)) == ["faulty_losses.py", "other/image", "small.yaml"]
    fake.packages.clear()
    mine = small_suites.task(name="mine", data={"name": "cifar_lt", "root": "./data/mine"})
    small_suites.write(Path("small.yaml"), small_suites.suite(tasks=[small_suites.task(), mine]))
    answer = eqbench(*arguments, "--force")
    assert answer.code == 0, answer.errors
    assert sorted(sent_files(fake)) == ["data/mine/image", "faulty_losses.py", "other/image", "small.yaml"]


def test_the_check_makes_no_data_in_the_users_folder(eqbench: Eqbench, fake: FakeCluster, tmp_path: Path) -> None:
    before = sorted(Path().iterdir())
    arguments = ("--only", "task=segmentation", "--dry-run")
    answer = eqbench("submit", "quickstart", "--address", fake.address, *STORAGE, *arguments)
    assert answer.code == 0, answer.errors
    assert sorted(Path().iterdir()) == before
    assert "EQBENCH_DATA" not in os.environ
    assert list((tmp_path / "home" / ".cache" / "eqbench" / "data").iterdir())


def test_the_storage_of_this_machine_is_not_the_clusters(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQBENCH_STORAGE", "/mine/runs")
    answer = eqbench("submit", "small.yaml", "--address", fake.address, "--no-wait")
    assert "as EQBENCH_STORAGE says on the cluster" in answer.output
    assert fake.submitted[0]["entrypoint"] == "eqbench run small.yaml"


def test_data_that_are_only_on_the_cluster(eqbench: Eqbench, fake: FakeCluster) -> None:
    elsewhere = small_suites.task(name="elsewhere", data={"name": "imagenet_lt", "root": "/nowhere/imagenet"})
    tasks = [small_suites.task(), elsewhere]
    small_suites.write(Path("both.yaml"), small_suites.suite(name="both", tasks=tasks))
    answer = eqbench("submit", "both.yaml", "--address", fake.address, *STORAGE, "--no-wait")
    assert answer.code == 0, answer.errors
    assert "note      data of task elsewhere are not read here, the job does: " in answer.output
    assert "/nowhere/imagenet" in answer.output
    refused = eqbench("submit", "both.yaml", "--address", fake.address, *STORAGE, "-o", "train.epochs=0")
    assert "train.epochs: 0" in refused.message


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "runs"], "--storage runs: is relative"),
        (["--storage", "s33://bucket"], "did you mean 's3'?"),
        (["--storage", "s3://key:word@bucket/runs"], "--storage s3://bucket/runs: holds a user name or a password"),
        (["--tracking-uri", "sqlite:///mlflow.db"], "--tracking-uri: sqlite:///mlflow.db: is a file"),
        (
            ["--tracking-uri", "http://ada:pass@mlflow"],
            "--tracking-uri: http://mlflow: a password does not belong in it",
        ),
        (["--storage", "s3://[x"], "is no URI"),
        (["--tracking-uri", "http://[x"], "--tracking-uri: http://[x: is no URI"),
        (["--tracking-uri", "http://ada:pa#ss@mlflow"], "--tracking-uri: http://mlflow: is no URI"),
        (["--tracking-uri", "http://mlflow:port"], "--tracking-uri: http://mlflow:port: is no URI"),
        (["--tracking-uri", "ada:pass@mlflow:5000"], "--tracking-uri: mlflow:5000: is no server"),
        (["--tracking-uri", "http:/ada:pass@mlflow"], "--tracking-uri: mlflow: names no host; expected e.g. http://"),
        (["--tracking-uri", "http:mlflow:5000"], "--tracking-uri: http:mlflow:5000: names no host"),
        (["--tracking-uri", "http://:5000"], "--tracking-uri: http://:5000: names no host"),
        (["--tracking-uri", "https://mlflow/?token=pass"], "--tracking-uri: https://mlflow/: has a query"),
        (["--only", "los=x"], "did you mean 'loss'?"),
        (["--seeds", "1,x"], "--seeds 1,x: expected whole numbers"),
        (["-o", "tasks.digits.data.root=data/digits"], "unknown parameter"),
        (["-o", "mlflow.tracking_uri=sqlite:///x.db"], "mlflow.tracking_uri: sqlite:///x.db: is a file"),
        (["--working-dir", "missing"], "missing: there is no such folder"),
        (["--sweep"], "has no key sweep"),
    ],
)
def test_refused_before_anything_is_sent(
    eqbench: Eqbench, fake: FakeCluster, arguments: list[str], message: str
) -> None:
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *arguments)
    assert answer.code == 2
    assert message in answer.message
    assert "ada" not in answer.message
    assert ":pa" not in answer.message.partition("does not")[0]
    assert (fake.submitted, fake.packages) == ([], {})


def test_relative_data_are_refused(eqbench: Eqbench, fake: FakeCluster) -> None:
    answer = eqbench("submit", "cifar_lt", "--address", fake.address, *STORAGE)
    assert answer.code == 2
    assert "'data/cifar' is relative, and a job has a folder of its own; -o tasks." in answer.message
    cifar = small_suites.task(name="cifar", data={"name": "cifar_lt", "root": "data/cifar"})
    small_suites.write(Path("small.yaml"), small_suites.suite(tasks=[small_suites.task(), cifar]))
    chosen = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE, "--only", "task=digits", "--dry-run")
    assert chosen.code == 0, chosen.errors


def test_an_mlflow_server_on_loopback_is_one_per_machine(eqbench: Eqbench, fake: FakeCluster) -> None:
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE, "--tracking-uri", "http://127.0.0.1:5000")
    assert eqbench(*arguments, "--dry-run").code == 0
    fake.node_types = ["head", "gpu_spot"]
    assert "means each machine itself, and the cluster has, or will have, several" in eqbench(*arguments).message
    in_a_file = ("--tracking-uri", "sqlite:////shared/mlflow.db")
    assert "is a file, that only one machine sees" in eqbench(*arguments, *in_a_file).message
    fake.node_types, fake.nodes = FakeCluster().node_types, [node(), node()]
    assert "means each machine itself" in eqbench(*arguments).message
    assert eqbench(*arguments, "--no-mlflow", "--dry-run").code == 0


def test_a_cluster_without_room_is_refused_unless_it_grows(eqbench: Eqbench, fake: FakeCluster) -> None:
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE, "-o", "resources.gpus_per_worker=1")
    fake.nodes = [node(), node(gpus=4, state="DEAD")]
    refused = eqbench(*arguments)
    assert refused.code == 3
    assert "task digits: resources: 1 worker(s) of 0.25 CPU and 1 GPU each are asked for" in refused.message
    fake.node_types = ["head_group", "gpu_workers"]
    answer = eqbench(*arguments, "--dry-run")
    assert answer.code == 0
    assert "the cluster may grow, so the job is sent all the same" in answer.output


def test_a_suite_that_runs_there_already(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small"), job("other"))
    arguments = ("submit", "small.yaml", "--address", fake.address, *STORAGE)
    assert "is running on this cluster already, as job eqbench-small-1" in eqbench(*arguments).message
    assert eqbench(*arguments, "--force", "--dry-run").code == 0
    fake.add(job("small", "FAILED"))
    assert eqbench(*arguments, "--dry-run").code == 0


def test_a_package_that_is_too_large(eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "LIMIT", 20_000)
    Path("big.bin").write_bytes(random.Random(0).randbytes(30_000))
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE, "--working-dir", ".")
    assert answer.code == 2
    assert "its largest files: big.bin (29.3 KiB), faulty_losses.py" in answer.message
    monkeypatch.setattr(package, "HOPELESS", 20_000)
    assert "is more packed" in eqbench("submit", "small.yaml", "--address", fake.address, "--working-dir", ".").message


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        ("head:6379", 2, "Ray's own store (GCS), jobs go to the dashboard, e.g. --address http://head:8265"),
        ("ray://head:10001", 2, "the address of Ray's client"),
        ("auto", 2, "--address auto: expected the dashboard"),
        ("ftp://head", 2, "--address ftp://head: expected the dashboard"),
        ("http://head:port", 2, "--address http://head:port: is no URL"),
        *(
            (address, 2, "--address: a password does not belong in it")
            for address in (
                *("http://ada:secret@head:8265", "http://ada:secret@head:port", "ray://ada:secret@head:10001"),
                *("ftp://ada:secret@head", "ada:secret@head:6379", "http://ada:sec#ret@head:8265"),
            )
        ),
        ("http://head:8265/?token=secret", 2, "--address http://head:8265/: has a blank, a query"),
        ("http://head..example:8265", 2, "--address http://head..example:8265: is no URL"),
        ("http://.:8265", 2, "is no URL"),
        (f"http://{'h' * 64}:8265", 2, "is no URL"),
        ("http://head:8265/ü", 2, "or more than plain ASCII"),
        ("http://a b:8265", 2, "has a blank"),
        (None, 2, "--address: none is given"),
    ],
)
def test_address(eqbench: Eqbench, address: str | None, code: int, message: str) -> None:
    answer = eqbench("logs", "small", *(["--address", address] if address else []))
    assert answer.code == code
    assert message in answer.message
    assert "secret" not in answer.errors
    assert "ada" not in answer.errors


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            fake_cluster.page(b"<html>MLflow</html>", "404 Not Found"),
            "is no Ray dashboard (GET /api/version: HTTP 404)",
        ),
        (fake_cluster.page(b"[1]"), "is no Ray dashboard"),
        (GRPC, "answers, but not in HTTP; expected the URL of Ray's dashboard"),
        (b"", "no answer"),
    ],
)
def test_another_kind_of_server(eqbench: Eqbench, answer: bytes, message: str) -> None:
    with fake_cluster.answering(answer) as address:
        assert message in eqbench("submit", "small.yaml", "--address", address).message


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[1]", b"{}", b'{"data": {"result": {"result": [{}]}}}'])
def test_answers_that_are_none_of_rays(body: bytes) -> None:
    from eqbench.errors import EnvironmentProblem
    from eqbench.submission.job_server import JobServer

    with fake_cluster.answering(fake_cluster.page(body)) as address:
        asked = JobServer(address, {})
        questions: list[Callable[[], Any]] = [lambda: asked.log("j"), lambda: asked.submit({}), asked.nodes]
        if body != b"{}":
            questions += [asked.jobs]
        if not body.startswith(b"{"):
            questions += [lambda: asked.job("j")]
        for question in questions:
            with pytest.raises(EnvironmentProblem, match="it answers with something else than Ray's job server does"):
                question()
        assert asked.autoscaler_status() == ""


def test_nothing_listens(eqbench: Eqbench) -> None:
    answer = eqbench("submit", "small.yaml", "--address", f"127.0.0.1:{fake_cluster.closed_port()}")
    assert answer.code == 3
    assert "no answer (Connection refused)" in answer.message


# -- tokens ------------------------------------------------------------------------------------------------------


def test_a_cluster_that_wants_a_token(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.token = "secret-of-the-cluster"
    status = ("status", "--address", fake.address)
    assert "export RAY_AUTH_MODE=token" in eqbench(*status).message
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert "export RAY_AUTH_MODE=token" in eqbench(*status).message  # it is not asked to send one
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert "HTTP 403, the token is not this cluster's" in eqbench(*status).message
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    assert "cannot be read" in eqbench(*status).message
    file = tmp_path / "home" / ".ray" / "auth_token"
    file.parent.mkdir(parents=True)
    file.write_text("secret-of-the-cluster\n")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE)
    assert answer.code == 0, answer.errors
    assert fake.token not in answer.output + json.dumps(fake.submitted)


def test_a_token_file_in_the_home_of_nobody(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "~nosuchuser/token")
    answer = eqbench("status", "--address", fake.address)
    assert answer.code == 3
    assert "RAY_AUTH_TOKEN_PATH=~nosuchuser/token: cannot be read" in answer.message


@pytest.mark.parametrize("token", ["", "secret-of-the-cluster"])
def test_what_netrc_has_is_not_sent(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    netrc = tmp_path / "home" / ".netrc"
    netrc.parent.mkdir()
    netrc.write_text("default login ada password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_MODE", "token" if token else "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    fake.token = token
    fake.add(job("small"))
    answer = eqbench("logs", "small", "--follow", "--address", fake.address)
    assert (answer.code, answer.output, answer.errors) == (0, "the log\n", "")
    assert any("Upgrade" in sent for sent in fake.headers)
    assert {sent.get("Authorization") for sent in fake.headers} == {f"Bearer {token}" if token else None}


def test_a_tunnel_on_this_machine_is_no_matter_of_a_proxys(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(job("small"))
    with FakeCluster().running() as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        answer = eqbench("logs", "small", "--follow", "--address", fake.address)
        assert (answer.code, answer.output) == (0, "the log\n"), answer.errors
        assert any("Upgrade" in sent for sent in fake.headers)
        assert proxy.headers == []


def test_a_cluster_behind_a_proxy(eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add(job("small"))
    proxy = fake.address.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"http://ada:l%40ve@{proxy}")
    answer = eqbench("logs", "small", "--follow", "--address", "http://head.example:8265")
    assert (answer.code, answer.output, answer.errors) == (0, "the log\n", "")
    [followed] = [sent for sent in fake.headers if "Upgrade" in sent]
    assert followed["Proxy-Authorization"] == f"Basic {base64.b64encode(b'ada:l@ve').decode()}"
    with fake_cluster.answering(fake_cluster.page(b"no", "403 Forbidden")) as other:
        monkeypatch.setenv("http_proxy", other.replace("//", "//ada:love@"))
        refused = eqbench("status", "--address", "http://head.example:8265")
    assert refused.message.startswith("http://head.example:8265: HTTP 403, ")
    way = f"; asked through the proxy {other.removeprefix('http://')}, no_proxy=head.example avoids it"
    assert refused.message.endswith(way)


@pytest.mark.parametrize("content", [b"secret\nsecret", b"\xff\xfe\x00secret", "sécret€".encode(), b"secret secret"])
def test_what_is_no_token_is_not_shown(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "token").write_bytes(content)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    of_file = eqbench("status", "--address", fake.address)
    assert of_file.message.startswith(f"RAY_AUTH_TOKEN_PATH={tmp_path / 'token'}: holds no token; expected one word")
    assert "cret" not in of_file.errors
    if b"\0" not in content:
        monkeypatch.setenv("RAY_AUTH_TOKEN", os.fsdecode(content))
        of_variable = eqbench("status", "--address", fake.address)
        assert of_variable.message.startswith("RAY_AUTH_TOKEN: holds no token")
        assert "cret" not in of_variable.errors


@pytest.mark.parametrize("headers", [{"X-Key": "secret\nsecret"}, {"X-Key": "sécret€"}, {"X Key": "secret"}])
def test_what_is_no_header_is_not_shown(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.setenv("RAY_JOB_HEADERS", json.dumps(headers))
    answer = eqbench("status", "--address", fake.address)
    assert answer.message.startswith(f"RAY_JOB_HEADERS: {next(iter(headers))!r}: expected")
    assert "cret" not in answer.errors


def test_a_token_is_not_sent_on_to_another_host(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    moved = f"HTTP/1.1 302 Found\r\nLocation: {fake.address}/login?next=x\r\nContent-Length: 0\r\n\r\n".encode()
    with fake_cluster.answering(moved) as address:
        answer = eqbench("status", "--address", address)
    assert answer.message.startswith(f"--address {address}: redirects to {fake.address}, and no token is sent on")
    assert fake.headers == []


def test_a_proxy_that_wants_to_know_who_asks(eqbench: Eqbench, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cluster.answering(fake_cluster.page(b"who?", "401 Unauthorized")) as address:
        assert (
            "HTTP 401, it wants to know who asks; export RAY_AUTH_MODE"
            in eqbench("status", "--address", address).message
        )
        monkeypatch.setenv("RAY_JOB_HEADERS", '{"authorization": "Basic x"}')
        assert "RAY_JOB_HEADERS" in eqbench("status", "--address", address).message
        monkeypatch.setenv("RAY_JOB_HEADERS", "nonsense")
        assert eqbench("status", "--address", address).code == 2


# -- following ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ({"status": "FAILED", "driver_exit_code": 1}, 1, "exit code 1: some runs failed"),
        ({"status": "FAILED", "driver_exit_code": 2}, 2, "exit code 2: wrong input"),
        ({"status": "FAILED", "driver_exit_code": 3}, 3, "exit code 3"),
        ({"status": "FAILED", "driver_exit_code": 127}, 3, "no program `eqbench` on the head node"),
        ({"status": "FAILED", "driver_exit_code": -9}, 3, "exit code -9: it has failed"),
        ({"status": "FAILED", "message": "runtime_env setup failed\nno space"}, 3, "no space"),
        ({"status": "STOPPED"}, 130, "submit it again to continue"),
    ],
)
def test_the_exit_code_is_the_suites(
    eqbench: Eqbench, fake: FakeCluster, ending: dict[str, Any], code: int, message: str
) -> None:
    fake.add(job("small"))
    fake.ends_as = ending
    answer = eqbench("logs", "small", "--follow", "--address", fake.address)
    assert answer.code == code
    assert message in answer.errors


def test_lost_connections_lose_nothing_of_the_log(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small"))
    fake.logs["eqbench-small-1"] = "".join(f"line {number} ü\n" for number in range(100))
    fake.lost_connections = [0, 333, 10, 700]
    answer = eqbench("logs", "small", "-f", "--address", fake.address)
    assert (answer.code, answer.errors, fake.lost_connections) == (0, "", [])
    assert answer.output == fake.logs["eqbench-small-1"]


@pytest.mark.parametrize("websockets", [True, False])
def test_the_end_of_a_log_is_shown_however_the_connection_ends(
    eqbench: Eqbench, fake: FakeCluster, websockets: bool
) -> None:
    fake.add(job("small", "FAILED", driver_exit_code=1))
    fake.logs["eqbench-small-1"] = "x" * 100 + "THE REASON\n"
    fake.lost_connections, fake.websockets = [20], websockets
    answer = eqbench("logs", "small", "-f", "--address", fake.address)
    assert (answer.code, answer.output) == (1, fake.logs["eqbench-small-1"])


def test_a_log_whose_end_cannot_be_read(eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.submission.job_server import JobServer, Unreachable

    def unreadable(self: JobServer, job_id: str) -> str:
        raise Unreachable("no answer")

    monkeypatch.setattr(JobServer, "log", unreadable)
    monkeypatch.setattr(following, "SECONDS_FOR_THE_REST", 0.05)
    fake.add(job("small", "FAILED", driver_exit_code=1))
    fake.lost_connections = [3]
    answer = eqbench("logs", "small", "-f", "--address", fake.address)
    assert answer.code == 1
    assert "the end of the log is missing here; see: eqbench logs eqbench-small-1 --follow" in answer.output


def test_a_log_without_websockets_is_followed(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SECONDS_TO_RECONNECT", 0.05)
    fake.add(job("small"))
    fake.websockets, fake.logs["eqbench-small-1"] = False, "first\n"

    def go_on() -> None:
        time.sleep(0.3)
        fake.logs["eqbench-small-1"] += "second\n"
        fake.jobs["eqbench-small-1"].update(fake.ends_as)

    writer = threading.Thread(target=go_on)
    writer.start()
    answer = eqbench("logs", "small", "-f", "--address", fake.address)
    writer.join()
    assert (answer.code, answer.output, answer.errors) == (0, "first\nsecond\n", "")


def test_a_server_in_trouble_is_asked_again(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small"))
    fake.lost_connections, fake.broken = [3], [503, 502, 500]
    assert eqbench("logs", "small", "-f", "--address", fake.address).code == 0
    fake.add(job("small", start=2))
    fake.broken = [503]
    answer = eqbench("cancel", "small", "--address", fake.address)
    assert (answer.code, answer.errors, fake.broken) == (0, "", [])
    with fake_cluster.answering(fake_cluster.page(b"busy", "503 Service Unavailable")) as address:
        assert "HTTP 503: busy" in eqbench("status", "--address", address).message


def test_a_connection_that_is_lost_after_long_is_made_again(fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.submission.job_server import JobServer

    monkeypatch.setattr(following, "SECONDS_TO_RECONNECT", 1.0)
    monkeypatch.setattr(following, "SECONDS_BETWEEN_TRIES", 0.01)
    fake.add(job("small"))
    fake.logs["eqbench-small-1"], fake.lost_connections, fake.broken = "log\n", [3], [503]
    written: list[str] = []
    started = time.monotonic()
    now = time.monotonic

    class Later:
        """Time runs fast once the log has been opened."""

        @staticmethod
        def monotonic() -> float:
            return now() + (600 if written else 0)

        sleep = staticmethod(time.sleep)

    monkeypatch.setattr(following, "time", Later)
    assert following.follow(JobServer(fake.address, {}), "eqbench-small-1", written.append).ended
    assert "".join(written) == "log\n"
    assert now() - started < 30


def test_a_cluster_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch, eqbench: Eqbench) -> None:
    monkeypatch.setattr(following, "SECONDS_TO_RECONNECT", 0.1)
    from eqbench.errors import EnvironmentProblem
    from eqbench.submission.job_server import JobServer

    address = f"http://127.0.0.1:{fake_cluster.closed_port()}"
    with pytest.raises(EnvironmentProblem, match=f"eqbench logs j --follow --address {address}"):
        following.follow(JobServer(address, {}), "j", print)


def test_a_cluster_that_has_forgotten_the_job(fake: FakeCluster) -> None:
    from eqbench.errors import EnvironmentProblem
    from eqbench.submission.job_server import JobServer

    with pytest.raises(EnvironmentProblem, match="does not know job j"):
        following.follow(JobServer(fake.address, {}), "j", print)


def test_ctrl_c_leaves_the_job_running(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.holds = True

    def interrupt_when_followed() -> None:
        small_suites.until(lambda: any("Upgrade" in sent for sent in fake.headers), "the log is followed", 60)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    ctrl_c = threading.Thread(target=interrupt_when_followed)
    ctrl_c.start()
    answer = eqbench("submit", "small.yaml", "--address", fake.address, *STORAGE)
    ctrl_c.join()
    assert answer.code == 130
    assert "the log\n" in answer.output
    name = fake.submitted[0]["submission_id"]
    assert fake.jobs[name]["status"] == "RUNNING"
    assert f"eqbench logs {name} --follow --address {fake.address}" in answer.errors
    assert f"eqbench cancel {name}" in answer.errors


# -- jobs --------------------------------------------------------------------------------------------------------


def test_status_of_jobs(eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = job("raw", "SUCCEEDED", 5, metadata={}, entrypoint="/venv/bin/eqbench sweep suites/raw.yaml --storage /s")
    fake.add(job("small", "FAILED", 3, driver_exit_code=1), job("small", "RUNNING", 9), raw)
    fake.add(job("else", metadata={}, entrypoint="python train.py"))
    shown = json.loads(eqbench("status", "--address", fake.address, "--json").output)
    assert [(each["suite"], each["kind"], each["status"], each["exit_code"]) for each in shown] == [
        ("small", "suite", "failed", 1),
        ("raw", "sweep", "succeeded", 0),
        ("small", "suite", "running", None),
    ]
    assert shown[0]["seconds"] == 60
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", fake.address)
    table = eqbench("status")
    assert "failed: exit code 1: some runs failed" in table.output
    assert "raw (sweep)" in table.output
    assert len(json.loads(eqbench("status", "small", "--address", fake.address, "--json").output)) == 2
    assert "status --watch: is for the runs of a suite" in eqbench("status", "--watch").message
    assert (
        "status --storage: is for the runs" in eqbench("status", "small", "--address", fake.address, *STORAGE).message
    )


def test_a_job_by_its_suites_name(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small", "FAILED", 1), job("small", "SUCCEEDED", 2))
    fake.logs = {"eqbench-small-1": "old", "eqbench-small-2": "new"}
    assert eqbench("logs", "small", "--address", fake.address).output == "new"
    assert eqbench("logs", "eqbench-small-1", "--address", fake.address).output == "old"
    wrong = eqbench("logs", "smal", "--address", fake.address)
    assert wrong.code == 2
    assert "there is no such job on the cluster (jobs of suites: small); did you mean 'small'?" in wrong.message


def test_of_twins_the_one_that_runs_is_meant(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small", "RUNNING", 1), job("small", "SUCCEEDED", 2))
    assert "job eqbench-small-1: stopped" in eqbench("cancel", "small", "--address", fake.address).output


def test_cancel_waits_for_the_end(eqbench: Eqbench, fake: FakeCluster) -> None:
    fake.add(job("small"))
    answer = eqbench("cancel", "small", "--address", fake.address)
    assert (answer.code, answer.errors) == (0, "")
    assert "job eqbench-small-1: stopped; submit the suite again to continue" in answer.output
    assert "has ended already: stopped" in eqbench("cancel", "small", "--address", fake.address).message


def test_status_without_a_suite_or_a_cluster(eqbench: Eqbench) -> None:
    assert "status: which suite?" in eqbench("status").message


def test_doctor_of_a_cluster_as_a_job(eqbench: Eqbench, fake: FakeCluster) -> None:
    assert eqbench("doctor", "--cluster", "--address", fake.address, "--storage", "/shared").code == 0
    assert fake.submitted[0]["entrypoint"] == "eqbench doctor --cluster --storage /shared"
    assert "which one?" in eqbench("doctor", "--cluster").message
    assert "is for --cluster" in eqbench("doctor", "--address", fake.address).message
    assert "holds a user name or a password" in eqbench("doctor", "--storage", "s3://key:word@bucket").message
    key = eqbench("doctor", "--cluster", "--address", fake.address, "--storage", "s3://key:word@bucket/runs")
    assert "--storage s3://bucket/runs: holds a user name or a password" in key.message
    assert len(fake.submitted) == 1


@pytest.mark.parametrize("variable", ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"])
def test_doctor_of_the_cluster_of_the_environment(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, fake.address)
    monkeypatch.setenv("EQBENCH_STORAGE", "/mine/runs")
    answer = eqbench("doctor", "--cluster")
    assert (answer.code, answer.errors) == (0, "")
    assert fake.submitted[0]["entrypoint"] == "eqbench doctor --cluster"


def test_findings_as_json_are_found_in_a_log_into_which_others_write(
    eqbench: Eqbench, fake: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = "INFO job_manager.py -- Runtime env is setting up.\n[2026-08-07 12:00:00,123 W 99 99] core.cc:1: some\n"
    findings = [{"name": "storage", "status": "problem", "found": "[x]", "fix": "y"}]
    log = f"{before}{json.dumps(findings, indent=1)}\n[2026-08-07 12:00:00,123 W 99 99] core.cc:1: more\n[1]\n"
    fake.said = log
    fake.ends_as = {"status": "FAILED", "driver_exit_code": 3}
    monkeypatch.setattr(following, "SECONDS_TO_CANCEL", 0.0)
    answer = eqbench("doctor", "--cluster", "--json", "--address", fake.address)
    assert (answer.code, json.loads(answer.output)) == (3, findings)
    fake.said = before
    assert "has printed no findings: INFO" in eqbench("doctor", "--cluster", "--json", "--address", fake.address).errors
