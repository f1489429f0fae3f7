"""What no file from elsewhere may do: run code, name a place outside its folder; and what no file may give away."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from numpy.lib import format as npy

from eqbench.data.image_files.paths import outside_fault, path_fault
from eqbench.errors import InputError
from eqbench.run_folder import SuiteFolder
from eqbench.suite import load_suite

ROOT = Path(__file__).resolve().parents[1]
SAFE_LOADERS = {"LOADER", "_Loader", "getattr(yaml, 'CSafeLoader', yaml.SafeLoader)", "yaml.SafeLoader"}
OWN_PICKLES = {
    "eqbench/evaluation/apart.py": "what a process has written to the one that started it",
    "eqbench/data/cifar_files/unpickling.py": "plain data and arrays only: it finds no other class or function",
    "eqbench/data/miniatures/python2_pickle.py": "writes",
}
RUNS_CODE = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "joblib.load", "marshal.loads"}
UNPACKS = {"tarfile.open", "shutil.unpack_archive", "zipfile.ZipFile"}
OUTSIDE = {
    "the folder above": "../outside/1.jpg",
    "absolute": "/etc/passwd",
    "up in the middle": "train/../../outside/1.jpg",
    "a drive": "C:/outside/1.jpg",
}


# -- the tree ----------------------------------------------------------------------------------------------------


def files() -> Iterator[Path]:
    """Every Python file of the project."""
    for folder in ("eqbench", "tests", "suites", "clusters"):
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def calls() -> list[tuple[str, ast.Call, str]]:
    """File, call, and the name of what is called."""
    found = []
    for file in files():
        text = file.read_text()
        if not re.search(r"load|eval\(|exec\(|shell|system|popen|pickle|tarfile|zipfile|archive", text):
            continue
        place = file.relative_to(ROOT).as_posix()
        nodes = ast.walk(ast.parse(text))
        found += [(place, node, ast.unparse(node.func)) for node in nodes if isinstance(node, ast.Call)]
    return found


def given(call: ast.Call, name: str) -> str | None:
    """An argument by its name, as it is written."""
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), None)


def test_torch_loads_weights_only(calls: list[tuple[str, ast.Call, str]]) -> None:
    loads = [(place, call) for place, call, name in calls if name in ("torch.load", "torch.hub.load")]
    assert len(loads) > 5
    assert [(place, call.lineno) for place, call in loads if given(call, "weights_only") != "True"] == []


def test_yaml_is_read_by_safe_loaders(calls: list[tuple[str, ast.Call, str]]) -> None:
    loads = [(place, call, name) for place, call, name in calls if re.fullmatch(r"yaml\.\w*(load|compose)\w*", name)]
    assert len(loads) > 10
    unsafe = []
    for place, call, name in loads:
        loader = given(call, "Loader") or (ast.unparse(call.args[1]) if len(call.args) > 1 else "")
        if not name.startswith("yaml.safe_load") and loader not in SAFE_LOADERS:
            unsafe.append((place, call.lineno, name, loader))
    assert unsafe == []


def test_nothing_runs_what_a_file_says(calls: list[tuple[str, ast.Call, str]]) -> None:
    """No shell, no evaluated text; pickles only where they cannot be anyone else's, or cannot call anything."""
    in_package = [each for each in calls if each[0].startswith("eqbench/")]
    runs = [(place, call.lineno, name) for place, call, name in in_package if name in RUNS_CODE]
    assert [each for each in runs if each[0] not in OWN_PICKLES] == []
    assert [(place, call.lineno) for place, call, _ in calls if given(call, "shell") not in (None, "False")] == []
    assert [(place, call.lineno) for place, call, _ in in_package if given(call, "allow_pickle") == "True"] == []


def test_nothing_unpacks_an_archive(calls: list[tuple[str, ast.Call, str]]) -> None:
    """Data sets are unpacked by their owner; eqbench only looks into files, and packs its own."""
    found = {place for place, _, name in calls if name in UNPACKS or name.endswith(".extractall")}
    assert {place for place in found if place.startswith("eqbench/")} <= {
        "eqbench/submission/package.py",
        "eqbench/submission/submit.py",
    }


# -- files that run code -----------------------------------------------------------------------------------------


