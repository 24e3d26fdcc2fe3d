"""The loss in training and in evaluation mode."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.outcome import loss, mean
from nnlint.linter.rules.probe.train_eval_gap import jumps, varies
from nnlint.linter.verdicts.base import Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import TrainEval
    from nnlint.linter.measured import Measured

KIND = "train_eval"
# As dropout does; it is no fault.
_LOWER = 0.25


def tell(found: TrainEval, _measured: Measured) -> Verdict:
    """Return the verdict."""
    if not found.train_losses or not found.eval_losses:
        return Verdict("train-eval", "train-eval", "the loss was not computed in both modes")
    word = "far apart" if jumps(found) else "close together"
    train, evaluated = mean(found.train_losses), mean(found.eval_losses)
    if train - evaluated > _LOWER * abs(train):
        word = "lower in evaluation mode"
    if varies(found.eval_losses):
        word = "evaluation is random"
    if not all(map(math.isfinite, (*found.train_losses, *found.eval_losses))):
        word = "not finite"
    text = (
        f"{word}: loss {_range(found.train_losses)} in training, {_range(found.eval_losses)} in "
        "evaluation mode on the same batch"
    )
    return Verdict("train-eval", "train-eval", text)


def _range(losses: tuple[float, ...]) -> str:
    if not varies(losses):
        return loss(mean(losses))
    return f"{loss(mean(losses))} ({loss(min(losses))} to {loss(max(losses))})"
