"""The rule update-ratio (NNL810)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.reading import (
    FIRST_JUDGED,
    MAPS,
    RECURRENT,
    at,
    by_index,
    is_finite,
    listing,
    nodes_of,
    optimizer_of,
    places,
    short,
    sound_steps,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredParameter

# Of the change by one step, relative to the weights: log10 outside [-4, -1].
SLOW, FAST = 1e-4, 1e-1
# Each step replaces the weights.
REPLACED = 1.0
# Weights that start at zero (heads, adapters) change by more than their size, and should.
_NOTHING = 1e-4


class UpdateRatio(ProbeRule):
    """The optimiser changes weights by over a tenth, or under a ten-thousandth, of their size a step.

    ## What it does
    Measures what the optimiser and learning rate that the user named really do: the root mean
    square of the change, divided by that of the weights.

    ## Why is this bad?
    About 1/1000 is usual. Steps of a tenth forget what was learned before; steps of a
    hundred-thousandth need a hundred times as many of them.

    ## Example
    ```python
    # nnlint probe --optimizer adamw --lr 0.5
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## Use instead
    ```python
    # nnlint probe --optimizer adamw --lr 0.001
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    The matrices and kernels of linear, convolution and recurrent layers, the median over the steps
    from the second on. Outside [1e-4, 1e-1] for at least half of them is a note; a step that is
    larger than the weights for at least half of them is a warning. Of all published limits on the
    size of steps this is the one that healthy networks keep best, since it is relative and measured
    on the real step. Without `--optimizer` and `--lr`, and for SGD without the real loss,
    nothing is judged.

    ## Known limits
    A warm-up starts with small steps on purpose.

    ## References
    - Ben Braiek, Khomh: Testing feedforward neural networks training programs, 2022,
      https://arxiv.org/abs/2204.00694
    """

    name = "update-ratio"
    code = "NNL810"
    severity = Severity.NOTE

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report steps that are too large or too small, each once."""
        if not measured.optimizer_given:
            yield NotChecked("the optimiser and its learning rate are not given")
            return
        if not measured.loss_known and measured.optimizer == "sgd":
            yield NotChecked("no loss was found, and the steps of SGD are as large as the loss")
            return
        sound = sound_steps(measured)
        if sound <= FIRST_JUDGED:
            yield NotChecked("a second step with finite values is needed")
            return
        found = list(_matrices(measured, sound))
        for direction in (
            [(p, r) for p, r in found if r > FAST],
            [(p, r) for p, r in found if 0 < r < SLOW],
        ):
            if direction and 2 * len(direction) >= len(found):
                yield self._found(measured, direction, len(found))

    def _found(
        self, measured: Measured, members: list[tuple[MeasuredParameter, float]], total: int
    ) -> Finding:
        middle = _median(ratio for _, ratio in members)
        fast = middle > FAST
        replaced = 2 * sum(ratio > REPLACED for _, ratio in members) >= total
        rate = optimizer_of(measured)
        return self.report(
            measured,
            members[0][0].site,
            f"{rate} changes {listing(p.name for p, _ in members)} by {_percent(middle)} a step "
            f"({len(members)} of {total} weights)",
            help="lower the learning rate: about 0.1 % a step is usual"
            if fast
            else "raise the learning rate: about 0.1 % a step is usual, unless a warm-up follows",
            severity=Severity.WARNING if replaced else None,
            related=places([p for p, _ in members[1:]]),
            evidence={
                "median": middle,
                "learning_rate": measured.learning_rate,
                "ratios": {p.name: ratio for p, ratio in members[:32]},
            },
            modules=[p.site.path for p, _ in members if p.site.path],
        )


def _matrices(measured: Measured, sound: int) -> Iterator[tuple[MeasuredParameter, float]]:
    """Yield the weights of layers with the median of their relative change."""
    known = by_index(measured)
    for parameter in measured.parameters:
        kinds = {short(node) for node in nodes_of(parameter, known)}
        start = at(parameter.rms, 0)
        if len(parameter.shape) < 2 or not kinds & (MAPS | RECURRENT):
            continue
        if not is_finite(start) or start < _NOTHING:
            continue
        steps = range(FIRST_JUDGED, sound)
        ratios = [r for step in steps if is_finite(r := at(parameter.update_ratio, step))]
        if ratios:
            yield parameter, _median(ratios)


def _median(ratios: Iterable[float]) -> float:
    import statistics  # its own imports would take a tenth of the time of `nnlint rule`

    return statistics.median(ratios)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2g} %" if ratio < 10 else f"{ratio:.3g} times their size"
