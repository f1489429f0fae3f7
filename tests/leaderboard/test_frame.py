from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from written_suites import COST, make_spec, top1, write_run, write_suite

import eqbench
from eqbench.errors import InputError
from eqbench.leaderboard.frame import COLUMNS
from eqbench.leaderboard.results import COSTS


def values(frame: pd.DataFrame, **wanted: object) -> list[float]:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return [float(value) for value in frame["value"]]


def test_one_row_for_each_run_and_number(tmp_path: Path) -> None:
    write_suite(tmp_path, {("t", "base"): top1(1, 2), ("t", "eql"): [{"top1": 3.0, "few": 5.0}, "out of memory"]})
    frame = eqbench.leaderboard.load("quickstart", storage=tmp_path)
    assert frame.dtypes.astype(str).to_dict() == COLUMNS
    assert len(frame) == 4 * (2 + len(COSTS))
    assert not frame.duplicated(["run_id", "metric"]).any()
    assert values(frame, metric="top1", loss="base") == [1.0, 2.0]
    assert values(frame, metric="few", status="finished", loss="eql") == [5.0]
    assert values(frame, metric="seconds_per_step", status="finished") == [COST["seconds_per_step"]] * 3
    failed = frame[frame["status"] == "failed"]
    assert (set(failed["seed"]), set(failed["loss"])) == ({1}, {"eql"})
    assert failed["value"].isna().all()
    assert set(frame[frame["baseline"]]["loss"]) == {"base"}
    assert set(frame[frame["main"]]["metric"]) == {"top1"}
    assert frame["run_id"][0] == make_spec("t", "base").run_id


def test_runs_of_another_recipe_are_in_another_column(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "base"): top1(1)})
    write_run(folder, make_spec("t", "base", iterations=800), {"top1": 9.0})
    frame = eqbench.leaderboard.load("quickstart", storage=tmp_path)
    shown = frame[frame["metric"] == "top1"].set_index("column")
    assert shown["value"].to_dict() == {"t": 1.0, "t [iterations 800]": 9.0}
    assert shown["current"].to_dict() == {"t": True, "t [iterations 800]": False}
    assert shown["iterations"].to_dict() == {"t": 400, "t [iterations 800]": 800}


def test_without_names_everything_in_the_storage_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path, {("t", "a"): top1(1)}, suite="one")
    write_suite(tmp_path, {("u", "a"): [None]}, suite="two")
    monkeypatch.setenv("EQBENCH_STORAGE", str(tmp_path))
    frame = eqbench.leaderboard.load()
    assert set(zip(frame["suite"], frame["status"], strict=True)) == {("one", "finished"), ("two", "not run yet")}
    assert frame["finished_at"].isna().all()  # these results do not say when


def test_when_a_run_ended_is_a_time(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1)})
    (run,) = folder.runs()
    run.write_result({**(run.read_result() or {}), "finished_at": 1.8e9})
    frame = eqbench.leaderboard.load("quickstart", storage=tmp_path)
    assert set(frame["finished_at"]) == {pd.Timestamp("2027-01-15 08:00:00", tz="UTC")}


def test_an_unknown_suite_or_an_empty_storage_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing has been run into this folder"):
        eqbench.leaderboard.load(storage=tmp_path)
    write_suite(tmp_path, {("t", "a"): top1(1)})
    with pytest.raises(InputError, match="did you mean 'quickstart'"):
        eqbench.leaderboard.load("quikstart", storage=tmp_path)


def test_importing_eqbench_stays_light() -> None:
    """A process of its own: here, everything has been imported already."""
    code = (
        "import sys, eqbench\n"
        "assert not {'numpy', 'pandas', 'scipy', 'torch', 'eqbench.leaderboard'} & sys.modules.keys()\n"
        "assert callable(eqbench.leaderboard.load)\n"
        "assert not {'pandas', 'torch', 'scipy.stats'} & sys.modules.keys()\n"
        "assert not hasattr(eqbench, 'leaderbord')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("ended", [1e30, -1.0, True, "today", 2**34])
def test_a_time_that_is_none(tmp_path: Path, ended: object) -> None:
    folder = write_suite(tmp_path, {("t", "a"): top1(1)})
    (run,) = folder.runs()
    run.write_result({**(run.read_result() or {}), "finished_at": ended})
    frame = eqbench.leaderboard.load("quickstart", storage=tmp_path)
    assert frame["finished_at"].isna().all()


def test_the_storage_may_be_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_suite(tmp_path / "runs", {("t", "a"): top1(1)})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(eqbench.leaderboard.load("quickstart", storage="~/runs"))
    assert len(eqbench.leaderboard.load(storage="~/runs"))
