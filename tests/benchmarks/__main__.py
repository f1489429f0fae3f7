"""Measures what eqbench costs and prints Markdown tables: `make bench`, or `python -m tests.benchmarks NAME...`.

Everything runs in a temporary folder, in a Ray of its own, on two cores. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import tempfile
from pathlib import Path

BENCHMARKS = {
    "startup": "seconds from `eqbench run quickstart` to the first training step",
    "step_time": "step time in Ray Train against the same loop without Ray",
    "sweep_overhead": "seconds that a sweep adds to each of 50 short trials",
    "recording": "what events, gradient statistics, checkpoints and MLflow cost",
    "losses": "time and memory of the losses beside eager spellings and other implementations",
    "lvis_index": "building and opening the index of an LVIS-size file, beside lvis, pycocotools and hotcoco",
    "image_loading": "images per second from disk to a ready batch beside torchvision's ImageFolder; waiting for data",
    "scaling": "the same suite with one and two runs at once; what the driver of 200 queued runs costs",
    "leaderboard_size": "every format of the leaderboard, and the frame, from a storage of 10,000 runs",
    "losses_gpu": "the same on a GPU, beside reading the logits and writing the gradient; nothing without one",
}
ROOT = Path(__file__).resolve().parents[2]
CORES = 2
INHERITED = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "EQBENCH_STORAGE")


def main() -> None:
    listing = "\n".join(f"  {name:<16}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; all by default")
    chosen = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(chosen) - set(BENCHMARKS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(BENCHMARKS)}")

    scratch = Path(tempfile.mkdtemp(prefix="eqbench-"))
    try:
        prepare(scratch)
        run(chosen, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prepare(scratch: Path) -> None:
    """Two cores, one thread per process, nothing of this machine's settings, nothing left behind."""
    os.chdir(ROOT)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])
    for name in INHERITED:
        os.environ.pop(name, None)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "RAY_TMPDIR": str(scratch)}
    tempfile.tempdir = str(scratch)


def run(names: list[str], scratch: Path) -> None:
    """Print conditions and tables as they come."""
    from tests.benchmarks.report import describe_conditions

    print(describe_conditions(), end="\n\n", flush=True)
    for name in names:
        benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        for table in benchmark.measure(scratch / name):
            print(table, flush=True)


if __name__ == "__main__":
    main()
