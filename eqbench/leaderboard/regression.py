"""Whether run B is worse than run A, beyond what rounding, a tolerance and chance explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eqbench.leaderboard.bootstrap import NONE, ROUNDING, GroupDifference, Interval

UNDECIDED = "undecided, which counts as a regression"


class Judgement(NamedTuple):
    """The answer, and one sentence on it."""

    regression: bool
    sentence: str


class Change(NamedTuple):
    """A metric of both runs."""

    name: str
    a: float
    b: float


def judge(
    main: Change,
    over_images: Mapping[str, Interval],
    over_classes: Sequence[GroupDifference],
    tolerance: float,
) -> Judgement:
    """B is worse if its main metric is lower by more than `tolerance`, and the interval of the difference below 0.

    That is the interval over images; without it the one over classes, where the metric is their mean; without both the
    difference decides. A metric that a run does not have counts as worse.
    """
    difference = main.b - main.a
    if math.isnan(difference):
        return Judgement(True, f"{UNDECIDED}: {main.name}, the main metric, is missing")
    if abs(difference) <= ROUNDING * max(1.0, abs(main.a), abs(main.b)):
        return Judgement(False, f"no regression: {main.name} is the same")
    interval, of = _interval(main.name, difference, over_images, over_classes)
    worse = difference < -tolerance and not interval.high >= 0
    change = f"{main.name} {_signed(difference)}"
    if math.isnan(interval.p):
        limit = f"more than {tolerance:g} below counts" if tolerance else "anything below 0 counts"
        reason = f"{change} (without an interval; {limit})"
    else:
        reason = f"{change}, 95 % interval over {of} {interval.low:+z.2f} to {interval.high:+z.2f}"
        reason += f"; {tolerance:g} is tolerated" if tolerance else ""
    return Judgement(worse, f"{'a regression' if worse else 'no regression'}: {reason}")


def _interval(
    name: str, difference: float, over_images: Mapping[str, Interval], over_classes: Sequence[GroupDifference]
) -> tuple[Interval, str]:
    interval = over_images.get(name, NONE)
    if math.isnan(interval.p) and over_classes:
        every = over_classes[0]
        if math.isclose(every.difference, difference, rel_tol=0, abs_tol=1e-6):
            return every.interval, f"{every.n} classes"
    return interval, "images"


def _signed(difference: float) -> str:
    """With two digits, or as many as it takes.

    >>> _signed(-1.5), _signed(-0.0004)
    ('-1.50', '-0.0004')
    """
    return f"{difference:+.2f}" if abs(difference) >= 0.005 else f"{difference:+.1g}"
