"""A suite file's data and the overrides of the command line; every value knows where it was written."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eqbench.errors import InputError, nearest
from eqbench.suite_yaml import Place, parse
from eqbench.validation import Problem, dotted, show

MAX_BYTES = 1_000_000


class SuiteFile:
    """Plain data of a suite file, and the line or command line argument that each part of it comes from."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.overrides: list[str] = []
        self._overridden: set[Place] = set()
        data, self._sources = parse(text, file)
        if not isinstance(data, dict):
            found = "the file is empty" if data is None else f"the file holds {show(data)}"
            raise InputError(f"{file}: {found}, expected a suite: keys name, tasks, losses, seeds, train")
        self.data: dict[str, Any] = data

    @classmethod
    def read(cls, path: Path) -> SuiteFile:
        """Read and parse a file.

        Raises:
            InputError: it cannot be read, is not UTF-8 text, not YAML, or not a mapping.
        """
        file = _relative_to_here(path)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise InputError(f"{file}: is {kind}, expected a suite file (.yaml)")
            if status.st_size > MAX_BYTES:
                raise InputError(f"{file}: {status.st_size:,} bytes, expected at most {MAX_BYTES:,}")
            return cls(file, path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise InputError(
                f"{file}: not a text file (byte {error.object[error.start]:#04x} at position {error.start}), "
                "expected a suite in YAML"
            ) from error

    def override(self, argument: str) -> None:
        """Apply one `key.key=value`; list entries are addressed by name, label or index.

        `train` and `resources` at the top win over every task's own.

        Raises:
            InputError: the argument is malformed or names a list entry that does not exist.
        """
        origin = "-o " + re.sub(r"(?<=://)[^/@\s]*@", "", argument)  # a password would be in a message, and in logs
        dotted_key, equals, text = argument.partition("=")
        keys = dotted_key.strip().split(".")
        if not equals or not all(keys):
            raise InputError(f"{origin}: expected key=value, e.g. -o train.epochs=2")
        value, _ = parse(text, origin)
        self._assign(keys, value, origin)
        self.overrides.append(argument)
        if keys[0] in ("train", "resources"):
            for task in _entries(self.data.get("tasks")):
                _discard(task, keys)
                for rival in _rivals(keys):
                    _discard(task, rival)

    def problem(self, place: Place, message: str) -> str:
        """One line: where `place` was written, its name, what is wrong."""
        places = (place[:length] for length in range(len(place), 0, -1))
        source = next((self._sources[known] for known in places if known in self._sources), self.file)
        name = dotted(place)
        return f"{source}: {name}: {message}" if name else f"{source}: {message}"

    def inherited(self, task: Place, place: Place) -> Place:
        """Where a value that a task may have of its own is given: `place` inside the task, or at the top."""
        inside: Place = (*task, *place)
        for shorter in (place, place[:2]):
            if _holds(self.data, (*task, *shorter)):
                return inside
            if _holds(self.data, shorter):
                return place
        return place

    def error(self, problems: Iterable[Problem]) -> InputError:
        """All problems, one per line, each once."""
        return InputError("\n".join(dict.fromkeys(self.problem(place, message) for place, message in problems)))

    def _assign(self, keys: Sequence[str], value: Any, origin: str) -> None:
        node: Any = self.data
        place: tuple[Any, ...] = ()
        for depth, key in enumerate(keys):
            in_list = isinstance(node, list)
            place = (*place, _index(node, key, origin, ".".join(keys[:depth])) if in_list else key)
            if depth == len(keys) - 1:
                break
            child = node[place[-1]] if in_list else node.get(key)
            if not isinstance(child, dict | list):
                child = {} if child is None else {"name": child}
                node[place[-1]] = child
                self._sources.setdefault(place, origin)
            node = child
        for rival in _rivals(place):
            if rival not in self._overridden:
                node.pop(rival[-1], None)
        node[place[-1]] = value
        for stale in [known for known in self._sources if known[: len(place)] == place]:
            del self._sources[stale]
        self._sources[place] = origin
        self._overridden.add(place)


def _holds(values: Any, place: Place) -> bool:
    for part in place:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _rivals(keys: Sequence[str | int]) -> list[Place]:
    """The other way to give a training budget: `train.iterations` for `train.epochs`."""
    pair = {"epochs": "iterations", "iterations": "epochs"}
    if len(keys) > 1 and keys[-2] == "train" and keys[-1] in pair:
        return [(*keys[:-1], pair[str(keys[-1])])]
    return []


def _entries(node: object) -> list[dict[str, Any]]:
    return [entry for entry in node if isinstance(entry, dict)] if isinstance(node, list) else []


def _discard(node: Any, keys: Sequence[str | int]) -> None:
    for key in keys[:-1]:
        node = node.get(key)
        if not isinstance(node, dict):
            return
    node.pop(keys[-1], None)


def _index(entries: list[Any], key: str, origin: str, name: str) -> int:
    """Position of the list entry with this name, label or index."""
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    named = [[entry.get("name"), entry.get("label")] if isinstance(entry, dict) else [entry] for entry in entries]
    names = [[value for value in values if isinstance(value, str)] for values in named]
    found = [position for position, known in enumerate(names) if key in known]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{origin}: {name} has {len(found)} entries {key!r}; say which one by its index, e.g. {name}.{found[0]}"
        )
    candidates = [known for values in names for known in values]
    raise InputError(
        f"{origin}: {name} has no entry {key!r}{nearest(key, candidates)} (known: {', '.join(candidates) or 'none'})"
    )


def _relative_to_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
