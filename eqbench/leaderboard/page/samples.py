"""Small pictures of samples of the rarest classes with what was predicted: of each loss, those of one run."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from eqbench.leaderboard.page.tables import text
from eqbench.plots.stored import StoredRun

MOST_LOSSES = 6
MOST_PICTURES = 12
MOST_ROWS = 4
WIDTH = 640
"""Pixels; the pages shows them at somewhat more than half of it."""
QUALITY = 55
CAPTION = (
    "Labelled on the left, predicted on the right of each picture; of each loss, the first seed that keeps pictures."
)


def table(losses: Mapping[str, Sequence[StoredRun]]) -> str:
    """A column for each loss, a row for each sample; empty where no run keeps any."""
    found = {label: files for label, runs in losses.items() if (files := _files(runs))}
    shown = dict(list(found.items())[:MOST_LOSSES])
    if not shown:
        return ""
    rows = max(2, min(MOST_ROWS, MOST_PICTURES // len(shown)))
    names = sorted({name for files in shown.values() for name in files})
    names = sorted(sorted(names, key=lambda name: -sum(name in files for files in shown.values()))[:rows])
    heads = "".join(f'<th scope="col">{text(label)}</th>' for label in shown)
    lines = "".join(
        f"<tr>{''.join(_cell(label, name, files.get(name)) for label, files in shown.items())}</tr>" for name in names
    )
    rest = f" {len(found) - len(shown)} further losses keep pictures too." if len(found) > len(shown) else ""
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="Samples"><table class="samples"><thead><tr>{heads}'
        f'</tr></thead><tbody>{lines}</tbody></table></div><p class="quiet">{CAPTION}{rest}</p>'
    )


def _files(runs: Sequence[StoredRun]) -> dict[str, Path]:
    """Pictures by their names, of the first run that has any."""
    for run in runs:
        if files := sorted(run.folder.samples.glob("*.png")):
            return {file.name: file for file in files}
    return {}


def _cell(label: str, name: str, file: Path | None) -> str:
    content = _jpeg(file) if file else None
    if content is None:
        return "<td>–</td>"
    alternative = f"{label}, {name.removesuffix('.png')}: labelled on the left, predicted on the right"
    source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    return f'<td><img alt="{text(alternative)}" src="{source}"></td>'


def _jpeg(file: Path) -> bytes | None:
    """A small one; None where the file is no picture."""
    try:
        with Image.open(file) as image:
            plain = image.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    height = max(1, round(plain.height * WIDTH / plain.width))
    smaller = plain if plain.width <= WIDTH else plain.resize((WIDTH, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    smaller.save(content, "JPEG", quality=QUALITY, optimize=True)
    return content.getvalue()
