"""Miniatures on disk: the same bytes again, made once and as a whole, impossible arguments, and the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eqbench.data.lvis_miniature import LVISMiniature
from eqbench.data.miniatures import NAMES, Parameters, make, make_once, manifest
from eqbench.data.verification import Findings
from eqbench.errors import EnvironmentProblem, InputError

SMALL: dict[str, dict[str, int]] = {
    "imagenet_lt": {"images": 24, "classes": 4, "size": 32},
    "places_lt": {"images": 24, "classes": 4, "size": 32},
    "inaturalist2018": {"images": 24, "classes": 4, "size": 32},
    "cifar_lt": {"images": 50, "classes": 10, "size": 32},
    "ade20k": {"images": 20, "classes": 5, "size": 64},
    "lvis": {"images": 20, "classes": 5, "size": 64},
}
MAKE_ALL = """
import json, sys
from pathlib import Path
from eqbench.data.miniatures import make
for name, options in json.loads(sys.argv[2]).items():
    make(name, Path(sys.argv[1]) / name, **options, seed=7)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a miniature of each data set."""
    root = tmp_path_factory.mktemp("made")
    for name, options in SMALL.items():
        make(name, root / name, **options, seed=7)
    return root


def digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content.update(path.relative_to(folder).as_posix().encode())
        content.update(path.read_bytes() if path.is_file() else b"")
    return content.hexdigest()


def problems(folder: Path, name: str | None = None) -> dict[str, list[str]]:
    found = Findings()
    manifest.check(folder, found, name=name)
    return {kind: group.items for kind, group in found.problems.items()}


# -- bytes -------------------------------------------------------------------------------------------------------


def test_another_process_makes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """Its sets and dicts with string keys have another order."""
    assert tuple(sorted(SMALL)) == tuple(sorted(NAMES))
    command = [sys.executable, "-c", MAKE_ALL, str(tmp_path), json.dumps(dict(reversed(SMALL.items())))]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "12345"}, check=True, timeout=120)
    for name in SMALL:
        assert digest(tmp_path / name) == digest(root / name), name


@pytest.mark.parametrize("name", SMALL)
def test_other_arguments_make_other_bytes(root: Path, tmp_path: Path, name: str) -> None:
    make(name, tmp_path / "new", **SMALL[name], seed=8)
    assert digest(tmp_path / "new") != digest(root / name)
    if name != "lvis":
        changes = [{"seed": 8}, {"images": 100}, {"classes": 10 if name != "cifar_lt" else 100}, {"size": 65}]
        names = {
            Parameters.of(name, **{"images": 500, **change}).folder
            for change in changes
            if name != "cifar_lt" or "size" not in change
        }
        assert len(names) == (3 if name == "cifar_lt" else 4)


def test_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_DATA", str(tmp_path))
    lines = make("imagenet_lt", None, **SMALL["imagenet_lt"], seed=7)
    folder = tmp_path / "imagenet_lt_miniature_v1_i24_c4_s7_32px"
    assert lines == [
        f"{folder}: 24 training images of 4 classes in the format of ImageNet-LT, seed 7",
        f"in a suite: data: {{name: imagenet_lt, root: {folder}}}",
    ]
    assert problems(folder, "imagenet_lt") == {}


def test_a_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("ade20k", "lvis"):
        assert make(name, Path("~", name), **SMALL[name])[0].startswith(f"{tmp_path / name}: ")
    wanted = Parameters.of("ade20k", **SMALL["ade20k"])
    assert make_once(Path("~/more"), wanted) == tmp_path / "more" / wanted.folder
    monkeypatch.setenv("EQBENCH_DATA", "~/data")
    assert make_once(None, wanted) == tmp_path / "data" / wanted.folder
    LVISMiniature(root=Path("~/more"), **SMALL["lvis"])
    LVISMiniature(**SMALL["lvis"])
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["ade20k", "data", "lvis", "more"]
    assert [len([path for path in (tmp_path / name).iterdir() if path.is_dir()]) for name in ("data", "more")] == [2, 2]


# -- making ------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_not_taken_for_a_miniature(root: Path, tmp_path: Path) -> None:
    parameters = Parameters.of("cifar_lt", **SMALL["cifar_lt"], seed=7)
    unfinished = tmp_path / f".{parameters.folder}.unfinished"
    unfinished.mkdir()
    (unfinished / "half").write_bytes(b"half")
    folder = make_once(tmp_path, parameters)
    assert not unfinished.exists()
    assert digest(folder) == digest(root / "cifar_lt")


def test_it_is_made_once_however_many_ask(tmp_path: Path) -> None:
    parameters = Parameters.of("imagenet_lt", **SMALL["imagenet_lt"])
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: make_once(tmp_path / "new", parameters), range(3)))
    assert set(folders) == {tmp_path / "new" / parameters.folder}
    made = folders[0].stat()
    assert make_once(tmp_path / "new", parameters) == folders[0]
    assert folders[0].stat() == made


@pytest.mark.parametrize("name", ["imagenet_lt", "lvis"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="exists; a miniature is written to a new folder only"):
        make(name, tmp_path, **SMALL[name])
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="file: cannot be written"):
        make(name, tmp_path / "file" / "miniature", **SMALL[name])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("imagenet_lt", {"classes": 3}, "classes 3: expected 4 to 1000"),
        ("imagenet_lt", {"classes": 1001}, "classes 1001: expected 4 to 1000"),
        ("imagenet_lt", {"images": 79, "classes": 20}, "images 79: expected at least 80 for 20 classes"),
        ("imagenet_lt", {"images": 0}, "images 0: expected at least 20 for 4 classes"),
        ("places_lt", {"classes": 366}, "classes 366: expected 4 to 365"),
        ("places_lt", {"size": 31}, "size 31: expected 32 to 2048 pixels"),
        ("inaturalist2018", {"seed": -1}, r"seed -1: expected 0 to 2\*\*32 - 1"),
        ("inaturalist2018", {"seed": 2**32}, "seed 4294967296: expected 0"),
        ("cifar_lt", {"classes": 20}, "classes 20: expected 10 or 100"),
        ("cifar_lt", {"size": 64}, "size 64: expected 32 pixels"),
        ("cifar_lt", {"images": 55}, "images 55: expected a multiple of the 10 classes"),
        ("ade20k", {"classes": 151}, "classes 151: expected 4 to 150"),
        ("ade20k", {"size": 63}, "size 63: expected 64 to 2048 pixels"),
        ("ade20k", {"images": 19}, "images 19: expected at least 20 for 5 classes"),
        ("ade20k", {"images": 50, "classes": 150}, "images 50: expected at least 75 for 150 classes"),
        ("lvis", {"images": 0}, "images 0: expected at least 20"),
    ],
)
def test_impossible_arguments(tmp_path: Path, name: str, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, tmp_path / "new", **{**SMALL[name], **change})
    assert list(tmp_path.iterdir()) == []


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no miniature of 'imagenet'; did you mean 'imagenet_lt'"):
        make("imagenet", tmp_path / "new")
    with pytest.raises(InputError, match="no miniature of 'ade'"):
        Parameters.of("ade")


# -- manifest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_manifest_lists_every_file(root: Path, name: str) -> None:
    content = json.loads((root / name / "manifest.json").read_text())
    assert (content["format"], content["version"]) == (name, 1)
    assert content["parameters"] == {"edition": 1, **SMALL[name], "seed": 7}
    there = {path.relative_to(root / name).as_posix() for path in (root / name).rglob("*") if path.is_file()}
    assert set(content["files"]) == there - {"manifest.json"}
    for path, (size, sha256) in content["files"].items():
        data = (root / name / path).read_bytes()
        assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest.exists(root / name)
    assert problems(root / name, name) == {}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    make("cifar_lt", tmp_path / "copy", **SMALL["cifar_lt"], seed=1)
    return tmp_path / "copy"


def test_every_difference_is_named(copy: Path) -> None:
    folder = copy / "cifar-10-batches-py"
    (folder / "batches.meta").unlink()
    (folder / "data_batch_1").write_bytes((folder / "data_batch_1").read_bytes()[:-1])
    changed = bytearray((folder / "test_batch").read_bytes())
    changed[1000] ^= 1
    (folder / "test_batch").write_bytes(changed)
    (folder / "more").write_bytes(b"")
    found = problems(copy)
    assert found["files missing"] == ["cifar-10-batches-py/batches.meta"]
    assert found["files too many"] == ["cifar-10-batches-py/more: not in manifest.json"]
    size = len(changed)
    assert found["files changed"] == [
        f"cifar-10-batches-py/data_batch_1: {(folder / 'data_batch_1').stat().st_size} bytes, "
        f"expected {(folder / 'data_batch_1').stat().st_size + 1}",
        "cifar-10-batches-py/test_batch: same size, other content",
    ]
    assert size == (folder / "test_batch").stat().st_size


def test_indexes_and_records_beside_the_data_are_no_difference(copy: Path) -> None:
    (copy / ".eqbench-verified.json").write_text("{}")
    (copy / "train.index").mkdir()
    (copy / "train.index" / "columns.bin").write_bytes(b"")
    (copy / "train.index.lock").write_bytes(b"")
    assert problems(copy) == {}


def test_links_are_followed_but_not_in_circles(copy: Path, tmp_path: Path) -> None:
    (copy / "cifar-10-batches-py").rename(tmp_path / "elsewhere")
    (copy / "cifar-10-batches-py").symlink_to(tmp_path / "elsewhere")
    (copy / "here").symlink_to(".")
    (copy / "above").symlink_to(tmp_path)
    (copy / "again").symlink_to("again")
    found = problems(copy)
    assert found == {"files too many": ["again: not in manifest.json"]}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("{", "manifest damaged"),
        ("[]", "manifest damaged"),
        ('{"format": "cifar_lt", "version": 1}', "manifest damaged"),
        ('{"format": "cifar_lt", "version": 1, "files": {"a": [1]}}', "manifest damaged"),
        ('{"format": "cifar_lt", "version": 2, "files": {}}', "manifest damaged"),
        ('{"format": "lvis", "version": 1, "files": {}}', "another miniature"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path: Path, content: str, kind: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert list(problems(tmp_path, "cifar_lt")) == [kind]


def test_without_a_manifest(tmp_path: Path) -> None:
    assert not manifest.exists(tmp_path)
    assert list(problems(tmp_path)) == ["no manifest"]
