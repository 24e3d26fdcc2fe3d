"""The rule cannot-overfit (NNL809)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import loss, rate, unfinished

if TYPE_CHECKING:
    from nnlint.linter.experiments import Attempt, Overfit
    from nnlint.linter.measured import Measured

# A loss that made half of its way is on its way.
HALF = 0.5
# ... and one that made less than a hundredth of it does not learn at all.
STANDSTILL = 0.01


class CannotOverfit(ProbeRule):
    """A few samples cannot be learned by heart, although nothing regularises.

    ## What it does
    Trains on 56 samples, again and again, with dropout and weight decay off, and says whether the
    loss comes near its floor.

    ## Why is this bad?
    A network with more parameters than samples learns them by heart, whatever the labels. One that
    cannot has a fault on the way from its inputs to its loss: a layer that is detached or frozen,
    a loss that is computed from the wrong tensor, labels that do not belong to the inputs, dead
    units, or too little capacity.

    ## Example
    ```python
    # nnlint probe --experiment overfit --overfit-steps 100
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return F.softmax(self.out(F.relu(self.hidden(x))), dim=1)


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment overfit --overfit-steps 100
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## How it is decided
    Where the user names no optimiser, AdamW with learning rates of 0.001, 0.01 and 0.0001, each from
    the start, until one brings the loss over all samples to 5 % of what it was above its floor. The
    floor of a cross-entropy with smoothed labels is their entropy. None of them within
    `--overfit-steps` is a warning; it is a note where the best one went more than half of the way,
    since more steps may do. Only the real loss is judged.

    ## Known limits
    Two equal inputs with different labels cannot be told apart by any model. Losses without a known
    least value (a likelihood with a learned variance) are not judged.

    ## References
    - https://karpathy.github.io/2019/04/25/recipe/ ("overfit one batch")
    - Zhang et al.: Understanding deep learning requires rethinking generalization, 2017,
      https://arxiv.org/abs/1611.03530
    """

    name = "cannot-overfit"
    code = "NNL809"
    severity = Severity.WARNING
    experiment = "overfit"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report that no attempt came near the floor."""
        found = measured.experiments.overfit
        if not measured.loss_known:
            yield NotChecked("no loss was found")
        elif found is None or not found.attempts:
            yield NotChecked(unfinished(measured, self.experiment))
        elif not found.reached and not math.isfinite(start_of(found)):
            yield NotChecked("the loss is not finite before the first step")
        elif not found.reached:
            yield self._found(measured, found)

    def _found(self, measured: Measured, found: Overfit) -> Finding:
        best = best_of(found)
        done = progress(best, found.floor)
        start, end = start_of(found), lowest(best)
        steps = f"{len(best.losses)} step{'s' * (len(best.losses) != 1)}"
        return self.report(
            measured,
            None,
            f"{found.samples} samples cannot be learned by heart: in {steps} at "
            f"learning rate {rate(best.learning_rate)} the loss goes from {loss(start)} to {loss(end)}",
            help=_remedy(done),
            severity=Severity.NOTE if done > HALF else None,
            evidence={
                "samples": found.samples,
                "floor": found.floor,
                "attempts": [
                    {"learning_rate": each.learning_rate, "lowest": lowest(each)}
                    for each in found.attempts
                ],
            },
        )


def start_of(found: Overfit) -> float:
    """Return the loss before the first step, NaN where there is none; every attempt begins there."""
    return next((each.losses[0] for each in found.attempts if each.losses), math.nan)


def lowest(attempt: Attempt) -> float:
    """Return the least loss of an attempt, NaN where none was finite."""
    return min(filter(math.isfinite, attempt.losses), default=math.nan)


def progress(attempt: Attempt, floor: float) -> float:
    """Return which share of the way to the floor an attempt went: 0 for none, 1 for all of it."""
    if not attempt.losses or not math.isfinite(attempt.losses[0]):
        return 0.0
    start, end = attempt.losses[0], lowest(attempt)
    return (start - end) / (start - floor) if start > floor and math.isfinite(end) else 0.0


def best_of(found: Overfit) -> Attempt:
    """Return the attempt that went furthest; there is one."""
    return max(
        found.attempts, key=lambda attempt: (attempt.reached, progress(attempt, found.floor))
    )


def _remedy(done: float) -> str:
    if done > HALF:
        return "it is on its way; more steps may do: --overfit-steps 2000"
    if done < STANDSTILL:
        return (
            "the loss hardly changes: see where gradients end with `nnlint probe`, and whether the "
            "loss takes this output and these labels"
        )
    return "look for frozen or dead layers, a wrong loss or labels, and for too few units"
