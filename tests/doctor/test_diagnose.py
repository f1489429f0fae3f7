"""The doctor as a whole: what it reports, and that nothing broken stops it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from eqbench import doctor
from eqbench.doctor import Check


@pytest.fixture(autouse=True)
def no_store_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_complete_installation_has_no_problem_in_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checks = {check.name: check for check in doctor.diagnose(tmp_path / "runs")}
    for name in ("python", "packages", "torch", "mmdet", "ray dashboard", "mlflow store", "storage"):
        assert checks[name].status == "ok", checks[name]
    assert list(tmp_path.iterdir()) == []


def test_a_storage_behind_a_uri_is_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shared").mkdir()
    uri = (tmp_path / "shared").as_uri()
    found = {check.name: check for check in doctor.diagnose(uri)}
    assert (found["storage"].status, found["storage"].found) == ("ok", f"{uri}: written and read")
    assert (found["storage's copy"].status, list((tmp_path / "shared").iterdir())) == ("ok", [])
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").touch()
    unusable = {check.name: check for check in doctor.diagnose((tmp_path / "file").as_uri())}["storage"]
    assert (unusable.status, bool(unusable.fix)) == ("problem", True)
    assert unusable.found.startswith(f"{(tmp_path / 'file').as_uri()}: ")


def test_whatever_is_not_ok_comes_with_a_fix() -> None:
    assert all(check.fix for check in doctor.diagnose() if check.status != "ok")


def test_a_broken_torch_is_reported_and_does_not_stop_the_other_checks() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from eqbench import doctor; checks = doctor.diagnose(); "
        "print(doctor.as_json(checks)); sys.exit(doctor.exit_code(checks))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    status = {check["name"]: check["status"] for check in json.loads(answer.stdout)}
    assert status["torch"] == status["gpu"] == status["bf16"] == "problem"
    assert status["packages"] == "ok"
    assert answer.returncode == 3


def test_report_keeps_every_fix_on_one_line_and_shows_text_as_it_is() -> None:
    fix = "python -m pip install -c constraints.txt 'ray[default,train,tune]>=2.60' " + "x" * 100
    checks = [Check("ray", "problem", "missing, expected ray[default]", fix), Check("gpu", "ok", "none: CPU only")]
    output = io.StringIO()
    doctor.print_report(checks, Console(file=output, width=60))
    assert f"ray: {fix}\n" in output.getvalue()
    assert "ray[default]" in output.getvalue()
    assert output.getvalue().endswith("1 ok, 0 to note, 1 to mend\n")


def test_json_has_every_field() -> None:
    check = Check("gpu", "ok", "none: CPU only")
    assert json.loads(doctor.as_json([check])) == [
        {"name": "gpu", "status": "ok", "found": "none: CPU only", "fix": ""}
    ]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 3)])
def test_only_a_problem_changes_the_exit_code(status: doctor.Status, code: int) -> None:
    assert doctor.exit_code([Check("a", "ok", ""), Check("b", status, "")]) == code
