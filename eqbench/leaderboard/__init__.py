"""The leaderboard: losses × tasks with error bars, read from the folders of the runs.

board = leaderboard.load([SuiteFolder(storage, "quickstart")])
print(table.render(board, "markdown"))
"""

from __future__ import annotations

from collections.abc import Sequence

from eqbench.leaderboard import aggregate, results
from eqbench.leaderboard.aggregate import Leaderboard
from eqbench.run_folder import SuiteFolder

__all__ = ["Leaderboard", "load"]


def load(folders: Sequence[SuiteFolder]) -> Leaderboard:
    """The leaderboard of one or several suites.

    Raises:
        InputError: a suite has no runs, or a result was written by an unknown version of the schema.
    """
    return aggregate.build(*results.read(folders))
