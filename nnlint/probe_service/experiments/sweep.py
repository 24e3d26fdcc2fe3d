"""The arithmetic of a learning-rate range test: rates, moving average, divergence, suggestions.

It is that of torch-lr-finder (`LRFinder.range_test` and `LRFinder.plot`), but for its history of
rates, which is one step ahead of the losses, and for losses of zero and below, of which no multiple
means divergence.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

# torch-lr-finder leaves out the first 10 losses of its history and the last 5: the average has yet
# to settle, and is about to diverge.
_SKIPPED = (10, 5)
# A shorter history loses at most one quarter at its start, and an eighth at its end.
_SHARES = (4, 8)


def rates(start: float, end: float, steps: int, *, linear: bool) -> list[float]:
    """Return the learning rate of each step, from `start` to `end`, both included.

    Args:
        start: Above 0.
        end: Above `start`.
        steps: At least 2.
        linear: Whether rates have equal differences, not equal factors.
    """
    shares = [step / (steps - 1) for step in range(steps)]
    if linear:
        return [start + share * (end - start) for share in shares]
    # By logarithms: the quotient of hostile bounds would overflow.
    low, high = math.log(start), math.log(end)
    return [start, *(math.exp(low + share * (high - low)) for share in shares[1:-1]), end]


class Average:
    """A moving average of losses that watches for divergence.

    Attributes:
        values: The average after each loss; begins with the first loss itself.
        diverged: Whether it is beyond bounds, or the last loss was not finite.
    """

    def __init__(self, weight: float, divergence: float) -> None:
        """Begin.

        Args:
            weight: Of a new loss, in (0, 1].
            divergence: Multiple of the least average beyond which it has diverged, 0 for none.
        """
        self.values: list[float] = []
        self.diverged = False
        self._weight = weight
        self._divergence = divergence
        self._best = math.inf

    def add(self, loss: float) -> None:
        """Take the next loss."""
        value = loss
        if self.values:
            value = self._weight * loss + (1 - self._weight) * self.values[-1]
        self.values.append(value)
        if not math.isfinite(value):
            self.diverged = True
            return
        self._best = min(self._best, value)
        self.diverged = 0 < self._divergence * self._best < value


def judged(smoothed: Sequence[float]) -> slice:
    """Return which part of the averages suggestions are taken from: the finite ones in the middle."""
    count = next((i for i, each in enumerate(smoothed) if not math.isfinite(each)), len(smoothed))
    first, last = (min(n, count // share) for n, share in zip(_SKIPPED, _SHARES, strict=True))
    return slice(first, count - last)


def steepest(losses: Sequence[float]) -> int | None:
    """Return where losses fall fastest from one step to the next, None where they nowhere fall.

    The smallest of the central differences, as torch-lr-finder takes it of `numpy.gradient`.
    """
    if len(losses) < 2:
        return None
    inner = [(after - before) / 2 for before, after in zip(losses, losses[2:], strict=False)]
    slopes = [losses[1] - losses[0], *inner, losses[-1] - losses[-2]]
    best = min(range(len(slopes)), key=slopes.__getitem__)
    return best if slopes[best] < 0 else None


def valley(losses: Sequence[float]) -> int | None:
    """Return the middle of the longest descent, None where there is none.

    That is fastai's `valley` (fastai.callback.schedule, the default of `Learner.lr_find`): the
    longest falling subsequence, the first that ends where there are several, and of its way, as
    long as it has members, one third and half of another. Theirs is quadratic.
    """
    # For each length the largest loss, negated, with which a falling subsequence may end.
    ends: list[float] = []
    length, end = 1, 0
    for position, loss in enumerate(losses):
        place = bisect.bisect_left(ends, -loss)
        ends[place : place + 1] = [-loss]
        if place + 1 > length:
            length, end = place + 1, position
    if length < 2:
        return None
    section = int(length / 3)
    return max(end - length + section + int(length / 3 / 2), 0)
