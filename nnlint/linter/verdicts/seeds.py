"""Gradients at several initialisations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.outcome import loss
from nnlint.linter.rules.probe.reading import times
from nnlint.linter.verdicts.base import Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import Seeds
    from nnlint.linter.measured import Measured

KIND = "seeds"
# Gradients of healthy layers differ by less between initialisations.
_STABLE = 3.0
_SHOWN = 3


def tell(found: Seeds, measured: Measured) -> Verdict:
    """Return the verdict."""
    losses = [each.loss for each in found.initialisations]
    finite = [each for each in losses if math.isfinite(each)]
    count = f"{len(losses)} initialisation{'s' * (len(losses) != 1)}"
    if len(finite) < len(losses):
        text = f"the loss is not finite at {len(losses) - len(finite)} of {count}"
    else:
        spread = f"loss {loss(min(finite))} to {loss(max(finite))}" if finite else "no loss"
        ratios = spreads(found, measured)
        worst = max(ratios.values(), default=1.0)
        word = "much alike" if worst < _STABLE else "some gradients depend on the seed"
        text = f"{word}: {count}, {spread}, gradients within {times(worst)} times of each other"
    return Verdict("seeds", "seeds", text, tuple(_widest(found, measured)))


def spreads(found: Seeds, measured: Measured) -> dict[int, float]:
    """Return for each weight its largest gradient divided by its smallest one, both above 0.

    Biases are left out, since that of a few outputs is near zero by chance.
    """
    ratios = {}
    for position, parameter in enumerate(measured.parameters):
        if len(parameter.shape) < 2:
            continue
        values = [
            value
            for each in found.initialisations
            if position < len(each.gradient_rms)
            and (value := each.gradient_rms[position]) is not None
            and math.isfinite(value)
            and value > 0
        ]
        if len(values) > 1:
            ratios[position] = max(values) / min(values)
    return ratios


def _widest(found: Seeds, measured: Measured) -> list[str]:
    ratios = spreads(found, measured)
    order = sorted(ratios, key=lambda position: -ratios[position])
    return [
        f"{measured.parameters[position].name}: {times(ratios[position])} times"
        for position in order[:_SHOWN]
        if ratios[position] >= _STABLE
    ]
