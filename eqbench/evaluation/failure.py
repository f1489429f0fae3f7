"""The error of an evaluation that could not be carried out."""

from __future__ import annotations

from eqbench.errors import EqbenchError


class EvaluationFailed(EqbenchError):
    """No numbers came of an evaluation, for a reason that is not the user's; what it was to judge is still there."""
