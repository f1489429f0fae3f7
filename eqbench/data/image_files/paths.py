"""Paths in lists and annotation files: which ones cannot be those of a data set's images."""

from __future__ import annotations

SHOWN = 80


def path_fault(path: str) -> str:
    """Why an image's path cannot stand in a list or annotation file; empty if it can."""
    if fault := outside_fault(path):
        return fault
    if "\\" in path:
        return f"path {_shown(path)} has a backslash; expected / between folders"
    parts = path.split("/")
    if "." in parts or "" in parts:
        return f"path {_shown(path)} has an empty part or `.`; expected folder/file"
    return ""


def outside_fault(path: str) -> str:
    """Why a path is none below the data set's folder, however it is written; empty if it is one."""
    if "\0" in path:
        return f"path {_shown(path)} has a null character"
    if path.startswith("/") or path[1:3] == ":/":
        return f"path {_shown(path)} is absolute; expected one below the data set's folder"
    if ".." in path.split("/"):
        return f"path {_shown(path)} leads out of the data set's folder by `..`"
    return ""


def _shown(path: str) -> str:
    return repr(path if len(path) <= SHOWN else f"{path[:SHOWN]}...")
