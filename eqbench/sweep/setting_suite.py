"""Settings that a sweep has found as a suite that `eqbench run` takes as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from eqbench.errors import InputError
from eqbench.suite_schema import MAX_LABEL, MAX_NAME
from eqbench.suite_yaml import parse
from eqbench.sweep.setting import assign, label

if TYPE_CHECKING:
    from eqbench.sweep.definition import Sweep
    from eqbench.sweep.space import Value

SUFFIX = "_best"


class _Dumper(yaml.SafeDumper):
    """Quotes text that a suite's loader would take for something else, such as `1e-4`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        safe = parse(text, "")[0] == text
    except InputError:
        safe = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if safe else '"')


_Dumper.add_representer(str, _represent_text)


def setting_file(sweep: Sweep, settings: Sequence[Mapping[str, Value]], seeds: Sequence[int]) -> str:
    """YAML of a suite that compares settings with the baseline and with the swept loss as the sweep's file has it.

    A column is the sweep's task. Settings whose values change more than the loss add columns, one for each such change,
    in which baseline and default are trained with it too.

    Args:
        sweep: whose settings they are.
        settings: values by path.
        seeds: of the suite.
    """
    base, default = sweep.base, sweep.default_specs()[0]
    references = [base.loss(index, {}, name) for index, name in sweep.references]
    task = base.task({})
    columns: list[dict[str, Any]] = [task]
    changed: dict[str, list[dict[str, Any]]] = {}
    labels = [name for _, name in sweep.references]
    for values in settings:
        spec = sweep.specs(values, 0)[0]
        losses: list[dict[str, Any]] = []
        if spec.loss != default.loss:
            of_loss = {path: value for path, value in values.items() if path.startswith("loss.")}
            entry = base.loss(sweep.index, of_loss, "")
            twin = next((known for known in _entries(changed) if _same_loss(known, entry)), None)
            name = twin["label"] if twin else _unused(label(sweep.loss_name, of_loss, 0), labels)
            losses = [{**entry, "label": name}]
        elsewhere = {path: value for path, value in values.items() if not path.startswith("loss.")}
        key = "" if spec.recipe == default.recipe else repr(sorted(elsewhere.items()))
        if key and key not in changed:
            number = sum(bool(known) for known in changed) + 1
            columns.append(_column(sweep, elsewhere, number))
        kept = changed.setdefault(key, [])
        kept += [loss for loss in losses if not any(_same_loss(loss, other) for other in kept)]
    for column, key in zip(columns[1:], [key for key in changed if key], strict=True):
        column["losses"] = [*references, *changed[key]]
    everything = [*references, *_entries(changed)]
    data = {
        "name": f"{sweep.name[: MAX_NAME - len(SUFFIX)]}{SUFFIX}",
        "tasks": columns,
        "losses": everything,
        "seeds": list(seeds),
        "train": base.train({}),
        "resources": base.data["resources"],
        **({"mlflow": {"tracking_uri": sweep.mlflow.tracking_uri}} if sweep.mlflow.tracking_uri else {}),
    }
    parts = [_text({key: value}) for key, value in data.items() if value != {}]
    return "\n".join(parts)


def _column(sweep: Sweep, values: Mapping[str, Value], number: int) -> dict[str, Any]:
    """The sweep's task with `values` of everything but the loss."""
    task = sweep.base.task(values)
    suffix = SUFFIX if number == 1 else f"{SUFFIX}{number}"
    task["name"] = f"{task['name'][: MAX_NAME - len(suffix)]}{suffix}"
    if any(path.startswith("train.") for path in values):
        task["train"] = {}
        assign(task["train"], {path: value for path, value in values.items() if path.startswith("train.")})
    return task


def _entries(changed: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every loss of the settings, each once."""
    return list({loss["label"]: loss for losses in changed.values() for loss in losses}.values())


def _same_loss(loss: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {**loss, "label": ""} == {**other, "label": ""}


def _unused(name: str, labels: list[str]) -> str:
    """A label that is not among `labels` yet; it is then."""
    found, number = name, 2
    while found in labels:
        found = f"{name[: MAX_LABEL - 8]} no. {number}"
        number += 1
    labels.append(found)
    return found


def _text(data: Mapping[str, Any]) -> str:
    flow = None if any(isinstance(value, dict | list) for value in data.values()) else False
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=118)
