"""The rule train-eval-gap (NNL814)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import loss, mean, unfinished
from nnlint.linter.rules.probe.reading import short, words

if TYPE_CHECKING:
    from nnlint.linter.experiments import TrainEval
    from nnlint.linter.measured import Measured

# The loss in evaluation mode may be half as large again, and four times the spread in training.
RATIO, SPREADS = 1.5, 4.0
# Rounding; what differs by more was drawn at random.
_SAME = 1e-5
_DROPOUTS = words(
    "dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout "
    "scaled_dot_product_attention"
)
_DRAWS = words(
    "rand randn rand_like randn_like randint normal normal_functional bernoulli multinomial uniform "
    "exponential randperm"
)


class TrainEvalGap(ProbeRule):
    """On the same batch the loss in evaluation mode is far from that in training mode.

    ## What it does
    Lets the running statistics settle, then computes the loss of one batch in both modes, with
    several random streams each.

    ## Why is this bad?
    `model.eval()` should only take randomness away. Where the loss jumps, running statistics never
    come near those of the batches (a momentum that is too small, a shared batch norm), or a branch
    on `self.training` changes the scale. Where it still varies, something draws random numbers at
    inference: `F.dropout` without `training=self.training` most of all.

    ## Example
    ```python
    # nnlint probe --experiment train-eval
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(F.dropout(F.relu(self.hidden(x)), 0.5))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment train-eval
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(F.dropout(F.relu(self.hidden(x)), 0.5, training=self.training))


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## How it is decided
    A mean loss in evaluation that is half as large again as in training, and above it by four times
    the spread over random streams, is a warning; dropout and batch norm leave healthy models far
    below that. A loss that differs between random streams in evaluation mode is a warning where the
    model draws no random numbers but for dropout, and a note where it does (a variational model
    samples in both modes).

    ## Known limits
    A lower loss in evaluation mode is what dropout does, and passes.

    ## References
    - https://docs.pytorch.org/docs/stable/notes/autograd.html (evaluation mode)
    """

    name = "train-eval-gap"
    code = "NNL814"
    severity = Severity.WARNING
    experiment = "train-eval"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report a loss that jumps, or that varies, in evaluation mode."""
        found = measured.experiments.train_eval
        if found is None:
            yield NotChecked(unfinished(measured, self.experiment))
            return
        train, evaluated = mean(found.train_losses), mean(found.eval_losses)
        if not math.isfinite(train) or not math.isfinite(evaluated):
            yield NotChecked("the loss is not finite in both modes")
            return
        evidence = {"train": list(found.train_losses), "eval": list(found.eval_losses)}
        if varies(found.eval_losses):
            drops = _drops_only(measured)
            yield self.report(
                measured,
                None,
                f"in evaluation mode the loss still varies, from {loss(min(found.eval_losses))} to "
                f"{loss(max(found.eval_losses))}",
                help="give functional dropout `training=self.training`"
                if drops
                else "forward draws random numbers in evaluation mode as well: is that meant?",
                severity=None if drops else Severity.NOTE,
                evidence=evidence,
            )
        elif jumps(found):
            yield self.report(
                measured,
                None,
                f"the loss of the same batch is {loss(train)} in training and {loss(evaluated)} in "
                "evaluation mode",
                help="look at the momentum of batch norms, at batch norms that are shared or frozen, "
                "and at branches on `self.training`",
                evidence=evidence,
            )


def varies(losses: tuple[float, ...]) -> bool:
    """Return whether losses differ by more than rounding."""
    return max(losses) - min(losses) > _SAME * max(map(abs, losses))


def jumps(found: TrainEval) -> bool:
    """Return whether the loss is far higher in evaluation mode."""
    train, evaluated = mean(found.train_losses), mean(found.eval_losses)
    count = len(found.train_losses)
    spread = math.hypot(*(each - train for each in found.train_losses)) / math.sqrt(count)
    return evaluated - train > max((RATIO - 1) * abs(train), SPREADS * spread)


def _drops_only(measured: Measured) -> bool:
    names = {short(node) for node in measured.nodes}
    return bool(names & _DROPOUTS) and not names & _DRAWS
