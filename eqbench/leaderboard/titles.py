"""Names of columns and rows: the plain name for what the plan says, and what differs for everything else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

DIGEST_DIGITS = 8


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key and both values wherever two flattened mappings differ; what one lacks is None.

    >>> differing({"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0})
    [('lr', 0.1, 0.2)]
    """
    keys = [*a, *(key for key in b if key not in a)]
    return [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def free_title(name: str, reference: Mapping[str, Any], own: Mapping[str, Any], taken: Collection[str] = ()) -> str:
    """`name`, and in brackets where `own` differs from `reference`; never one of `taken`.

    >>> plan = {"train.epochs": 1, "budget.iterations": 10}
    >>> free_title("digits", plan, {"train.epochs": 2, "budget.iterations": 20})
    'digits [iterations 20]'
    """
    changes = [(key, value) for key, _, value in differing(reference, own)]
    if not changes:
        return name
    brief = [(key, str(value)[:DIGEST_DIGITS] if key == "data_digest" else value) for key, value in changes]
    titles = (_described(name, described) for described in (_causes(brief), brief, changes))
    return next((title for title in titles if title not in taken), _described(name, changes))


def printable(text: str) -> str:
    """Text on one line, with a replacement for each character that has no look of its own or changes that of others.

    >>> printable("a\\x1b[2J\\n b")
    'a�[2J b'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _described(name: str, changes: Iterable[tuple[str, Any]]) -> str:
    return f"{name} [{', '.join(f'{_brief(key)} {value}' for key, value in changes)}]"


def _brief(key: str) -> str:
    """As short as a reader needs it: `data.params.size` is `data.size`, `train.clip_norm` is `clip_norm`."""
    return key.replace(".params.", ".").removeprefix("budget.").removeprefix("train.")


def _causes(changes: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The changes, without those that follow from others of them."""
    keys = {key for key, _ in changes}
    derived = {"budget.iterations_per_epoch", "budget.samples_per_epoch", "budget.batch_size"}
    if "budget.iterations" in keys:
        derived |= {"train.epochs", "train.iterations", "budget.samples"}
    if any(key.startswith("data.") for key in keys):
        derived.add("data_digest")
    return [change for change in changes if change[0] not in derived] or list(changes)
