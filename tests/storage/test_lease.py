"""The claim of a driver to a suite: who has it, by whose clock, and what becomes of it in the hands of its thread."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Machines, until

from eqbench.errors import EnvironmentProblem
from eqbench.run_folder import SuiteFolder
from eqbench.storage import lease
from eqbench.storage.lease import Lease
from eqbench.storage.place import Place
from eqbench.storage.remote import Remote

LONG = 3600.0


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.0)
    return Machines(tmp_path, monkeypatch)


@pytest.fixture
def leases() -> Iterator[list[Lease]]:
    """Those that a test has taken; given back at its end."""
    taken: list[Lease] = []
    yield taken
    for each in taken:
        each.release()


def lease_of(here: Place, leases: list[Lease]) -> Lease:
    folder = here.local / "suite"
    folder.mkdir(exist_ok=True)
    assert here.remote
    leases.append(Lease(here.remote, "suite", folder))
    return leases[-1]


def claim(on: Machines) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((on.there / "suite" / lease.FILE).read_text())
    return content


def rewrite(on: Machines, *, seconds_ago: float = 0.0, **changes: Any) -> None:
    """Change what a claim says, and when it was written by the clock of the store."""
    file = on.there / "suite" / lease.FILE
    file.write_text(json.dumps({**claim(on), **changes}))
    then = time.time() - seconds_ago
    os.utime(file, (then, then))


@pytest.mark.parametrize("renewed", [0.0, None, "x", -LONG])
def test_a_living_driver_whose_clock_is_behind_is_not_taken_for_gone(
    on: Machines, leases: list[Lease], renewed: Any
) -> None:
    lease_of(on("one"), leases).acquire()
    rewrite(on, renewed=time.time() + renewed if renewed == -LONG else renewed)
    two = lease_of(on("two"), leases)
    with pytest.raises(EnvironmentProblem, match=r"\(one, pid \d+\)"):
        two.acquire()
    assert sorted(file.name for file in (on.there / "suite").iterdir()) == [lease.FILE]


def test_a_driver_that_is_gone_whose_clock_was_ahead_is_no_obstacle(on: Machines, leases: list[Lease]) -> None:
    lease_of(on("one"), leases).acquire()
    rewrite(on, renewed=time.time() + LONG, seconds_ago=lease.SECONDS + 1)
    here = on("two")
    assert here.remote
    assert not lease.holder_of(here.remote, f"suite/{lease.FILE}", here.local / "suite")
    lease_of(here, leases).acquire()
    assert claim(on)["host"] == "two"


def test_the_clock_of_a_machine_does_not_matter_to_whom_it_gives_way(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_of(on("one"), leases).acquire()
    monkeypatch.setattr(lease.time, "time", lambda now=time.time: now() + LONG)
    with pytest.raises(EnvironmentProblem, match=r"\(one, pid"):
        lease_of(on("two"), leases).acquire()


@pytest.mark.parametrize("gone", [False, True])
def test_whose_clock_is_behind_gets_a_suite_as_soon_as_others(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """It asks the store what time it is; who only looks, and writes nothing there, does not know."""
    lease_of(on("one"), leases).acquire()
    rewrite(on, seconds_ago=lease.SECONDS + 1 if gone else 0.0)
    monkeypatch.setattr(lease.time, "time", lambda now=time.time: now() - LONG)
    folder = SuiteFolder(on("two").local, "suite")
    folder.create()
    assert not folder.locked
    claimed = pytest.raises(EnvironmentProblem, match=r"there/suite: .*\(one, pid \d+\).* 180 s after the last renewal")
    with contextlib.nullcontext() if gone else claimed, folder.lock():
        pass
    assert sorted(file.name for file in (on.there / "suite").iterdir()) == [lease.FILE]


def test_a_store_that_says_no_times_is_asked_for_those_of_the_driver(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_of(on("one"), leases).acquire()
    stamps = Remote.stamps
    monkeypatch.setattr(
        Remote, "stamps", lambda self, paths: {path: (size, 0) for path, (size, _) in stamps(self, paths).items()}
    )
    here = on("two")
    two = lease_of(here, leases)
    with pytest.raises(EnvironmentProblem, match=r"\(one, pid"):
        two.acquire()
    assert here.remote
    assert lease.holder_of(here.remote, f"suite/{lease.FILE}", here.local / "suite")
    rewrite(on, renewed=time.time() - lease.SECONDS - 1)
    assert not lease.holder_of(here.remote, f"suite/{lease.FILE}", here.local / "suite")
    two.acquire()


def test_a_machine_of_the_same_name_and_path_is_another_one(on: Machines, leases: list[Lease]) -> None:
    """Containers are often called alike. The lock of one cannot be seen in the other."""
    here = on("one")
    lease_of(here, leases).acquire()
    lease_of(here, leases).acquire()  # what the folder's lock allows
    (here.local / "suite" / lease.FOLDER_ID).write_text("another")
    with pytest.raises(EnvironmentProblem, match=r"\(one, pid"):
        lease_of(here, leases).acquire()
    shutil.rmtree(here.local)
    with pytest.raises(EnvironmentProblem, match=r"\(one, pid"):
        lease_of(on("one"), leases).acquire()


def test_who_writes_slowly_looks_and_writes_again(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have looked, written and settled meanwhile, before the slow write arrived."""
    monkeypatch.setattr(lease, "SETTLING_SECONDS", 0.5)
    writes: list[str] = []
    write = Remote.write

    def slow(self: Remote, path: str, content: bytes) -> None:
        writes.append(path)
        time.sleep(0.6 if len(writes) == 1 else 0.0)
        write(self, path, content)

    monkeypatch.setattr(Remote, "write", slow)
    lease_of(on("one"), leases).acquire()
    assert writes == [f"suite/{lease.FILE}"] * 2


def test_who_was_overwritten_after_it_settled_hears_of_it_soon(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "FIRST_RENEWED_AFTER", 0.2)
    one = lease_of(on("one"), leases)
    lease.SETTLING_SECONDS = 0.05
    one.acquire()
    rewrite(on, owner="somebody", host="two", pid=2)
    until(lambda: one.lost)
    assert one.lost == "two, pid 2"
    with pytest.raises(EnvironmentProblem, match=r"\(two, pid 2\)"):
        one.check()
    one.release()
    assert claim(on)["owner"] == "somebody"


def test_a_claim_is_renewed_whatever_comes_between(
    on: Machines, leases: list[Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "FIRST_RENEWED_AFTER", 0.01)
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.01)
    one = lease_of(on("one"), leases)
    one.acquire()
    before = claim(on)["renewed"]
    until(lambda: claim(on)["renewed"] > before)
    raised: list[Exception] = []

    def fail(*_: Any) -> bytes:
        raised.append(AttributeError("of a package") if len(raised) % 2 else EnvironmentProblem("away"))
        raise raised[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "read", fail)
        until(lambda: len(raised) > 3)
    before = claim(on)["renewed"]
    until(lambda: claim(on)["renewed"] > before)
