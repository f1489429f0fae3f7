"""The machine's folders, memory and limits."""

from __future__ import annotations

import os
import resource
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from eqbench.doctor.cluster_findings import KEYS
from eqbench.doctor.cluster_probe import remove_marks, unread_marks, write_mark
from eqbench.doctor.report import Check
from eqbench.storage.place import public

GB = 10**9
DISK_WANTED = 5 * GB
SHARED_MEMORY = Path("/dev/shm")
OBJECT_STORE_SHARE = 0.3
OBJECT_STORE_ENOUGH = 10 * GB
OPEN_FILES_WANTED = 4096
OPEN_FILES_GENEROUS = 65536


def storage(given: str | Path) -> list[Check]:
    """Whether results can be written: in a folder, or behind a URI, of which this machine keeps a copy."""
    uri = str(given)
    if "://" not in uri:
        return [disk("storage", Path(given), "--storage FOLDER")]
    folder = f".eqbench-doctor-{uuid.uuid4().hex[:12]}"
    why = write_mark(uri, folder, "mark")
    if not why:
        why = "what is written there cannot be read" if unread_marks(uri, folder, ["mark"]) else ""
        remove_marks(uri, folder)
    check = Check("storage", "problem", f"{public(uri)}: {why}", KEYS) if why else None
    copy = Path(os.environ.get("EQBENCH_CACHE") or "~/.cache/eqbench")
    return [
        check or Check("storage", "ok", f"{public(uri)}: written and read"),
        disk("storage's copy", copy, "export EQBENCH_CACHE=FOLDER"),
    ]


def disk(name: str, folder: Path, elsewhere: str) -> Check:
    """Whether a folder, or the nearest one above it that exists, can be written and has room."""
    place = folder.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        return Check(name, "problem", f"{folder}: {place} is not a folder that can be written", elsewhere)
    free = shutil.disk_usage(place).free
    found = f"{folder}: {free / GB:.1f} GB free"
    if free < DISK_WANTED:
        fix = f"free some space, or use another disk: {elsewhere}"
        return Check(name, "warning", f"{found}, {DISK_WANTED / GB:.0f} GB are advisable", fix)
    return Check(name, "ok", found)


def ray_folder(environment: Mapping[str, str]) -> Path:
    """Where Ray keeps its sockets, logs and spilled objects."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp") / "ray"


def memory_sizes() -> tuple[int, int | None]:
    """Bytes of memory, and of free shared memory or None where the system has no such folder."""
    import psutil

    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    return int(psutil.virtual_memory().total), shared


def shared_memory(memory: int, shared: int | None) -> Check:
    """Whether shared memory holds what Ray's object store wants: 30 % of the memory, at most 10 GB here."""
    if shared is None:
        return Check("shared memory", "ok", f"no {SHARED_MEMORY} on this system")
    wanted = min(OBJECT_STORE_SHARE * memory, OBJECT_STORE_ENOUGH)
    found = f"{SHARED_MEMORY}: {shared / GB:.1f} GB free of {memory / GB:.1f} GB memory"
    if shared >= wanted:
        return Check("shared memory", "ok", found)
    size = f"{max(1, round(wanted / GB))}g"
    fix = f"sudo mount -o remount,size={size} {SHARED_MEMORY}   (in Docker: docker run --shm-size={size} …)"
    found += "; Ray's object store falls back to disk, loader processes may fail"
    return Check("shared memory", "warning", found, fix)


def open_files_limits() -> tuple[int, int]:
    """The soft and the hard limit of open files, as `resource` gives them."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def open_files(soft: int, hard: int) -> Check:
    """Whether a process may open as many files as Ray's processes do."""
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_WANTED:
        return Check("open files", "ok", "unlimited" if soft == resource.RLIM_INFINITY else str(soft))
    possible = OPEN_FILES_GENEROUS if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_GENEROUS)
    fix = f"ulimit -n {possible}"
    if possible < OPEN_FILES_WANTED:
        fix = f"as root, in /etc/security/limits.conf: * - nofile {OPEN_FILES_GENEROUS}"
    return Check("open files", "warning", f"{soft}, {OPEN_FILES_WANTED} are advisable", fix)
