"""Which folder a storage is worked in, and what a URI may hold."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from mirrored_runs import Machine
from pyarrow import fs
from s3_server import CREDENTIALS

from eqbench.cli_options import storage_folder
from eqbench.errors import EnvironmentProblem, InputError
from eqbench.storage.place import IDENTITY, MARKER, place, place_of, uri_of
from eqbench.storage.remote import Remote, RemoteProblem
from eqbench.storage.suite_mirror import fetch_suite


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
        ("s3://bucket/runs?secret_key=lovelace", "s3://bucket/runs: its query holds secret_key, a secret by its name"),
        ("s3://bucket/runs?session_token=lovelace", "its query holds session_token"),
        ("s3://bucket/runs?x=1&Access_Key=", "its query holds Access_Key"),
        ("s3://ada:lovelace@[bucket/runs", r"--storage s3://…: is no URI \(Invalid IPv6 URL\)"),
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


@pytest.mark.parametrize("host", ["monkey.example.org", "tokens.example.org"])
def test_a_host_may_have_any_name(host: str) -> None:
    assert place(f"s3://bucket/runs?endpoint_override={host}").uri


def test_a_slash_at_the_end_is_no_other_place() -> None:
    assert place("s3://bucket/runs/?region=x") == place("s3://bucket/runs?region=x")
    assert place("s3://bucket/runs/?") == place("s3://bucket/runs")


def test_a_marker_inside_does_not_lead_elsewhere() -> None:
    here = place("s3://bucket/runs")
    run = here.local / "suite" / "run"
    run.mkdir(parents=True)
    (run / MARKER).write_text('{"uri": "file:///elsewhere"}')
    assert place_of(run) == here


@pytest.mark.parametrize("content", ["", "[]", '{"uri": null}', "{}"])
def test_a_damaged_marker_is_written_anew_by_who_knows_the_uri(content: str) -> None:
    here = place("s3://bucket/runs")
    (here.local / MARKER).write_text(content)
    with pytest.raises(InputError, match=rf"{MARKER}: "):
        place_of(here.local / "suite")
    assert place("s3://bucket/runs") == here
    assert place_of(here.local / "suite") == here


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose storage is known to it."""
    monkeypatch.setattr("eqbench.storage.place.SETTLING_SECONDS", 0.0)
    (tmp_path / "there").mkdir()
    here = place(f"file://{tmp_path}/there")
    assert here.remote
    machine = Machine(here.local, here.remote)
    for iteration in range(machine.start() + 1, 6):
        machine.step(iteration)
        machine.mirror.push(ending=False)
    machine.step(6)
    return machine


def all_of(machine: Machine) -> list[Path]:
    return sorted(path for path in machine.run.path.rglob("*"))


def test_a_share_that_is_not_mounted_changes_nothing_here(share: Machine, tmp_path: Path) -> None:
    (tmp_path / "there").rename(tmp_path / "away")
    before = all_of(share)
    message = rf"^file://{tmp_path}/there: is not the storage that it was \(has no {IDENTITY} any more\); is it mounted"
    with pytest.raises(EnvironmentProblem, match=message):
        share.mirror.fetch()
    (tmp_path / "there").mkdir()
    for act in (share.mirror.fetch, lambda: share.mirror.push(ending=True), lambda: fetch_suite(share.run.path.parent)):
        with pytest.raises(EnvironmentProblem, match=message):
            act()
    with pytest.raises(EnvironmentProblem, match=message):  # nor is anything begun there
        fetch_suite(share.run.path.parents[1] / "another")
    assert [path for path in all_of(share) if path.name != ".lock"] == before
    assert not list((tmp_path / "there").iterdir())
    (tmp_path / "there").rmdir()
    (tmp_path / "away").rename(tmp_path / "there")
    share.mirror.push(ending=False)
    assert Machine(tmp_path / "other", Remote.of(f"file://{tmp_path}/there")).start() == 6


def test_another_share_in_its_place_is_refused_until_it_is_meant(share: Machine, tmp_path: Path) -> None:
    (tmp_path / "there").rename(tmp_path / "away")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / IDENTITY).write_text('{"storage": "x", "since": 1.0}')
    marker = share.run.path.parents[1] / MARKER
    with pytest.raises(EnvironmentProblem, match=rf"has another {IDENTITY}\).*emptied on purpose, delete {marker}"):
        share.mirror.fetch()
    marker.unlink()
    here = place(f"file://{tmp_path}/there")
    assert share.start() == 0
    assert list(share.run.path.glob(".deleted-*/checkpoints/*/state.pt"))
    share.mirror.push(ending=False)
    assert json.loads((here.local / MARKER).read_text()) == {"uri": here.uri, "storage": "x"}


def test_of_two_that_are_the_first_the_last_ones_number_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    here = place(f"file://{tmp_path}/there")
    here.check(begin=True)
    there = tmp_path / "there" / IDENTITY
    first = there.read_text()
    there.write_text(first.replace('"storage": "', '"storage": "1'))
    here.check(begin=True)
    monkeypatch.setattr("eqbench.storage.place.SETTLING_SECONDS", 0.0)
    here.check()
    here.check()
    there.write_text(first)
    with pytest.raises(EnvironmentProblem, match="another"):
        here.check()


def test_a_reader_writes_no_number(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    place(f"file://{tmp_path}/there").check()
    assert not list((tmp_path / "there").iterdir())


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


class Refused(Exception):
    """As azure.core.exceptions or paramiko have their own."""


class Foreign(MemoryFileSystem):  # type: ignore[misc]
    """A file system of fsspec that fails in its own way."""

    protocol = "foreign"

    def _open(self, *_: object, **__: object) -> object:
        raise Refused("503 from\nthe store")


class NoAccount(MemoryFileSystem):  # type: ignore[misc]
    def __init__(self, **_: object) -> None:
        raise ValueError("Must provide either a connection_string or account_name")


def test_errors_of_a_packages_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("eqbench.storage.remote.time.sleep", pauses.append)
    there = Remote(fs.PyFileSystem(fs.FSSpecHandler(Foreign())), "/x", "az://x")
    with pytest.raises(RemoteProblem, match=r"^cannot write az://x/a/b: Refused: 503 from the store$"):
        there.write("a/b", b"x")
    assert pauses == [0.5, 1.0]


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda _: (NoAccount(), "runs"))
    message = r"--storage az://container/runs: ValueError: Must provide .*; set AZURE_STORAGE_ACCOUNT_NAME"
    with pytest.raises(InputError, match=message):
        Remote.of("az://container/runs")


def test_one_client_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"file://{tmp_path}/there"
    first = Remote.of(uri)._system
    assert Remote.of(uri)._system is first
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Remote.of(uri)._system is not first


def test_a_store_that_is_away_is_said_to_be_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of S3 would try for 6 s by itself, three times."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    there, start = Remote.of("s3://bucket/runs"), time.monotonic()
    with pytest.raises(RemoteProblem, match=r"cannot read s3://bucket/runs/a: .*Could not connect to server"):
        there.read("a")
    assert time.monotonic() - start < 10
