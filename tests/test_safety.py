"""What no file from elsewhere may do: run code, name a place outside its folder; and what no file may give away."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
    "eqbench/announcer.py": "the file that Ray has just written on this machine",
}
RUNS_CODE = re.compile(
    r"(builtins\.)?(eval|exec)|os\.(system|popen|exec\w+|spawn\w+)|runpy\.\w+|(subprocess\.)get(status)?output|"
    r"(\w+\.)*_?(pickle|cPickle|cloudpickle|dill|marshal|joblib|shelve)\.(load|loads|Unpickler|open)|"
    r"(pandas\.)read_pickle"
)
WORDS = re.compile(
    r"load|eval|exec|system|popen|spawn|runpy|output|shell|pickle|dill|marshal|shelve|extract|archive|tarfile|zipfile"
)
"""One is in every file that names what is looked for, whatever it calls it."""
UNPACKS = {"tarfile.open", "shutil.unpack_archive", "zipfile.ZipFile"}
PACKING = {"eqbench/submission/package.py", "eqbench/submission/submit.py"}
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY")
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


@dataclass(frozen=True)
class Use:
    """A function or class that a file names: by its whole name, whatever the file calls it; its call, if it is one."""

    place: str
    line: int
    name: str
    call: ast.Call | None = None

    def given(self, argument: str) -> str | None:
        """An argument of the call by its name, as it is written."""
        keywords = self.call.keywords if self.call else []
        return next((ast.unparse(each.value) for each in keywords if each.arg == argument), None)


def uses(text: str, place: str = "") -> list[Use]:
    """All that a program names, `from torch import load as read` followed by `read` being `torch.load`."""
    nodes = list(ast.walk(ast.parse(text)))
    known: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            known |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom):
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    return [
        Use(place, node.lineno, name_of(node, known), calls.get(id(node)))
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)
    ]


def name_of(node: ast.expr, known: Mapping[str, str]) -> str:
    """`a.b.c` with what `a` was imported as; `().b.c` of what has no name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "()"


@pytest.fixture(scope="module")
def everywhere() -> list[Use]:
    texts = {file.relative_to(ROOT).as_posix(): file.read_text() for file in files()}
    return [use for place, text in texts.items() if WORDS.search(text) for use in uses(text, place)]


def without_weights_only(found: Sequence[Use]) -> list[Use]:
    loads = [use for use in found if use.name in ("torch.load", "torch.hub.load", "torch.serialization.load")]
    return [use for use in loads if use.given("weights_only") != "True"]


def unsafe_yaml(found: Sequence[Use]) -> list[Use]:
    unsafe = []
    for use in found:
        if not re.fullmatch(r"yaml\.\w*(load|compose)\w*", use.name) or use.name.startswith("yaml.safe_load"):
            continue
        second = use.call.args[1:2] if use.call else []
        if (use.given("Loader") or "".join(map(ast.unparse, second))) not in SAFE_LOADERS:
            unsafe.append(use)
    return unsafe


def runs_code(found: Sequence[Use]) -> list[Use]:
    return [
        use
        for use in found
        if RUNS_CODE.fullmatch(use.name)
        or use.given("shell") not in (None, "False")
        or use.given("allow_pickle") not in (None, "False")
    ]


def unpacks(found: Sequence[Use]) -> list[Use]:
    return [use for use in found if use.name in UNPACKS or use.name.endswith((".extractall", ".extract"))]


def in_package(found: Sequence[Use]) -> list[Use]:
    return [use for use in found if use.place.startswith("eqbench/")]


def test_torch_loads_weights_only(everywhere: list[Use]) -> None:
    assert sum(use.name == "torch.load" for use in everywhere) > 5
    assert without_weights_only(everywhere) == []


def test_yaml_is_read_by_safe_loaders(everywhere: list[Use]) -> None:
    assert sum(use.name.startswith("yaml.") for use in everywhere) > 10
    assert unsafe_yaml(everywhere) == []


def test_nothing_runs_what_a_file_says(everywhere: list[Use]) -> None:
    """No shell, no evaluated text; pickles only where they cannot be anyone else's, or cannot call anything."""
    found = runs_code(in_package(everywhere))
    assert [use for use in found if use.place not in OWN_PICKLES] == []
    assert {use.place for use in found} == set(OWN_PICKLES)
    assert [use for use in everywhere if use.given("shell") not in (None, "False")] == []


def test_nothing_unpacks_an_archive(everywhere: list[Use]) -> None:
    """Data sets are unpacked by their owner; eqbench only looks into files, and packs its own."""
    assert {use.place for use in unpacks(in_package(everywhere))} <= PACKING


