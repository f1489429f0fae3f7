"""Which folder a storage is worked in, and what a URI may hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from eqbench.cli_options import storage_folder
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.storage.place import place, place_of, uri_of
from eqbench.storage.remote import Remote, RemoteProblem


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_CACHE", str(tmp_path / "cache"))


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert place("runs").local == Path("runs")
    assert (place("runs").uri, place("runs").remote, place_of(tmp_path), uri_of(Path("runs"))) == (
        None,
        None,
        None,
        "runs",
    )


def test_a_uri_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, other = place("s3://bucket/runs"), place("s3://bucket/other")
    assert one.local.parent == tmp_path / "cache" / "storage"
    assert one.local.name.startswith("s3-bucket-runs-")
    assert one.local != other.local
    assert place("s3://bucket/runs/") == one
    assert place_of(one.local / "suite" / "run") == one
    assert storage_folder("s3://bucket/runs") == one.local
    assert uri_of(one.local) == "s3://bucket/runs"


def test_an_endpoint_stays_out_of_names_and_messages() -> None:
    other = place("s3://bucket/runs?endpoint_override=store.example.org&scheme=http")
    assert other.shown == "s3://bucket/runs"
    assert "example" not in str(other.local)
    assert other.local != place("s3://bucket/runs").local


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://ada:lovelace@bucket/runs", r"s3://bucket/runs: holds a user name or a password; .*AWS_ACCESS_KEY_ID"),
        ("s3://bucket/runs?secret_key=lovelace", "s3://bucket/runs: its query holds a key"),
        ("s3://bucket/runs?session_token=lovelace", "its query holds a token"),
        ("s4://bucket/runs", r"s4://bucket/runs: expected a folder or one of s3://, .*did you mean 's3'\?"),
        ("s3:///runs", "names no bucket; expected e.g. s3://bucket/runs"),
        ("file://shared/runs", "expected an absolute path with three slashes"),
    ],
)
def test_refused(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        place(uri)
    assert "lovelace" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_missing_is_named() -> None:
    """adlfs is no dependency of eqbench."""
    with pytest.raises(InputError, match=r"az:// needs the package adlfs, .*pip install adlfs, on every machine"):
        assert place("az://container/runs").remote


def test_a_container_of_azure_is_no_user() -> None:
    assert place("abfs://runs@account.dfs.core.windows.net/a").shown == "abfs://runs@account.dfs.core.windows.net/a"


def remotes(tmp_path: Path) -> list[Remote]:
    memory = fs._MockFileSystem()
    memory.create_dir("runs")
    return [Remote(memory, "runs", "mock://runs"), Remote.of(f"file://{tmp_path}/there")]


@pytest.mark.parametrize("which", [0, 1], ids=["mock", "file"])
def test_files(which: int, tmp_path: Path) -> None:
    there = remotes(tmp_path)[which]
    assert there.list() == {}
    assert there.read("a/b.txt") is None
    assert not there.download("a/b.txt", tmp_path / "here")
    there.write("a/b.txt", b"one")
    there.write("a/b.txt", b"three")
    (tmp_path / "source").write_bytes(b"long")
    with (tmp_path / "source").open("rb") as source:
        (tmp_path / "source").unlink()
        there.upload("c.txt", source)
    assert {path: stamp[0] for path, stamp in there.list().items()} == {"a/b.txt": 5, "c.txt": 4}
    assert set(there.list(recursive=False)) == {"a", "c.txt"}
    assert list(there.stamps(["c.txt", "d.txt"])) == ["c.txt"]
    assert there.download("a/b.txt", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"three"
    there.delete("a/b.txt")
    there.delete("a/b.txt")
    there.delete_folder("a")
    there.delete_folder("a")
    assert list(there.list()) == ["c.txt"]


def test_what_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, pauses, tries = remotes(tmp_path)[1], [], []
    monkeypatch.setattr("eqbench.storage.remote.time.sleep", pauses.append)

    def act() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the line is dead")
        return "answer"

    assert there._tried("read", "a", act) == "answer"
    assert pauses == [0.5, 1.0]

    with pytest.raises(RemoteProblem, match=rf"cannot write file://{tmp_path}/there/a: the line is dead"):
        there._tried("write", "a", lambda: (_ for _ in ()).throw(OSError("the line\n is dead")))
    assert issubclass(RemoteProblem, EnvironmentProblem)
