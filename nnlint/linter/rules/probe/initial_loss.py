"""The rule initial-loss (NNL808)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import loss, mean, unfinished

if TYPE_CHECKING:
    from nnlint.linter.experiments import InitialLoss
    from nnlint.linter.measured import Measured

# Worth a note above the loss of a model that knows nothing: half as much again, and one nat more.
RATIO, NATS = 1.5, 1.0
# Likely a mistake: of 42 architectures with their own initialisers and ten classes, the highest one
# began at 2.4 times ln 10, and the next one at 1.9 times.
LARGE = 3.0
# The loss of the batch taken twice, divided by that of the batch: 1 for a mean, 2 for a sum. A loss
# that compares samples with each other may have any other ratio.
SUMMED = (1.9, 2.1)


class InitialLossRule(ProbeRule):
    """The loss before the first step is far above that of a model that knows nothing.

    ## What it does
    Compares the loss at initialisation with what theory expects: ln C for a cross-entropy over C
    classes, ln 2 for a binary one. Also tells a loss that is summed over the batch.

    ## Why is this bad?
    A model that knows nothing and says so begins at ln C. One that begins far above it is sure of
    wrong answers, so the first hundreds of steps only make its outputs small again. The usual
    causes are an output scale or initialisation that is too large, and features without
    normalisation. A summed loss makes gradients, and so the right learning rate, grow with the
    batch size.

    ## Example
    ```python
    # nnlint probe --experiment initial-loss
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 256)
            self.out = nn.Linear(256, 10)
            nn.init.normal_(self.out.weight)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment initial-loss
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 256)
            self.out = nn.Linear(256, 10)
            nn.init.normal_(self.out.weight, std=0.01)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## How it is decided
    The mean over some batches in training mode. Logits of standard deviation s that know nothing of
    the labels cost about s * s / 2 more than ln C; PyTorch's own initialisers leave s below 1. Half
    as much again as ln C and one nat more (s above 1.5 for ten classes, above 2.6 for a thousand)
    is a note, three times ln C a warning: of 42 architectures with their own initialisers and ten
    classes the highest begins at 2.4 times ln 10, the next one at 1.9 times. A loss that doubles
    with its batch taken twice is a sum; variational models want that at times, so it is a note. A
    loss below theory is that of trained weights on their own data, and fine.

    ## Known limits
    Without theory (a regression, class weights) nothing is compared. Trained weights on random
    labels are rightly sure and so have a high loss: give them their data.

    ## References
    - https://karpathy.github.io/2019/04/25/recipe/ ("verify loss @ init")
    """

    name = "initial-loss"
    code = "NNL808"
    severity = Severity.WARNING
    experiment = "initial-loss"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report a loss that begins too high, and one that is a sum."""
        found = measured.experiments.initial_loss
        if found is None:
            yield NotChecked(unfinished(measured, self.experiment))
            return
        if found.doubled is not None and is_summed(found.doubled):
            yield self._summed(measured, found.doubled)
        start = mean(found.losses)
        if found.expected is None:
            yield NotChecked(found.reason or "theory does not say what this loss begins at")
        elif not math.isfinite(start):
            yield NotChecked("the loss is not finite")
        elif is_high(found):
            yield self.report(
                measured,
                None,
                f"the loss begins at {loss(start)}; a model that knows nothing has "
                f"{loss(found.expected)} ({found.theory})",
                help="make the last layer's outputs smaller: initialise its weights with a "
                "standard deviation of 0.01, or normalise the features before it",
                severity=None if start > LARGE * found.expected else Severity.NOTE,
                evidence={"loss": start, "expected": found.expected, "theory": found.theory},
            )

    def _summed(self, measured: Measured, doubled: float) -> Finding:
        return self.report(
            measured,
            None,
            f"the loss is summed over the batch: with the batch taken twice it is {doubled:.2g} "
            "times as large",
            help="take the mean, or the right learning rate depends on the batch size",
            severity=Severity.NOTE,
            evidence={"doubled": doubled},
        )


def is_summed(doubled: float) -> bool:
    """Tell whether the loss of the batch taken twice is as much larger as that of a sum."""
    return SUMMED[0] < doubled < SUMMED[1]


def is_high(found: InitialLoss) -> bool:
    """Return whether a loss begins far above its theory."""
    if found.expected is None:
        return False
    return mean(found.losses) > max(RATIO * found.expected, found.expected + NATS)
