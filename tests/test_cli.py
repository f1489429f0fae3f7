"""The command line: every verb, every kind of bad input; one message, exit code 2 or 3, never a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_suites
import yaml

from eqbench import cli, cluster
from eqbench.run_folder import RunFolder, SuiteFolder
from eqbench.tracking.store import connect

VERBS = sorted(command.name or getattr(command.callback, "__name__", "") for command in cli.app.registered_commands)
READING = (["status", "small"], ["leaderboard", "small"], ["compare", "{0}", "{1}"])
GARBAGE = {"empty": b"", "binary": b"\x00\xff\xfe\x80", "cut": b'{"schema', "list": b"[1]\n", "other": b'{"a": 1}\n'}


@dataclass
class Answer:
    """What a command printed and its exit code."""

    code: int
    output: str
    errors: str

    @property
    def message(self) -> str:
        """The one message of a refusal."""
        assert self.code in (2, 3), (self.code, self.output, self.errors)
        assert self.errors.startswith("eqbench: "), self.errors
        assert "Traceback" not in self.output + self.errors
        assert self.errors.count("eqbench: ") == 1, self.errors
        return self.errors.removeprefix("eqbench: ").rstrip("\n")

    @property
    def data(self) -> Any:
        assert (self.code, self.errors) == (0, "")
        return json.loads(self.output)


Eqbench = Callable[..., Answer]


@pytest.fixture
def eqbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Eqbench:
    """Calls the program's entry point in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "EQBENCH_STORAGE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["eqbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0, printed.out, printed.err)

    return call


@pytest.fixture
def file(eqbench: Eqbench) -> Path:
    """A good suite file in the current folder."""
    return small_suites.write(Path("small.yaml"), small_suites.suite())


@pytest.fixture
def storage(eqbench: Eqbench) -> SuiteFolder:
    """A suite of two runs that have finished."""
    folder = small_suites.planned(Path.cwd())
    for run in folder.planned():
        finish(run)
    return folder


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite store without runs; MLflow takes seconds to create one."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{file}")
    return file.read_bytes()


def finish(run: RunFolder) -> None:
    run.start_attempt()
    run.append_event(22, 684, {"val/top1": 80.0})
    cost = {"train_seconds": 1.0, "seconds_per_step": 0.05, "peak_memory_mb": 100.0}
    ended = {"status": "finished", "status_detail": "", "main_metric": "top1", "metrics": {"top1": 80.0}, "cost": cost}
    run.write_result({**ended, "run_id": run.run_id, "attempts": 1, "finished_at": 1.8e9})
    run.evaluation.mkdir()
    rows = {"class_id": [0, 1], "class_name": ["0", "1"], "group": ["many", "few"], "count": [9, 2]}
    pq.write_table(pa.table({**rows, "accuracy": [90.0, 70.0]}), run.evaluation / "per_class.parquet")


# -- what works --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_help(eqbench: Eqbench, verb: str) -> None:
    answer = eqbench(verb, "--help")
    assert (answer.code, answer.errors) == (0, "")
    assert f"eqbench {verb}" in answer.output


def test_every_verb_is_listed(eqbench: Eqbench) -> None:
    assert eqbench("--help").code == 0
    assert all(verb in eqbench("--help").output for verb in VERBS)
    assert set(VERBS) >= {"compare", "doctor", "leaderboard", "ls", "run", "status", "sync", "ui", "validate"}


def test_version(eqbench: Eqbench) -> None:
    assert eqbench("--version").output == f"eqbench {cli.__version__}\n"


@pytest.mark.parametrize("kind", ["tasks", "losses", "models", "datasets", "suites", "sweeps", "published"])
def test_ls(eqbench: Eqbench, kind: str) -> None:
    entries = eqbench("ls", kind, "--json").data
    assert entries
    assert all(entry["name"] and entry["description"] for entry in entries)
    listed = eqbench("ls", kind).output.splitlines()
    assert len(listed) == len(entries)
    for line, entry in zip(listed, entries, strict=True):
        assert line.startswith(f"{entry['name']} ")
        assert line.endswith(f" {entry['description']}")


def test_validate(eqbench: Eqbench, file: Path) -> None:
    assert eqbench("validate", file).output == "small.yaml: 2 runs, no problem found\n"
    runs = eqbench("validate", file, "--json", "-o", "seeds=[3]").data
    assert [run["name"] for run in runs] == ["digits · cross_entropy · s3", "digits · softmax_eql · s3"]


