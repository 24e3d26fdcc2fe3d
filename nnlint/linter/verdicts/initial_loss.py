"""The loss at the start, beside its theory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.initial_loss import LARGE, is_high, is_summed
from nnlint.linter.rules.probe.outcome import loss, mean
from nnlint.linter.verdicts.base import Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import InitialLoss
    from nnlint.linter.measured import Measured

KIND = "initial_loss"
# Nearer than this it is what theory says.
_NEAR = 0.1


def tell(found: InitialLoss, measured: Measured) -> Verdict:
    """Return the verdict."""
    start = mean(found.losses)
    batches = f"{len(found.losses)} batch{'es' * (len(found.losses) != 1)}"
    if found.expected is None:
        text = f"{loss(start)} over {batches}; nothing to compare it with: {found.reason}"
    else:
        text = (
            f"{_word(found, start)}: {loss(start)} over {batches}, where a model that knows nothing "
            f"has {loss(found.expected)} ({found.theory})"
        )
    lines = []
    # Of labels that were drawn it says nothing.
    if found.prior is not None and found.expected is not None and measured.data == "user":
        lines.append(f"knowing only how frequent each class is gives {loss(found.prior)}")
    if found.doubled is not None and is_summed(found.doubled):
        lines.append(f"the loss is a sum: twice the batch has {found.doubled:.3g} times the loss")
    elif found.doubled is not None and abs(found.doubled - 1) < _NEAR:
        lines.append("the loss is a mean over the batch")
    elif found.doubled is not None:
        lines.append(
            f"twice the batch has {found.doubled:.3g} times the loss: samples are compared"
        )
    return Verdict("initial-loss", "initial loss", text, tuple(lines))


def _word(found: InitialLoss, start: float) -> str:
    assert found.expected is not None
    if not math.isfinite(start):
        return "not finite"
    if is_high(found):
        return "far too high" if start > LARGE * found.expected else "high"
    if abs(start - found.expected) <= _NEAR * max(found.expected, 1.0):
        return "as expected"
    return "a little high" if start > found.expected else "below"
