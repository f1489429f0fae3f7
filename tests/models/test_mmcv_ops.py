"""What takes the place of mmcv's extension: when it does, what mmcv makes of it, what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from eqbench.errors import EnvironmentProblem
from eqbench.models import mmcv_ops

HERE = Path(__file__).parent


def run(*arguments: str) -> str:
    """What a fresh interpreter prints: modules put into sys.modules do not reach other tests."""
    done = subprocess.run([sys.executable, "-W", "ignore", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("operator", ["batched_nms", "roi_align"])
def test_it_comes_before_mmdet(monkeypatch: pytest.MonkeyPatch, operator: str) -> None:
    early = ModuleType("mmdet.imported.early")
    exec(f"def {operator}(): pass", vars(early))
    monkeypatch.setitem(sys.modules, early.__name__, early)
    with pytest.raises(EnvironmentProblem, match=r"mmdet\.imported\.early was imported before .*install"):
        mmcv_ops.install()


def test_mmcv_calls_them_and_names_what_is_missing() -> None:
    warning, message = run(str(HERE / "mmcv_calls.py")).splitlines()
    expected = "mmcv's compiled operators do not load (undefined symbol: _ZN3c10); torchvision's are used"
    assert expected in warning
    assert message.startswith("mmcv's operator 'roi_pool_forward' is compiled code")
    assert "install an mmcv compiled with its operators" in message


COMPILED = """
import sys, types, warnings
class Compiled(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: "compiled"
compiled = sys.modules["mmcv._ext"] = Compiled("mmcv._ext")
from eqbench.models import mmcv_ops
mmcv_ops.install()
import mmcv.ops
assert sys.modules["mmcv._ext"] is compiled
assert mmcv.ops.get_compiler_version() == "compiled"
assert mmcv.ops.batched_nms is mmcv_ops.batched_nms
"""


def test_a_compiled_extension_is_left_alone() -> None:
    run("-c", COMPILED)