def test_dry_run_starts_and_writes_nothing(eqbench: Eqbench, file: Path) -> None:
    answer = eqbench("run", file, "--dry-run", "--seeds", "0,1", "--only", "loss=softmax_eql")
    assert (answer.code, answer.errors) == (0, "")
    assert answer.output.count("digits · softmax_eql · s") == 2
    assert answer.output.endswith("2 runs and 44 iterations to do; nothing was started\n")
    assert not Path("runs").exists()


def test_dry_run_says_what_would_be_skipped_and_continued(eqbench: Eqbench) -> None:
    first, second = small_suites.planned(Path.cwd()).planned()
    finish(first)
    (second.checkpoints / "000000009").mkdir(parents=True)
    shown = eqbench("run", "small.yaml", "--dry-run").output
    assert "skip: finished" in shown
    assert "continue from iteration 9" in shown
    assert shown.endswith("1 runs and 13 iterations to do; nothing was started\n")


def test_run_with_nothing_to_do_shows_the_leaderboard(eqbench: Eqbench, storage: SuiteFolder) -> None:
    answer = eqbench("run", "small.yaml")
    assert (answer.code, answer.errors) == (0, "")
    assert answer.output.startswith("small: 2 runs, 2 finished already, 0 to do\n")
    assert "80.0 (n=1)" in answer.output
    assert "ray" not in {name.partition(".")[0] for name in sys.modules} or "at once" not in answer.output


def test_status(eqbench: Eqbench, storage: SuiteFolder) -> None:
    entries = eqbench("status", "small", "--json").data
    assert [(entry["state"], entry["value"]) for entry in entries] == [("finished", 80.0)] * 2
    assert "2 of 2 runs finished" in eqbench("status", "small.yaml").output
    assert "2 of 2 runs finished" in eqbench("status", "small", "--watch").output


def test_leaderboard(eqbench: Eqbench, storage: SuiteFolder) -> None:
    assert "80.0 (n=1)" in eqbench("leaderboard", "small").output
    assert eqbench("leaderboard", "small", "--json").data
    assert "| cross_entropy (baseline) |" in eqbench("leaderboard", "small", "--format", "markdown").output
    assert len(list(csv.DictReader(io.StringIO(eqbench("leaderboard", "small", "--format", "csv").output)))) > 1


@pytest.mark.parametrize("name", ["table", "markdown", "csv"])
def test_leaderboard_to_a_file(eqbench: Eqbench, storage: SuiteFolder, name: str) -> None:
    answer = eqbench("leaderboard", "small", "--format", name, "--out", "new/board.txt")
    assert (answer.code, answer.output) == (0, "")
    shown = eqbench("leaderboard", "small", "--format", name).output
    assert Path("new/board.txt").read_text().split() == shown.split()


@pytest.mark.parametrize(
    ("options", "file", "begins"),
    [
        (["--out", "board.html"], "board.html", "<!doctype html"),
        (["--out", "a/b.csv"], "a/b.csv", "task,"),
        (["--out", "b.tex"], "b.tex", "%"),
        (["--out", "b.json"], "b.json", "{"),
        (["--out", "new/"], "new/leaderboard.txt", "digits"),
        (["--out", "new", "--format", "latex"], "new/leaderboard.tex", "%"),
        (["--out", "there.d", "--format", "csv"], "there.d/leaderboard.csv", "task,"),
        (["--out", "there.d", "--json"], "there.d/leaderboard.json", "{"),
        (["--out", "taken", "--format", "csv"], "taken", "task,"),
    ],
)
def test_where_the_leaderboard_is_written(
    eqbench: Eqbench, storage: SuiteFolder, options: list[str], file: str, begins: str
) -> None:
    Path("there.d").mkdir()
    Path("taken").touch()
    answer = eqbench("leaderboard", "small", *options)
    assert (answer.code, answer.errors) == (0, "")
    assert answer.output == ("" if file == options[1] else f"{file}\n")
    assert Path(file).read_text().lower().startswith(begins)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--json", "--format", "jsn"],
            "format 'jsn': expected one of table, html, csv, markdown, latex, json; did you",
        ),
        (["--json", "--format", "csv"], "--json and --format csv exclude each other"),
        (["--out", "x.html", "--format", "csv"], "--out x.html is for html, --format says csv"),
        (["--out", "x.html", "--json"], "--out x.html is for html, --format says json"),
        (["--out", "x.png"], "--out x.png: .png names no format; expected one of .txt, .html, "),
    ],
)
def test_contradicting_formats(eqbench: Eqbench, storage: SuiteFolder, options: list[str], message: str) -> None:
    answer = eqbench("leaderboard", "small", *options)
    assert answer.code == 2
    assert answer.message.startswith(message)


