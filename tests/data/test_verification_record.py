"""The record of a verification: where it is, what replaces it, what happens where nothing can be written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eqbench import __version__, file_lock
from eqbench.data.verification import record


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def write(root: Path, digest: str = "d1", level: str = "fast", content: str | None = None) -> Path | None:
    return record.write(root, name="lvis", digest=digest, level=level, content_digest=content)


def test_it_is_beside_the_data_and_found_by_its_digest(root: Path) -> None:
    assert write(root) == root / record.NAME
    write(root, "d2", "deep", "c2")
    found = record.find(root, "d2")
    assert found is not None
    assert found.pop("date").endswith("+00:00")
    assert found == {"name": "lvis", "digest": "d2", "level": "deep", "content_digest": "c2", "version": __version__}
    assert (record.find(root, "d1") or {})["level"] == "fast"
    assert record.find(root, "d3") is None
    assert record.find(root / "elsewhere", "d1") is None
    assert sorted(file.name for file in root.iterdir()) == [record.NAME, f"{record.NAME}.lock"]


def test_of_several_processes_one_writes_at_a_time(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PATIENCE_SECONDS", 0.0)
    with file_lock.hold(root / f"{record.NAME}.lock", 0.0):
        place = write(root)
    assert place is not None
    assert place.parent == tmp_path / "cache"


def test_none_is_lost_when_many_are_written(root: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: write(root, f"d{number}"), range(24))) == {root / record.NAME}
    assert all(record.find(root, f"d{number}") for number in range(24))


def test_a_fast_one_does_not_replace_a_deep_one_but_another_deep_one_does(root: Path) -> None:
    write(root, level="deep", content="old")
    write(root)
    assert (record.find(root, "d1") or {})["content_digest"] == "old"
    write(root, level="deep", content="new")
    assert (record.find(root, "d1") or {})["content_digest"] == "new"


def test_it_is_forgotten(root: Path) -> None:
    write(root)
    write(root, "d2")
    record.forget(root, "d1")
    record.forget(root, "d3")
    assert record.find(root, "d1") is None
    assert record.find(root, "d2") is not None


def test_where_the_data_cannot_be_written_to_it_is_in_the_cache(root: Path, tmp_path: Path) -> None:
    (root / record.NAME).mkdir()  # nothing can be put in its place, not even by root
    place = write(root)
    assert place is not None
    assert place.parent == tmp_path / "cache"
    assert record.find(root, "d1") is not None


def test_where_nothing_can_be_written_there_is_none(root: Path, tmp_path: Path) -> None:
    (root / record.NAME).mkdir()
    (tmp_path / "cache").touch()
    assert write(root) is None
    assert record.find(root, "d1") is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 2, "records": {"d1": {"level": "deep"}}}', '{"format": 1, "records": {"d1": 3}}']
)
def test_a_damaged_one_is_none_and_is_replaced(content: str, root: Path) -> None:
    (root / record.NAME).write_text(content)
    assert record.find(root, "d1") is None
    write(root)
    assert record.find(root, "d1") is not None
