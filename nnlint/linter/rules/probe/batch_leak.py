"""The rule batch-leak (NNL811)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.outcome import unfinished
from nnlint.linter.rules.probe.reading import by_index, short

if TYPE_CHECKING:
    from nnlint.linter.experiments import Leak
    from nnlint.linter.measured import Measured, MeasuredNode


class BatchLeak(ProbeRule):
    """The output for one sample changes with the input of another one.

    ## What it does
    Replaces one sample of the batch and looks whether the outputs of the others stay as they were,
    with dropout off and batch norm on its running statistics.

    ## Why is this bad?
    Samples are independent, and at inference there may be only one. A `view` that mixes the batch
    with another dimension, a softmax or mean over dimension 0, or a recurrent layer without
    `batch_first` trains to a loss that means nothing.

    ## Example
    ```python
    # nnlint probe --experiment isolation
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            x = F.relu(self.hidden(x))
            x = x - x.mean(0)
            return self.out(x)


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## Use instead
    ```python
    # nnlint probe --experiment isolation
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            x = F.relu(self.hidden(x))
            x = x - x.mean(1, keepdim=True)
            return self.out(x)


    def train(x, labels):
        model = Net()
        F.cross_entropy(model(x), labels).backward()
    ```

    ## How it is decided
    A change above rounding is a leak, and the first operation whose result for an untouched sample
    changed is named. Outputs that compare samples by their shape ([batch, batch]) are left out.
    Batch norm without running statistics mixes samples by its definition; with it nothing is
    judged.

    ## Known limits
    Losses that compare samples (contrastive ones) are not looked at, only outputs of the model.

    ## References
    - https://karpathy.github.io/2019/04/25/recipe/ ("use backprop to chart dependencies")
    """

    name = "batch-leak"
    code = "NNL811"
    severity = Severity.WARNING
    experiment = "isolation"

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report each operation that mixes samples, once."""
        found = measured.experiments.isolation
        if found is None:
            yield NotChecked(unfinished(measured, self.experiment))
        elif not found.compared:
            yield NotChecked("no output has a value for each sample")
        elif found.leaks and found.batch_statistics:
            yield NotChecked("a batch norm without running statistics mixes samples")
        else:
            leaks: dict[int | None, list[Leak]] = {}
            for leak in found.leaks:
                leaks.setdefault(leak.node, []).append(leak)
            for node, group in leaks.items():
                yield self._found(
                    measured, by_index(measured).get(-1 if node is None else node), group
                )

    def _found(self, measured: Measured, node: MeasuredNode | None, leaks: list[Leak]) -> Finding:
        worst = max(leaks, key=lambda leak: leak.change)
        first = f"{short(node)} mixes samples: " if node is not None else ""
        return self.report(
            measured,
            node.site if node is not None else None,
            f"{first}with another sample in the batch, the outputs of {worst.samples} others change "
            f"by {_percent(worst.change)} of their size",
            help="keep the batch in dimension 0: look for a view or reshape, a softmax, mean or norm "
            "over the batch, or a layer that wants `batch_first=True`",
            evidence={
                "leaks": [
                    {"output": leak.output, "samples": leak.samples, "change": leak.change}
                    for leak in leaks
                ]
            },
        )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{share:.3g} times"
