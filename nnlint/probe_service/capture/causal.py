"""Whether attention masks are causal, as torch's transformer layers ask.

`torch.nn.TransformerEncoder` compares a mask with the causal one and then leaves the mask out where
they are equal. torch.export cannot follow a decision on values; but a mask is made of sizes, not of
data, so what the live model decided holds for every batch. Where it does not, the comparison with
the live model's gradients says so.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch.nn.modules import transformer

# The question, as transformer layers call it; None where this torch asks otherwise.
_ASK = getattr(transformer, "_detect_is_causal_mask", None)


@contextlib.contextmanager
def noted() -> Iterator[list[bool]]:
    """Note the answers in the order in which they are given."""
    answers: list[bool] = []

    def ask(*args: Any, **kwargs: Any) -> bool:
        assert _ASK is not None
        answers.append(_ASK(*args, **kwargs))
        return answers[-1]

    with _asking(ask):
        yield answers


@contextlib.contextmanager
def repeated(answers: Sequence[bool]) -> Iterator[None]:
    """Give the same answers again, from the start each time that all have been given."""
    given = itertools.cycle(answers)

    def ask(*args: Any, **kwargs: Any) -> bool:
        if answers:
            return next(given)
        assert _ASK is not None
        return bool(_ASK(*args, **kwargs))

    with _asking(ask):
        yield


@contextlib.contextmanager
def _asking(ask: Any) -> Iterator[None]:
    if _ASK is None:
        yield
        return
    transformer._detect_is_causal_mask = ask  # noqa: SLF001 - what the layers call by this name
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = _ASK  # noqa: SLF001 - as above