class Opens:
    """A pickle that makes a file where it is read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self._file), "w")


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    import torch

    from eqbench.models.pretrained.weights import load_weights

    torch.save({"conv1.weight": Opens(tmp_path / "made")}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt: not a file of tensors") as refused:
        load_weights(torch.nn.Linear(1, 1), str(tmp_path / "weights.pt"))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    import torch

    from eqbench.checkpoint import Checkpoints

    store = Checkpoints(tmp_path)
    store.save(3, {"model": {}})
    [state] = tmp_path.rglob("state.pt")
    torch.save({"model": Opens(tmp_path / "made")}, state)
    manifest = state.with_name("manifest.json")
    manifest.write_text(re.sub(r"[0-9a-f]{64}", hashlib.sha256(state.read_bytes()).hexdigest(), manifest.read_text()))
    iteration, _, [problem] = store.load_newest()
    assert iteration == 0
    assert "SHA-256" not in problem
    assert not (tmp_path / "made").exists()


def test_an_index_that_holds_a_pickle_is_not_read(tmp_path: Path) -> None:
    import numpy as np

    with (tmp_path / "x.npy").open("wb") as file:
        npy.write_array(file, np.array([Opens(tmp_path / "made")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="object"):
        np.load(tmp_path / "x.npy", mmap_mode="r")
    assert not (tmp_path / "made").exists()


# -- names that lead elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=list(OUTSIDE))
def test_paths_of_images_stay_below_their_folder(path: str) -> None:
    assert outside_fault(path)
    assert path_fault(path)


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=list(OUTSIDE))
def test_an_image_list_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    from eqbench.data.image_lists.lists import read_list

    file = tmp_path / "list.txt"
    file.write_text(f"train/0.jpg 0\n{path} 1\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2: path .* (absolute|leads out)") as refused:
        read_list(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=list(OUTSIDE))
def test_annotations_that_lead_elsewhere_are_refused(tmp_path: Path, path: str) -> None:
    from eqbench.data.coco_format import CocoFormat

    records = {
        "images": [{"id": 1, "file_name": path, "width": 4, "height": 4}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, "iscrowd": 0}
            | {"segmentation": [[0, 0, 2, 0, 2, 2]]}
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(records))
    with pytest.raises(InputError, match=r"boxes\.json.*path .* (absolute|leads out)") as refused:
        CocoFormat(root=tmp_path, train_annotations="boxes.json", eval_annotations="boxes.json")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("run_id", ["../other", "/etc", "..", ".", "a/b", ""])
def test_a_plan_that_names_other_folders_is_refused(tmp_path: Path, run_id: str) -> None:
    suite = SuiteFolder(tmp_path, "small")
    suite.create()
    suite.plan_file.write_text(json.dumps({"suite": "small", "run_ids": [run_id]}))
    with pytest.raises(InputError, match=r"plan\.json: run_ids: .* is no run id.*delete it"):
        suite.read_plan()
    with pytest.raises(InputError, match=r"small: .* is no run id"):
        suite.run(run_id)


@pytest.mark.parametrize("name", ["../other", "/tmp/other", "a/b", "$(touch x)", "x; touch y"])
def test_a_suite_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"name: .*expected 1 to \d+ letters"):
        load_suite(suite_file(tmp_path, name=name))


# -- what is given away ------------------------------------------------------------------------------------------


def suite_file(folder: Path, **changes: Any) -> Path:
    import small_suites

    return small_suites.write(folder / "small.yaml", small_suites.suite(**changes))


@pytest.mark.parametrize("uri", ["https://ada:pass@mlflow.example.org/x", "postgresql://ada:pass@db/mlflow"])
@pytest.mark.parametrize("place", ["file", "override"])
def test_a_suite_with_a_password_is_refused(tmp_path: Path, uri: str, place: str) -> None:
    """Its text is copied to the storage, to MLflow and to pages."""
    file = suite_file(tmp_path, **({"mlflow": {"tracking_uri": uri}} if place == "file" else {}))
    with pytest.raises(InputError, match=r"mlflow\.tracking_uri: .*MLFLOW_TRACKING_PASSWORD") as refused:
        load_suite(file, [f"mlflow.tracking_uri={uri}"] if place == "override" else [])
    assert "pass@" not in str(refused.value)
    assert "ada" not in str(refused.value)


def test_the_environment_of_a_result_has_versions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from eqbench.environment import describe_machine

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hunter2")
    assert "hunter2" not in json.dumps(describe_machine())


def test_the_uri_of_a_database_is_in_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone on the machine can read command lines."""
    from eqbench import ui

    started: list[tuple[list[str], dict[str, Any]]] = []

    def start(command: list[str], **options: Any) -> None:
        started.append((command, options))
        raise InterruptedError

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(InterruptedError), ui.mlflow_server("postgresql://ada:hunter2@db/mlflow"):
        pass
    [(command, options)] = started
    assert "hunter2" not in " ".join(command)
    assert options["env"]["MLFLOW_BACKEND_STORE_URI"] == "postgresql://ada:hunter2@db/mlflow"
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_a_local_ray_is_not_reached_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reaches a port of Ray can run code; see test_survival for the ports themselves."""
    import os

    from eqbench import cluster

    for name in (*cluster.DRIVER_ENVIRONMENT, *cluster.ON_LOOPBACK):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    cluster.prepare_environment()
    assert not set(cluster.ON_LOOPBACK) & set(os.environ)
    monkeypatch.delenv("RAY_ADDRESS")
    cluster.prepare_environment()
    assert set(cluster.ON_LOOPBACK) <= set(os.environ)


def test_suites_that_come_with_eqbench_hold_no_secret() -> None:
    for file in sorted((ROOT / "suites").rglob("*.yaml")):
        assert isinstance(yaml.safe_load(file.read_text()), dict)
        assert not re.search(r"://[^/\s]*@|(?i:password|secret|token)\s*:", file.read_text()), file
