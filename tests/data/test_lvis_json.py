"""Reading a json file in windows: the same as at once, and what is said where it is cut off or not json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eqbench.data.lvis_index import json_stream
from eqbench.errors import InputError
from tests.data.annotation_files import lvis_content, write


def all_arrays(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    found: dict[str, list[Any]] = {}

    def take(key: str, first: int, records: list[Any]) -> None:
        assert first == len(found.setdefault(key, []))
        found[key] += records

    _, others = json_stream.read_arrays(path, take)
    return found, others


@pytest.mark.parametrize("window", [1, 7, 64, 300, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_is_read_whatever_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_stream, "WINDOW_BYTES", window)
    content = lvis_content(annotations=12) | {
        "texts": [{"text": text} for text in ("}, {", '"}], "images": [{', "\\", "ü€")],
        "nested": [{"parts": [{"a": [1]}, {"a": []}]}, {"parts": [{}, {}]}, {}],
        "plain": [1, 23, "x", None, [], [{}]],
        "number": 1234567,
        "empty": [],
        "object": {"list": [{}]},
    }
    for ascii_only in (True, False):
        path = write(tmp_path / "a.json", content, indent=indent, ensure_ascii=ascii_only)
        found, others = all_arrays(path)
        assert found | others == content


@pytest.mark.parametrize("window", [50, 2**20])
def test_a_file_cut_off_anywhere_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(json_stream, "WINDOW_BYTES", window)
    text = json.dumps(lvis_content(images=3, classes=2, annotations=4))
    for length in range(1, len(text) - 1, 11):
        path = tmp_path / "cut.json"
        path.write_text(text[:length])
        with pytest.raises(InputError, match=rf"cut.json: cut off after {length:,} bytes, .* download it again"):
            all_arrays(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a json object with images, annotations and categories, found an empty file"),
        ("[1]", "found a list"),
        ("\x1f\x8b", "found '\\x1f'"),
        ('{"a": [{"id": 1},\n {"id" 2}, {"id": 3}], "b": [{}]}', "not json at line 2, column 8 (byte 25): a[1]: "),
        ('{"a": [{}, {}}', "not json at line 1, column 14 (byte 13): ',' expected after a[1]"),
        ('{"a": [{}, ]} ', "a comma and nothing after it: a[0]"),
        ('{"a": []} x', "not json at line 1, column 11 (byte 10): the end of the file"),
        ('{"a": x, "long enough": 1}', "not json at line 1, column 7 (byte 6): 'a': Expecting value"),
    ],
)
def test_what_is_not_json(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        all_arrays(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)
