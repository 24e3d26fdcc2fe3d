"""The rule learning-rate (NNL812)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import rate, unfinished
from nnlint.linter.rules.probe.reading import optimizer_of

if TYPE_CHECKING:
    from nnlint.linter.experiments import LearningRateRange
    from nnlint.linter.measured import Measured

# Two decades below the smaller suggestion: both are themselves uncertain by about half a decade.
SMALL = 1e-2


class LearningRate(ProbeRule):
    """The learning rate that the user named lies beyond divergence, or far below what learns.

    ## What it does
    Compares the named learning rate with a range test: steps with a rate that grows until the loss
    diverges.

    ## Why is this bad?
    Beyond the rate at which the loss diverges nothing is learned, and far below the one at which it
    falls fastest every epoch is wasted.

    ## Example
    ```python
    # nnlint probe --experiment lr-range --optimizer sgd --lr 100
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment lr-range --optimizer sgd --lr 0.1
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## How it is decided
    A rate at or above the one at which the smoothed loss was over five times its least value is a
    warning. A rate more than two decades below both suggestions (where the loss falls steepest, and
    in the middle of its longest descent) is a note. Where the test ended at its last rate without a
    divergence, only rates that are too small are told. Without `--optimizer` and `--lr` nothing is
    judged.

    ## Known limits
    The test is short: rates that diverge only after hundreds of steps pass, and a schedule with a
    warm-up may begin as low as it likes. On random labels the suggestion is rough.

    ## References
    - Smith: Cyclical learning rates for training neural networks, 2017,
      https://arxiv.org/abs/1506.01186
    """

    name = "learning-rate"
    code = "NNL812"
    severity = Severity.WARNING
    experiment = "lr-range"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report a rate outside of what the range test allows."""
        found = measured.experiments.lr_range
        if not measured.optimizer_given:
            yield NotChecked("the optimiser and its learning rate are not given")
        elif not measured.loss_known:
            yield NotChecked("no loss was found")
        elif found is None:
            yield NotChecked(unfinished(measured, self.experiment))
        else:
            yield from self._judged(measured, found)

    def _judged(
        self, measured: Measured, found: LearningRateRange
    ) -> Iterator[Finding | NotChecked]:
        chosen, suggested = measured.learning_rate, suggestions(found)
        evidence = {
            "learning_rate": chosen,
            "steepest": found.steepest,
            "valley": found.valley,
            "diverged": found.diverged,
        }
        advice = f"try {' or '.join(map(rate, suggested))}" if suggested else "take a smaller one"
        if found.diverged is not None and chosen >= found.diverged:
            yield self.report(
                measured,
                None,
                f"{optimizer_of(measured)} is beyond {rate(found.diverged)}, where the loss diverges",
                help=advice,
                evidence=evidence,
            )
        elif suggested and 0 < chosen < SMALL * min(suggested):
            yield self.report(
                measured,
                None,
                f"{optimizer_of(measured)} is {min(suggested) / chosen:.0f} times below "
                f"{rate(min(suggested))}, where the loss falls",
                help=f"{advice}, unless a warm-up follows",
                severity=Severity.NOTE,
                evidence=evidence,
            )
        elif found.diverged is None and not suggested:
            yield NotChecked("in the range that was tried the loss neither fell nor diverged")


def suggestions(found: LearningRateRange) -> list[float]:
    """Return the suggested rates, the smaller one first, each once."""
    return sorted({each for each in (found.steepest, found.valley) if each is not None})