def test_what_only_leaves_out_is_said(eqbench: Eqbench, storage: SuiteFolder) -> None:
    eqbench("run", "small.yaml", "--only", "loss=cross_entropy")
    left_out = {run.run_id for run in storage.planned()[1:]}
    assert storage.left_out() == dict.fromkeys(left_out, "--only loss=cross_entropy")
    eqbench("run", "small.yaml")
    assert storage.left_out() == {}


def test_a_damaged_plan_is_written_anew(eqbench: Eqbench, storage: SuiteFolder) -> None:
    before = storage.read_plan()
    storage.plan_file.write_text("{")
    assert eqbench("leaderboard", "small").code == 2
    assert eqbench("run", "small.yaml").code == 0
    assert storage.read_plan() == before


def test_compare(eqbench: Eqbench, storage: SuiteFolder) -> None:
    runs = "digits/cross_entropy/0", "digits/softmax_eql/0"
    compared = eqbench("compare", *runs, "--json").data
    assert compared["comparable"] is True
    assert "top1" in eqbench("compare", *runs).output


def test_sync_to_a_store(eqbench: Eqbench, storage: SuiteFolder) -> None:
    store = f"sqlite:///{Path.cwd()}/sent.db"
    assert eqbench("sync", "--tracking-uri", store).output == "2 runs sent, 0 were level already\n"
    assert eqbench("sync", "small", "--tracking-uri", store).output == "0 runs sent, 2 were level already\n"


# -- suites that are wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# nothing but this\n", "the file is empty"),
        (b"\x7fELF\x02\x01\x00\x00\xff\xfe", "not a text file"),
        (b"name: [small\n", "not valid YAML"),
        (b"- 1\n- 2\n", "expected a suite"),
        (b"12\n", "expected a suite"),
        (b"name: small\ntasks: 5\nlosses: [cross_entropy]\nseeds: [0]\n", "tasks: 5, expected a list"),
        (b"name: 7\ntasks: []\nlosses: x\nseeds: {}\n", "name: 7, expected text"),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "run"])
def test_file_that_is_no_suite(eqbench: Eqbench, verb: str, content: bytes, message: str) -> None:
    Path("bad.yaml").write_bytes(content)
    answer = eqbench(verb, "bad.yaml")
    assert answer.code == 2
    assert answer.message.startswith("bad.yaml")
    assert message in answer.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("losses=[sofmax_eql]", "unknown loss 'sofmax_eql'; did you mean 'softmax_eql'?"),
        ("losses=[nowhere:Loss]", "no module 'nowhere'"),
        ("losses=[faulty_losses:Brakes]", "has no class 'Brakes'; did you mean 'Breaks'?"),
        ("losses=[cross_entropy, cross_entropy]", "the same loss as losses[0]"),
        ("losses.softmax_eql.tua=1", "unknown parameter of SoftmaxEQL"),
        ("losses.softmax_eql.tau=-1", "expected a finite number"),
        ("losses.softmax_eql.tau=.nan", "tau"),
        ("tasks.digits.task=clasification", "unknown task 'clasification'; did you mean 'classification'?"),
        ("tasks.digits.data.imbalance_factor=1e308", "imbalance_factor"),
        ("tasks.digits.data.imbalance_factor=0", "imbalance_factor"),
        ("tasks.digits.model.width=-4", "tasks[0].model.width: -4, expected more than 0"),
        ("tasks.digits.model.backbone=resnet7", "resnet7"),
        ("seeds=[0, 0]", "0 is in the list already"),
        ("seeds=[-1]", "-1, expected at least 0"),
        ("seeds=[]", "expected 1 or more entries"),
        ("train.epochs=0", "0, expected at least 1"),
        ("train.epochs=-3", "-3, expected at least 1"),
        ("train.epochs=99999999999999", "expected at most"),
        ("train.epochs=2.5", "expected a whole number"),
        ("train.batch_size=1e3", "expected a whole number"),
        ("train.optimizer.lr=.inf", "finite number"),
        ("train.optimizer.momentum=1", "expected less than 1"),
        ("train.precision=fp8", "'fp8', expected"),
        ("train.epoch=3", "unknown key; did you mean 'epochs'?"),
        ("trian.epochs=3", "unknown key; did you mean 'train'?"),
        ("resources.num_workers=0", "expected at least 1"),
        ("resources.cpus_per_worker=-1", "-1, expected at least 0.01"),
        ("name=a/b", "expected 1 to 47 letters"),
        ("name=..", "expected 1 to 47 letters"),
        ("train.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("tasks.digts.model.width=4", "digts"),
    ],
)
def test_wrong_value(eqbench: Eqbench, file: Path, change: str, message: str) -> None:
    answer = eqbench("run", file, "-o", change)
    assert answer.code == 2
    assert message in answer.message
    assert len(answer.message.splitlines()) == 1
    assert not Path("runs").exists()


