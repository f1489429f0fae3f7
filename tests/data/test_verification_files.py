"""Files of a data set: which are missing and what is there instead, what looking into them finds, crashes too."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from eqbench.data.verification import Findings
from eqbench.data.verification.deep import scan
from eqbench.data.verification.existence import missing_files
from eqbench.data.verification.progress import progress_for
from eqbench.errors import InputError
from tests.data.annotation_files import Content, write_lvis
from tests.data.verified_files import contents

# -- existence ---------------------------------------------------------------------------------------------------


def missing(root: Path, *paths: str) -> Findings:
    found = Findings()
    told = missing_files(root, {"val": paths}, found, where_to_get="ask")
    assert told == {path for path in paths if not (root / path).is_file()}
    return found


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_nothing_is_missing_through_links(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.jpg", "2.jpg")
    (tmp_path / "linked").symlink_to("real/a")
    (tmp_path / "3.jpg").symlink_to("2.jpg")
    assert missing(tmp_path, "real/a/1.jpg", "linked/1.jpg", "2.jpg", "3.jpg").ok


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        (["a/2.jpg"], "a/1.jpg", "a/1.jpg (val)"),
        (["a/1.JPEG"], "a/1.jpg", "a/1.jpg (val); there is 1.JPEG"),
        (["a/1.jpg/2.jpg"], "a/1.jpg", "a/1.jpg (val): a folder of this name"),
    ],
)
def test_a_missing_file_is_named(there: list[str], wanted: str, said: str, tmp_path: Path) -> None:
    touch(tmp_path, *there)
    kind = missing(tmp_path, wanted).problems["files missing"]
    assert (kind.items, kind.advice) == ([said], "ask")


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").symlink_to("gone/1.jpg")
    assert missing(tmp_path, "1.jpg").problems["files missing"].items == [
        "1.jpg (val): a link to gone/1.jpg, which does not exist"
    ]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([], ""),
        (["train.tar"], "; train.tar is there: unpack it"),
        (["images/train/x.jpg"], "; there is images/train: move or link it"),
        (["Train_256/x.jpg"], "; did you mean 'Train_256'?"),
    ],
)
def test_a_missing_folder_is_named_once(there: list[str], said: str, tmp_path: Path) -> None:
    touch(tmp_path, *there)
    kind = missing(tmp_path, "train/n1/1.jpg", "train/n1/2.jpg", "train/n2/1.jpg").problems["folders missing"]
    assert kind.items == [f"train: no such folder; 3 files are expected in it{said}"]
    assert kind.number == 3


def test_names_that_the_locale_does_not_allow_are_the_environments_problem(tmp_path: Path) -> None:
    def with_an_accent(content: Content) -> None:
        content["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/caf\xe9.jpg"

    write_lvis(tmp_path, change=with_an_accent)
    program = "from eqbench.cli import main; main()"
    command = [sys.executable, "-c", program, "data", "verify", "lvis", "--root", str(tmp_path)]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (3, "")
    reason = "file names need a UTF-8 locale, here they are in ascii; set LC_ALL=C.UTF-8"
    assert run.stderr == f"eqbench: 'train2017/caf\\xe9.jpg': {reason}\n"


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a/\\ud800.jpg': no file can have this name"):
        missing_files(tmp_path, {"val": ["a/\ud800.jpg"]}, Findings())


def test_names_that_are_not_utf_8_can_be_looked_for_and_printed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    kind = missing(tmp_path, "a/caf\udce9.jpg").problems["files missing"]
    assert kind.items == ["a/caf\\udce9.jpg (val)"]


# -- looking into them -------------------------------------------------------------------------------------------


def look(root: Path, files: dict[str, str], missing: tuple[str, ...] = ()) -> tuple[str | None, Findings, str]:
    found, screen = Findings(), io.StringIO()
    digest = scan(root, contents(root, files), found, Console(file=screen, width=200), missing=missing, workers=2)
    return digest, found, screen.getvalue()


def test_the_digest_is_that_of_what_sha256sum_prints(tmp_path: Path) -> None:
    files = {f"{number % 3}/{number}.txt": f"text {number}" for number in range(70)}
    digest, found, screen = look(tmp_path, files)
    lines = [f"{hashlib.sha256(files[path].encode()).hexdigest()}  {path}\n" for path in sorted(files)]
    assert digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert found.ok
    assert screen.splitlines()[-1].startswith("100 %  70 of 70 files, 0 with problems")
    assert len(screen.splitlines()) <= 10
    assert multiprocessing.active_children() == []


def test_each_bad_file_is_named_and_the_rest_is_looked_into(tmp_path: Path) -> None:
    files = {f"{number}.txt": "fine" for number in range(80)}
    files |= {"3.txt": "bad", "40.txt": "crash", "41.txt": "bad", "42.txt": "odd", "79.txt": "raise"}
    digest, found, screen = look(tmp_path, files)
    assert digest is None
    assert {kind: each.items for kind, each in found.problems.items()} == {
        "bad files": sorted(found.problems["bad files"].items),
        "files whose check failed": ["79.txt: MemoryError: too large"],
        "files that end the process which reads them": ["40.txt: the process was ended by SIGSEGV"],
    }
    assert sorted(found.problems["bad files"].items) == ["3.txt: bad", "41.txt: bad"]
    assert found.notes["odd files"].items == ["42.txt: odd"]
    assert "100 %  80 of 80 files, 4 with problems" in screen


def test_what_is_missing_or_unreadable_gives_no_digest(tmp_path: Path) -> None:
    digest, found, _ = look(tmp_path, {"1.txt": "fine", "2.txt": "fine"}, missing=("2.txt",))
    assert (digest, found.ok) == (None, True)
    files = contents(tmp_path, {"1.txt": "fine", "2.txt": "fine"})
    (tmp_path / "2.txt").unlink()
    found = Findings()
    assert scan(tmp_path, files, found, Console(file=io.StringIO()), workers=1) is None
    assert found.problems["files that cannot be read"].items == ["2.txt: No such file or directory"]


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from rich.console import Console
from eqbench.data.verification import Findings, workers
from eqbench.data.verification.deep import scan
from tests.data.verified_files import contents

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background inherits that it is ignored
    root = Path(sys.argv[1])
    workers.PRELOADED = ("tests.data.verified_files",)  # and no decoders, which take seconds to import
    try:
        print("started", flush=True)
        files = {f"{number:02}.txt": "fine" for number in range(32)} | {"last.txt": "wait"}
        scan(root, contents(root, files), Findings(), Console(), workers=1)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("until", ["started", "32 of 33"])
def test_ctrl_c_ends_all_processes(until: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(INTERRUPTED)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, **output, start_new_session=True, env={**os.environ, **path})
    assert process.stdout is not None
    while until not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=30)  # until no process is left that could write to it
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "")


def test_progress_is_a_line_at_every_tenth_without_a_terminal() -> None:
    screen = io.StringIO()
    with progress_for(Console(file=screen, width=40), 1000) as shown:
        for number in range(1000):
            shown.advance(1, bad=number == 499)
    lines = screen.getvalue().splitlines()
    assert [line[:5] for line in lines] == [f"{10 * tenth:3d} %" for tenth in range(1, 11)]
    assert lines[3].startswith(" 40 %  400 of 1,000 files, 0 with problems, ")
    assert lines[4].startswith(" 50 %  500 of 1,000 files, 1 with problems, ")
    assert lines[-1] == "100 %  1,000 of 1,000 files, 1 with problems"


def test_progress_is_a_bar_on_a_terminal() -> None:
    screen = io.StringIO()
    with progress_for(Console(file=screen, width=120, force_terminal=True), 10) as shown:
        shown.advance(4, bad=2)
    assert "4/10" in screen.getvalue()
    assert "2 with problems" in screen.getvalue()


# -- findings ----------------------------------------------------------------------------------------------------


def test_further_findings_of_a_kind_are_counted() -> None:
    found = Findings(limit=2)
    for number in range(5):
        found.problem("files missing", f"{number}.jpg", advice="ask" if number else "", number=number + 1)
    found.note("odd", "one")
    kind = found.problems["files missing"]
    assert (kind.items, kind.number, kind.left_out, kind.advice) == (["0.jpg", "1.jpg"], 15, 12, "ask")
    assert not found.ok
    assert found.as_json()["notes"] == [{"kind": "odd", "number": 1, "items": ["one"], "advice": ""}]
    everything = Findings(limit=None)
    for number in range(50):
        everything.note("odd", str(number))
    assert len(everything.notes["odd"].items) == 50
    assert everything.ok
