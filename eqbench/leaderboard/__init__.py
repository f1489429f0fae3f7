"""The leaderboard: losses × tasks with error bars, read from the folders of the runs.

For a notebook, every number of every run:

    import eqbench
    frame = eqbench.leaderboard.load("quickstart")
    frame[frame.metric == "top1"].groupby("loss").value.mean()

As `eqbench leaderboard` shows it:

    shown = leaderboard.board([SuiteFolder(storage, "quickstart")])
    print(table.render(shown, "markdown"))
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eqbench.errors import InputError
from eqbench.leaderboard import aggregate, results
from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.run_folder import SuiteFolder, suites_in

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Leaderboard", "board", "load"]


def board(folders: Sequence[SuiteFolder]) -> Leaderboard:
    """The leaderboard of one or several suites.

    Raises:
        InputError: a suite has no runs, or a result was written by an unknown version of the schema.
    """
    return aggregate.build(*results.read(folders))


def load(*suites: str, storage: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """The runs of suites as a tidy pandas frame: one row for each run and metric; columns as in `frame.COLUMNS`.

    Args:
        suites: names or files of suites and sweeps that were run; all that `storage` holds by default.
        storage: the folder of `eqbench run --storage`; by default `EQBENCH_STORAGE` or `runs`.

    Raises:
        InputError: a suite has no runs there; names the nearest that has.
    """
    from eqbench.leaderboard.find import find_suite_folder
    from eqbench.leaderboard.frame import frame

    place = Path(storage or os.environ.get("EQBENCH_STORAGE") or "runs").expanduser()
    folders = [find_suite_folder(place, suite) for suite in suites] or suites_in(place)
    if not folders:
        raise InputError(f"{place}: nothing has been run into this folder")
    return frame(board(folders))