def test_batch_normalization_over_workers_needs_gpus(eqbench: Eqbench, file: Path) -> None:
    answer = eqbench("validate", file, "-o", "train.sync_batchnorm=true", "-o", "resources.num_workers=2")
    assert answer.code == 2
    assert "train.sync_batchnorm: true, expected false: batch normalization over several workers" in answer.message
    assert eqbench("validate", file, "-o", "train.sync_batchnorm=true").code == 0
    on_gpus = ("resources.num_workers=2", "resources.gpus_per_worker=1")
    assert (
        eqbench("validate", file, "-o", "train.sync_batchnorm=true", *(f"-o{change}" for change in on_gpus)).code == 0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "there is no such suite; did you mean 'quickstart'?"),
        (["run", "missing.yaml"], "missing.yaml: there is no such file"),
        (["run", "."], "is a folder"),
        (["run", "small.yaml/x.yaml"], "there is no such file"),
        (["run", "small.yaml", "--seeds", "1,x"], "--seeds 1,x: expected whole numbers separated by commas"),
        (["run", "small.yaml", "--seeds", ""], "--seeds"),
        (["run", "small.yaml", "--seeds", "1,1"], "--seeds: 1 is given more than once"),
        (["run", "small.yaml", "--seeds", "-1"], "--seeds: -1"),
        (["run", "small.yaml", "--only", "loss=focal"], "there is no loss 'focal'"),
        (["run", "small.yaml", "--only", "los=x"], "did you mean 'loss'?"),
        (["ls", "loses"], "did you mean 'losses'?"),
        (["status", "smal"], "no such suite has been run into runs (it holds nothing)"),
        (["leaderboard", "small"], "no such suite has been run into runs"),
        (["compare", "abcd", "bcde"], "no such run in runs"),
        (["sync", "small"], "'small' has not been run into runs"),
        (["check-loss", "missing.py:Loss"], "missing.py"),
        (["check-loss", "nonsense"], "nonsense"),
    ],
)
def test_wrong_argument(eqbench: Eqbench, file: Path, arguments: list[str], message: str) -> None:
    answer = eqbench(*arguments)
    assert answer.code == 2
    assert message in answer.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "smal"], "no such suite has been run into runs (it holds small); did you mean 'small'?"),
        (["leaderboard", "small", "--format", "latx"], "format 'latx': expected one of"),
        (["compare", "digits/cross_entropy/0", "digits/sofmax_eql/0"], "did you mean 'digits/softmax_eql/0'?"),
        (["compare", "digits/cross_entropy/0", "0000"], "no such run"),
        (["sync", "smal"], "did you mean 'small'?"),
    ],
)
def test_wrong_argument_for_what_was_run(
    eqbench: Eqbench, storage: SuiteFolder, arguments: list[str], message: str
) -> None:
    answer = eqbench(*arguments)
    assert answer.code == 2
    assert message in answer.message


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "x", "--frobnicate"], ["ui", "--port", "0"], ["status", "a", "b"]]
)
def test_wrong_usage(eqbench: Eqbench, arguments: list[str]) -> None:
    answer = eqbench(*arguments)
    assert answer.code == 2
    assert answer.errors.startswith("Usage: eqbench")
    assert "Traceback" not in answer.errors


# -- an environment that is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("below_a_file", [True, False])
def test_storage_that_is_no_folder(eqbench: Eqbench, file: Path, below_a_file: bool) -> None:
    Path("taken").write_text("")
    answer = eqbench("run", file, "--storage", "taken/runs" if below_a_file else "taken")
    assert answer.code == 3
    assert answer.message.endswith("taken" + ("/runs" if below_a_file else "") + "/small: cannot be written "
                                   "(Not a directory); choose another folder with --storage")  # fmt: skip


@pytest.mark.parametrize("out", ["small.yaml/board.csv", "small.yaml/", f"{'x' * 300}.csv"])
def test_out_that_cannot_be_written(eqbench: Eqbench, storage: SuiteFolder, out: str) -> None:
    answer = eqbench("leaderboard", "small", "--format", "csv", "--out", out)
    assert answer.code == 3
    assert answer.message.startswith(f"--out {out}")
    assert ": cannot be written (" in answer.message


