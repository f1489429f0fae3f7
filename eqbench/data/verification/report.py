"""What a verification found, in text."""

from __future__ import annotations

from collections.abc import Mapping

from eqbench.data.verification.contents import Contents
from eqbench.data.verification.findings import Kind
from eqbench.data.verification.names import printable
from eqbench.data.verification.progress import duration
from eqbench.data.verification.verification import Outcome

LEVELS = {
    "fast": "names, counts and lists; --deep also decodes every file",
    "deep": "names, counts and lists, and every file decoded",
}


def lines(outcome: Outcome) -> list[str]:
    """The report: what there is, problems, notes, the digest, and the verdict last."""
    what = "names, counts and lists" if outcome.postponed else LEVELS[outcome.level]
    said = [f"{outcome.name} in {outcome.root}: {what}"]
    if outcome.contents is not None:
        said += _contents(outcome.contents)
    said += _kinds("problem", outcome.findings.problems)
    said += _kinds("note", outcome.findings.notes)
    if outcome.contents is not None:
        said += [f"digest: {outcome.contents.digest}"] if outcome.contents.digest else []
    if outcome.content_digest is not None:
        said += [f"content: sha256 {outcome.content_digest}"]
    if outcome.ok:
        said += [f"record: {outcome.record or 'not written: neither the folder nor the cache can be written to'}"]
    if outcome.postponed:
        said += ["not decoded: which files there are is clear only once this is put right"]
    return [printable(line) for line in (*said, _verdict(outcome))]


def _contents(contents: Contents) -> list[str]:
    said = [f"classes: {len(contents.class_names):,}"]
    for split, files in contents.files.items():
        counts = contents.counts.get(split)
        counted = f", {int(counts.sum()):,} {contents.unit}" if counts is not None else ""
        same = counted == f", {len(files):,} {contents.unit}"
        said.append(f"{split}: {len(files):,} {'images' if same else f'files{counted}'}")
    return said


def _kinds(what: str, kinds: Mapping[str, Kind]) -> list[str]:
    said = []
    for name, kind in kinds.items():
        said.append(f"{what}: {name}: {kind.number:,}")
        said += [f"  {item}" for item in kind.items]
        if kind.left_out:
            said.append(f"  and {kind.left_out:,} more (--all names them)")
        if kind.advice:
            said.append(f"  what to do: {kind.advice}")
    return said


def count(problems: Mapping[str, Kind]) -> str:
    """How many there are."""
    number = sum(kind.number for kind in problems.values())
    return f"{number:,} problem{'' if number == 1 else 's'} found" if number else "no problem found"


def _verdict(outcome: Outcome) -> str:
    return f"{count(outcome.findings.problems)} ({duration(outcome.seconds)})"
