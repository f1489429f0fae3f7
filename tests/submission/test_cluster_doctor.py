"""What the doctor makes of the answers of a cluster's nodes, and what a job checks before it trains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eqbench.doctor import cluster_findings as findings
from eqbench.doctor import cluster_probe as probe
from eqbench.doctor.cluster_findings import Node
from eqbench.doctor.report import Check
from eqbench.errors import EnvironmentProblem
from eqbench.submission import inside_job

VERSIONS = {"python": "3.11.7", "eqbench": "0.1.0 (code 1234abcd)", "torch": "2.14.1", "ray": "2.60.0"}


def node(name: str, counted: float = 0, silence: str = "", **answer: Any) -> Node:
    told = {"versions": VERSIONS, "gpus": [], "cuda": None, "torch_error": "", "mlflow": "", **answer}
    return Node(name, name, {"CPU": 8, **({"GPU": counted} if counted else {})}, {} if silence else told, silence)


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (node("a"), "ok", "8 CPU, 0 GPU; eqbench 0.1.0 (code 1234abcd), torch 2.14.1, ray 2.60.0, python 3.11.7"),
        (node("a", 2, gpus=["NVIDIA H100", "NVIDIA H100"], cuda="13.0"), "ok", "2 GPU (NVIDIA H100); "),
        (node("a", 2, gpus=["NVIDIA H100"], cuda="13.0"), "problem", "torch (built for CUDA 13.0) sees 1"),
        (node("a", 1), "problem", "Ray counts 1 GPU, torch (built without CUDA) sees 0"),
        (node("a", torch_error="ImportError: x"), "problem", "torch cannot be used: ImportError: x"),
        (node("a", versions={**VERSIONS, "eqbench": None}), "problem", "eqbench is not installed"),
        (node("a", silence="the node died"), "problem", "no answer: the node died"),
    ],
)
def test_machine(asked: Node, status: str, words: str) -> None:
    check = findings.machine(asked)
    assert (check.name, check.status) == ("node a", status)
    assert words in check.found
    assert bool(check.fix) == (status == "problem")


def test_versions_that_differ_are_a_problem() -> None:
    other = {**VERSIONS, "torch": "2.13.0", "python": "3.11.9", "ray": None}
    assert findings.versions([node("a"), node("b")]).status == "ok"
    check = findings.versions([node("a"), node("b", versions=other), node("c", silence="gone")])
    assert check.status == "problem"
    assert check.found == "torch 2.14.1 on a, 2.13.0 on b; ray 2.60.0 on a, missing on b"


def test_storage() -> None:
    assert findings.storage("/shared", {}, {"a": [], "b": []}, 2).found == "/shared: written and read by all 2 nodes"
    unwritable = findings.storage("/shared", {"b": "PermissionError"}, {}, 2)
    assert (unwritable.status, unwritable.found) == ("problem", "/shared: cannot be written by b: PermissionError")
    unshared = findings.storage("/shared", {}, {"a": ["b"], "b": []}, 2)
    assert (unshared.status, unshared.found) == ("problem", "/shared: is not shared: a does not see what b wrote")
    assert "mount the same folder" in unshared.fix
    assert "role" in findings.storage("s3://bucket/runs", {}, {"a": ["b"]}, 2).fix


def test_tracking_server() -> None:
    assert findings.tracking("http://m", [node("a"), node("b")]).status == "ok"
    check = findings.tracking("http://m", [node("a"), node("b", mlflow="refused")])
    assert (check.status, check.found) == ("problem", "http://m: no answer from b: refused")


def test_clocks() -> None:
    assert findings.clocks({}).status == findings.clocks({"a": 0.2, "b": -4}).status == "ok"
    assert findings.clocks({"a": 0.2, "b": -40}) == Check(
        "clocks", "warning", "b is -40 s off", "on every node: sudo timedatectl set-ntp true"
    )
    assert findings.clocks({"a": 900}).status == "problem"


def test_a_cluster_of_several_nodes_without_tokens_is_open() -> None:
    disabled = Check("ray token", "ok", "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports may run code")
    assert findings.token(disabled, 1).status == "ok"
    assert findings.token(disabled, 2).status == "warning"


# -- what runs on a node -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_marks_are_written_read_and_removed(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "runs").mkdir()
    storage = f"{scheme}{tmp_path}/runs"
    assert [probe.write_mark(storage, "marks", name) for name in "ab"] == ["", ""]
    assert probe.unread_marks(storage, "marks", ["a", "b"]) == []
    probe.remove_marks(storage, "marks")
    assert list((tmp_path / "runs").iterdir()) == []


def test_folders_that_the_doctor_makes_it_removes_a_share_may_be_mounted_there(tmp_path: Path) -> None:
    storage = f"{tmp_path}/mnt/eqbench/runs"
    assert [probe.write_mark(storage, "marks", name) for name in "ab"] == ["", ""]
    assert probe.unread_marks(storage, "marks", ["a", "b"]) == []
    probe.remove_marks(storage, "marks")
    assert list(tmp_path.iterdir()) == []
    probe.write_mark(storage, "marks", "a")
    (tmp_path / "mnt" / "other").touch()
    probe.remove_marks(storage, "marks")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "mnt", tmp_path / "mnt" / "other"]


def test_nodes_that_are_silent_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.doctor import cluster

    asked: list[tuple[str, str]] = []

    def answer(calls: dict[Node, tuple[Callable[..., Any], Any]]) -> dict[Node, Any]:
        asked.extend((function.__name__, node.name) for node, (function, _) in calls.items())
        return {node: cluster._Silence("silent") if node.name == "b" else "" for node in calls}

    monkeypatch.setattr(cluster, "_on_each", answer)
    check = cluster.check_storage("s3://bucket/runs?region=x", [node("a"), node("b")], grows=False)
    assert (check.status, check.found) == ("problem", "s3://bucket/runs: cannot be written by b: silent")
    assert asked == [("write_mark", "a"), ("write_mark", "b"), ("remove_marks", "a")]


def test_a_tracking_server_that_is_no_uri_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.doctor import cluster

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://[x")
    monkeypatch.setattr(cluster.cluster, "connected", contextlib.nullcontext)
    monkeypatch.setattr(cluster.cluster, "grows", lambda: False)
    monkeypatch.setattr(cluster, "living_nodes", list)
    [check] = [check for check in cluster.diagnose_cluster("/shared") if check.name == "mlflow"]
    assert (check.status, check.found) == (
        "problem",
        "MLFLOW_TRACKING_URI: http://[x: is no URI; expected e.g. http://<host>:5000",
    )


def test_a_mark_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    late = threading.Timer(0.2, probe.write_mark, (str(tmp_path), "marks", "late"))
    late.start()
    assert probe.unread_marks(str(tmp_path), "marks", ["late"]) == []
    late.join()


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "NotADirectoryError" in probe.write_mark(f"{tmp_path}/file", "marks", "a")
    assert probe.write_mark("nonsense://x", "marks", "a")


def test_a_folder_of_ones_own_disk_is_none_for_a_cluster_that_grows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from eqbench.doctor import cluster

    monkeypatch.setattr(cluster, "_on_each", lambda calls: dict.fromkeys(calls, ""))
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) == "/")
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to("share")
    storage = f"{tmp_path}/link/runs/mine"
    found = cluster.check_storage(storage, [node("a")], grows=True)
    assert (found.status, found.found) == (
        "problem",
        f"{storage}: is on this machine's own disk, and the cluster will have other machines, which do not see it",
    )
    assert cluster.check_storage(storage, [node("a")], grows=False).status == "ok"
    assert cluster.check_storage("s3://bucket/runs", [node("a")], grows=True).status == "ok"
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) in ("/", str((tmp_path / "share").resolve())))
    assert cluster.check_storage(storage, [node("a")], grows=True).status == "ok"


def test_workers_that_are_not_there_yet_are_named() -> None:
    head = Node("h", "h (head)", {"CPU": 0, "node:__internal_head__": 1})
    [alone] = findings.workers([head])
    assert (alone.status, "only the head is there" in alone.found) == ("warning", True)
    assert "`ray up --no-restart`" in alone.fix
    [slow] = findings.workers([head, node("a")])
    assert (slow.status, "no node with a GPU is there" in slow.found) == ("warning", True)
    assert findings.workers([head, node("a", 1)]) == []


@pytest.mark.parametrize("grows", [True, False])
def test_the_doctor_says_what_it_has_not_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grows: bool) -> None:
    from eqbench.doctor import cluster

    head = Node("h", "h (head)", {"CPU": 0, "node:__internal_head__": 1})
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(cluster.cluster, "connected", contextlib.nullcontext)
    monkeypatch.setattr(cluster.cluster, "grows", lambda: grows)
    monkeypatch.setattr(cluster, "living_nodes", lambda: [head])
    monkeypatch.setattr(cluster, "_on_each", lambda calls: dict.fromkeys(calls, cluster._Silence("silent")))
    monkeypatch.setattr("os.path.ismount", lambda path: False)
    found = {check.name: check.status for check in cluster.diagnose_cluster(str(tmp_path))}
    assert found.get("workers") == ("warning" if grows else None)
    assert found["storage"] == ("problem" if grows else "ok")


def test_a_node_describes_itself() -> None:
    found = probe.describe("http://127.0.0.1:1")
    assert found["versions"]["eqbench"].startswith("0.1.0 (code ")
    assert found["torch_error"] == ""
    assert "refused" in found["mlflow"]


# -- inside a job ------------------------------------------------------------------------------------------------


def test_outside_of_a_job_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(inside_job.JOB_VARIABLE, raising=False)
    inside_job.check_before_training("runs", None, mlflow=True)


def test_results_that_would_be_lost_with_the_jobs_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(inside_job.JOB_VARIABLE, "{}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentProblem, match="--storage runs: is in the job's own folder"):
        inside_job.check_before_training("runs", None, mlflow=False)
    with pytest.raises(EnvironmentProblem, match="MLflow's store would be in the job's own folder"):
        inside_job.check_before_training("/shared/runs", None, mlflow=True)


@pytest.mark.parametrize("grows", [True, False])
def test_results_on_the_disk_of_the_first_machine_of_several(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grows: bool
) -> None:
    from eqbench import cluster
    from eqbench.doctor import cluster as of_cluster

    monkeypatch.setenv(inside_job.JOB_VARIABLE, "{}")
    monkeypatch.setattr(cluster, "connected", lambda verbose: contextlib.nullcontext())
    monkeypatch.setattr(cluster, "grows", lambda: grows)
    monkeypatch.setattr(of_cluster, "living_nodes", lambda: [node("a")])
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) == "/")
    if not grows:
        inside_job.check_before_training(tmp_path, None, mlflow=False)
        return
    with pytest.raises(
        EnvironmentProblem, match=f"storage: {tmp_path}: is on this machine's own disk.*; mount the same"
    ):
        inside_job.check_before_training(tmp_path, None, mlflow=False)


def test_a_worker_without_the_storage_says_so_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench import trial
    from eqbench.cause import cause

    monkeypatch.chdir(tmp_path)
    config = {"run": f"{tmp_path}/suite/run", "folder": str(tmp_path)}
    monkeypatch.setattr("ray.train.get_context", object)  # there is a group, and it is asked of nothing
    with pytest.raises(EnvironmentProblem) as caught:
        trial._train_as_worker(config, lambda: 0)
    said = f"{tmp_path}/suite/run is not there: --storage must be shared by all machines"
    assert cause(caught.value) == f"EnvironmentProblem: {said}"


def test_a_tracking_server_is_waited_for_then_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(inside_job.JOB_VARIABLE, "{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr(inside_job, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(inside_job, "SECONDS_BETWEEN_LOOKS", 0.01)
    with pytest.raises(
        EnvironmentProblem, match=r"MLflow: http://127.0.0.1:1: no answer .* submit with --tracking-uri"
    ):
        inside_job.check_before_training("/shared/runs", None, mlflow=True)
