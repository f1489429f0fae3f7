"""One reader of annotations in its own process: `python -m tests.benchmarks.lvis_index_worker WHAT FILE OUTPUT`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PEERS = ("lvis.LVIS", "pycocotools COCO", "hotcoco LVIS")
PATIENCE_SECONDS = 120


def main() -> None:
    what, file, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    read = reader(what, file)
    start = time.perf_counter()
    kept = read()
    result: dict[str, Any] = {"seconds": time.perf_counter() - start, "private": private_bytes()}
    result["peak"] = peak_bytes()
    if what in ("open", "pair"):
        result["index_bytes"] = kept.index.bytes
        result["record_microseconds"] = read_epoch(kept)
        if what == "pair":
            wait_for_the_other(output, "read")
        result["private_after"] = private_bytes()
        if what == "pair":
            wait_for_the_other(output, "measured")
    output.write_text(json.dumps(result))


def reader(what: str, file: Path) -> Callable[[], Any]:
    """What loads the file; its imports are done."""
    match what:
        case "lvis.LVIS":
            from lvis import LVIS

            return lambda: LVIS(str(file))
        case "pycocotools COCO":
            from pycocotools.coco import COCO

            return lambda: COCO(str(file))
        case "hotcoco LVIS":
            import hotcoco

            return lambda: hotcoco.LVIS(str(file))
    from eqbench.data.lvis_index import IndexedImages, open_index
    from eqbench.data.lvis_index.storage import index_folders

    if what == "build":
        shutil.rmtree(index_folders(file)[0], ignore_errors=True)
    return lambda: IndexedImages(
        open_index(file), file.parent, lambda index, image: index.url_path(image), masks=True, keep_empty=False
    )


def read_epoch(images: Any) -> float:
    """Microseconds per 10 annotations, of records in a random order."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(images))
    start = time.perf_counter()
    annotations = sum(len(images.record(index)["instances"]) for index in order)
    seconds = time.perf_counter() - start
    images.classes()
    return 1e7 * seconds / annotations


def wait_for_the_other(output: Path, done: str) -> None:
    """Until both processes have come as far; what both have mapped is then not private."""
    output.with_suffix(f".{done}").touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(output.parent.glob(f"pair*.{done}"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)


def peak_bytes() -> int:
    """Most memory that this process had resident; `ru_maxrss` would begin with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def private_bytes() -> int:
    """Memory of this process that it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