def test_cluster_that_is_not_there(eqbench: Eqbench, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.DRIVER_ENVIRONMENT.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"  # nobody else gets the port as long as it is bound
        monkeypatch.setenv("RAY_ADDRESS", address)
        answer = eqbench("run", file)
    assert answer.code == 3
    assert answer.message.startswith(f"cannot connect to the cluster at RAY_ADDRESS={address}: ")
    assert SuiteFolder(Path("runs"), "small").runs() == []


@pytest.mark.parametrize("uri", ["./mlruns", "htp://host", "sqlite://", "nonsense"])
@pytest.mark.parametrize("verb", [["run", "small.yaml"], ["ui"]])
def test_tracking_uri(eqbench: Eqbench, file: Path, uri: str, verb: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    answer = eqbench(*verb)
    assert answer.code == 3
    assert answer.message.startswith("MLFLOW_TRACKING_URI: ")


def test_ui_without_a_store(eqbench: Eqbench) -> None:
    answer = eqbench("ui")
    assert answer.code == 3
    assert "there is no MLflow store yet" in answer.message


# -- damaged files -----------------------------------------------------------------------------------------------


def calls(storage: SuiteFolder) -> list[list[str]]:
    ids = [run.run_id for run in storage.planned()] if storage.runs() else ["aaaa", "bbbb"]
    ids = (ids * 2)[:2]
    reading = [[word.format(*ids) for word in verb] for verb in READING]
    return [*reading, ["leaderboard", "small", "--json"], ["run", "small.yaml", "--dry-run"]]


@pytest.mark.parametrize("content", GARBAGE.values(), ids=list(GARBAGE))
@pytest.mark.parametrize(
    "damaged", ["run.yaml", "result.json", "state.json", "events.jsonl", "evaluation/per_class.parquet", "../plan.json"]
)
def test_damaged_file_of_a_run(
    eqbench: Eqbench, storage: SuiteFolder, empty_store: bytes, damaged: str, content: bytes
) -> None:
    run = storage.planned()[0]
    arguments = calls(storage)
    (run.path / damaged).resolve().write_bytes(content)
    for verb in arguments:
        answer = eqbench(*verb)
        assert answer.code == 0 or answer.message
    Path("sent.db").write_bytes(empty_store)
    synced = eqbench("sync", "--tracking-uri", f"sqlite:///{Path.cwd()}/sent.db")
    assert synced.code in (0, 2, 3)
    assert "Traceback" not in synced.errors


@pytest.mark.parametrize(
    "result",
    [
        {"schema_version": 1},
        {"schema_version": 1, "status": "finished"},
        {"schema_version": 1, "status": 5, "metrics": []},
        {"schema_version": 99, "status": "finished"},
        {"schema_version": 1, "status": "finished", "metrics": {"top1": "high"}, "main_metric": "top1", "cost": None},
    ],
)
def test_result_that_is_not_ours(eqbench: Eqbench, storage: SuiteFolder, result: dict[str, Any]) -> None:
    arguments = calls(storage)
    storage.planned()[0].result_file.write_text(json.dumps(result))
    for verb in arguments:
        answer = eqbench(*verb)
        assert answer.code == 0 or answer.message


def test_folder_in_the_place_of_a_file(eqbench: Eqbench, storage: SuiteFolder) -> None:
    arguments = calls(storage)
    run = storage.planned()[0]
    run.result_file.unlink()
    run.result_file.mkdir()
    for verb in arguments:
        answer = eqbench(*verb)
        assert answer.code == 0 or answer.message


# -- as a process of its own -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "eqbench: quickstrat: there is no such suite; did you mean 'quickstart'?"),
        (["status", "small"], "eqbench: small: no such suite has been run into runs (it holds nothing)"),
    ],
)
def test_process(arguments: list[str], message: str, tmp_path: Path) -> None:
    small_suites.write(tmp_path / "small.yaml", small_suites.suite())
    answer = process(*arguments, folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(message)
    assert answer.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    small_suites.write(tmp_path / "small.yaml", small_suites.suite())
    program = subprocess.Popen(
        [sys.executable, "-m", "eqbench.cli", "validate", "small.yaml", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() in (0, 1)


def process(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "eqbench.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_written_suite_is_what_the_tests_say(file: Path) -> None:
    assert yaml.safe_load(file.read_text()) == small_suites.suite()