@pytest.mark.parametrize(
    ("find", "program", "name"),
    [
        (without_weights_only, "import torch\ntorch.load(file)", "torch.load"),
        (without_weights_only, "from torch import load\nload(file, weights_only=False)", "torch.load"),
        (without_weights_only, "import torch as t\nread = t.load", "torch.load"),
        (unsafe_yaml, "from yaml import load, Loader\nload(text, Loader)", "yaml.load"),
        (unsafe_yaml, "from yaml import unsafe_load as read\nread(text)", "yaml.unsafe_load"),
        (runs_code, "from pickle import Unpickler\nUnpickler(file)", "pickle.Unpickler"),
        (runs_code, "import pickle\nclass Mine(pickle.Unpickler): ...", "pickle.Unpickler"),
        (runs_code, "from ray import cloudpickle as p\np.loads(content)", "ray.cloudpickle.loads"),
        (runs_code, "import pandas as pd\npd.read_pickle(file)", "pandas.read_pickle"),
        (runs_code, "from os import system\nsystem(text)", "os.system"),
        (runs_code, "list(map(eval, texts))", "eval"),
        (runs_code, "import numpy as np\nnp.load(file, allow_pickle=not safe)", "numpy.load"),
        (runs_code, "import subprocess\nsubprocess.run(text, shell=flag)", "subprocess.run"),
        (unpacks, "from tarfile import open as tar\ntar(file)", "tarfile.open"),
        (unpacks, "import zipfile\nzipfile.ZipFile(file)", "zipfile.ZipFile"),
        (unpacks, "archive.extractall()", "archive.extractall"),
    ],
)
def test_what_is_looked_for_is_found_by_any_name(
    find: Callable[[Sequence[Use]], list[Use]], program: str, name: str
) -> None:
    assert [use.name for use in find(uses(program))] == [name]


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


def test_an_index_of_annotations_that_holds_a_pickle_is_not_read(tmp_path: Path) -> None:
    from eqbench.data.lvis_index import arrays

    empty = {name: np.zeros(0, dtype) for name, dtype in arrays.ARRAYS.items() if name != "coordinates"}
    np.save(tmp_path / "coordinates.npy", np.zeros(0, arrays.ARRAYS["coordinates"]))
    arrays.write(tmp_path, empty, {})
    description = arrays.read_description(tmp_path)
    assert description is not None
    assert set(arrays.read(tmp_path, description)) == set(arrays.ARRAYS)
    for name in arrays.ARRAYS:
        file = tmp_path / f"{name}.npy"
        before = file.read_bytes()
        with file.open("wb") as opened:
            npy.write_array(opened, np.array([Opens(tmp_path / "made")], dtype=object), allow_pickle=True)
        sizes = {**description["sizes"], name: file.stat().st_size}
        with pytest.raises(ValueError, match="object"):
            arrays.read(tmp_path, {**description, "sizes": sizes})
        file.write_bytes(before)
    assert not (tmp_path / "made").exists()


def test_an_index_of_masks_that_holds_a_pickle_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from eqbench.data.pixel_masks import storage
    from eqbench.data.pixel_masks.layout import Pairs
    from tests.data.mask_files import write_ade20k

    root = write_ade20k(tmp_path / "ade")
    pairs = Pairs(root / "images" / "training", root / "annotations" / "training")
    digest = storage.open_index(pairs).digest
    place = storage.place_of(pairs)
    with np.load(place, allow_pickle=False) as content:
        built = {name: content[name] for name in content.files}
    for name in built:
        with place.open("wb") as file:
            np.savez(file, **{**built, name: np.array([Opens(tmp_path / "made")], dtype=object)})
        caplog.clear()
        assert storage.open_index(pairs).digest == digest
        assert "it is built again" in caplog.text
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


ATTEMPT = "import sys, pathlib, training.tiny_runs as runs; runs._attempt(pathlib.Path(sys.argv[1]), -1, 0, 0)"


def test_no_file_of_a_run_and_nothing_in_mlflow_has_a_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Trained, tracked, with its artifacts, all where they are looked for."""
    from training.tiny_runs import tiny_spec

    from eqbench.tracking import Tracker

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in SECRETS:
        monkeypatch.setenv(name, "hunter2-hunter2")
    spec = tiny_spec(epochs=1, deterministic=False)
    suite = SuiteFolder(tmp_path / "runs", "tiny")
    suite.create()
    suite.write_plan([spec], "name: tiny\n")
    run = suite.run(spec.run_id)
    run.write_spec(spec)
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", suite)
    tracker.open(command="eqbench run tiny")
    known = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    subprocess.run([sys.executable, "-c", ATTEMPT, str(run.path)], env=known, check=True)
    assert tracker.send(run, running=False)
    assert tracker.close("KILLED")  # then no figures are drawn, which take long
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert run.result_file in written
    assert [file for file, content in written.items() if file.name == "mlflow.db" and b"tiny" in content]
    assert [file for file in written if "mlartifacts" in file.parts and file.name == "environment.json"]
    assert [file for file, content in written.items() if b"hunter2" in content] == []
    assert "hunter2" not in "".join(capfd.readouterr())


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
