"""`eqbench status`: where every run of a suite stands, from its folder."""

from __future__ import annotations

import time
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from eqbench.leaderboard.results import read_spec
from eqbench.run_folder import RunFolder, SuiteFolder, last_event
from eqbench.storage import fetch_suite

SECONDS_BETWEEN_LOOKS = 2.0


def describe(folder: SuiteFolder) -> list[dict[str, Any]]:
    """One entry per run, in the suite's order: what it is, its state, how far it is.

    States: `finished`, `failed`, `killed` (by Ctrl-C), `running`, `interrupted` (started, but its process is gone),
    `planned`. `eqbench run` continues all but the finished ones.

    Raises:
        InputError: a run's file cannot be read.
    """
    at_work = folder.locked
    return [_entry(run, at_work) for run in folder.planned()]


def table(folder: SuiteFolder, entries: list[dict[str, Any]]) -> Table:
    """`entries` for a terminal."""
    ended = sum(entry["state"] == "finished" for entry in entries)
    title = f"{folder.suite}: {ended} of {len(entries)} runs finished"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("run", "id", "state", "iteration", "metric"):
        shown.add_column(heading, justify="right" if heading in ("iteration", "metric") else "left")
    for entry in entries:
        value = entry["value"]
        metric = "" if value is None else f"{entry['metric']} {value:.1f}"
        state = entry["state"] + (f": {entry['detail']}" if entry["detail"] else "")
        shown.add_row(entry["name"], entry["run_id"], state, f"{entry['iteration']}/{entry['iterations']}", metric)
    return shown


def watch(folder: SuiteFolder, console: Console) -> None:
    """Show the table, refreshed, until no process works on the suite any more."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            fetch_suite(folder.path)
            at_work = folder.locked
            live.update(table(folder, describe(folder)), refresh=True)
            if not at_work:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _entry(run: RunFolder, at_work: bool) -> dict[str, Any]:
    spec, result, event = read_spec(run), run.intact_result(), last_event(run)
    metrics = {name.removeprefix("val/"): value for name, value in (event or {"metrics": {}})["metrics"].items()}
    main = result.get("main_metric", "") if result else ""
    main = main or next((name for name in metrics if "/" not in name), "")
    return {
        "name": spec.name,
        "run_id": run.run_id,
        "state": result["status"] if result else _unended(run, at_work),
        "detail": result["status_detail"] if result else "",
        "iteration": event["iteration"] if event else 0,
        "iterations": spec.budget.iterations,
        "metric": main,
        "value": result["metrics"].get(main) if result and result["metrics"] else metrics.get(main),
        "attempts": run.attempts,
    }


def _unended(run: RunFolder, at_work: bool) -> str:
    if not run.attempts:
        return "planned"
    return "running" if at_work else "interrupted"
