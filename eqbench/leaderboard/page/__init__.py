"""The leaderboard as one self-contained page: `html(board, folders)`."""

from eqbench.leaderboard.page.document import html

__all__ = ["html"]
