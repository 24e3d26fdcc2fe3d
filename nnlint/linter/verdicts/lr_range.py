"""Which learning rates fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.learning_rate import suggestions
from nnlint.linter.rules.probe.outcome import rate
from nnlint.linter.verdicts.base import Curve, Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import LearningRateRange
    from nnlint.linter.measured import Measured

KIND = "lr_range"
# Share of the losses that are drawn as they are.
_SHOWN = 0.9
# Suggestions are uncertain by about half a decade each.
_FAR = 10.0


def tell(found: LearningRateRange, measured: Measured) -> Verdict:
    """Return the verdict."""
    named = [
        f"{rate(value)} ({word})"
        for value, word in ((found.steepest, "steepest"), (found.valley, "valley"))
        if value is not None
    ]
    rates = found.learning_rates
    tried = f"{rate(rates[0])} to {rate(rates[-1])}" if rates else "nothing"
    text = ", ".join(named) or f"no suggestion: the loss does not fall from {tried}"
    if found.diverged is not None:
        text += f"; diverges from {rate(found.diverged)}"
    elif named:
        text += f"; does not diverge up to {rate(rates[-1])}" if rates else ""
    optimizer = {"sgd": "SGD", "adamw": "AdamW"}[measured.optimizer]
    lines = [
        f"{len(rates)} step{'s' * (len(rates) != 1)} of {optimizer}, {tried}{', linear' if found.linear else ''}"
    ]
    lines += _advice(found)
    # Beyond divergence everything before would look flat.
    ordered = sorted(filter(math.isfinite, found.smoothed))
    ceiling = ordered[int(_SHOWN * (len(ordered) - 1))] if ordered else None
    return Verdict(
        "lr-range", "learning rate", text, tuple(lines), (Curve("loss", found.smoothed, ceiling),)
    )


def _advice(found: LearningRateRange) -> list[str]:
    """Return which rate to begin with: the valley, as fastai does, unless the two disagree."""
    suggested = suggestions(found)
    if not suggested:
        return []
    if suggested[-1] <= _FAR * suggested[0]:
        return [f"begin with --lr {rate(found.valley or suggested[0])}"]
    between = math.sqrt(suggested[0] * suggested[-1])
    return [f"the two are far apart: begin between them, with --lr {rate(between)}"]
