"""log-softmax-before-cross-entropy: log-softmax is computed twice."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.activation import LOG_SOFTMAX
from nnlint.linter.operators.arithmetic import LOG
from nnlint.linter.operators.loss import CROSS_ENTROPY
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SOFTMAXES, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    hidden_behind_unknown,
    loss_place,
    predictions,
    unknown_operation,
    without_loss,
)

_LOG_SOFTMAX = frozenset({LOG_SOFTMAX})


class LogSoftmaxBeforeCrossEntropy(Rule):
    """A log-softmax reaches a cross-entropy, which applies it once more.

    ## What it does
    Reports a log-softmax, or the log of a softmax, whose output is the prediction of
    `nn.CrossEntropyLoss` or `F.cross_entropy` in training code.

    ## Why is this bad?
    Log-softmax of a log-softmax is the same log-softmax, so the loss is right and training is not
    harmed. The work is done twice, and whoever removes one of the two, or changes the loss, gets
    a real bug.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log_softmax(self.head(x), dim=1)


    def train(loader):
        model, criterion = Net(), nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log_softmax(self.head(x), dim=1)


    def train(loader):
        model, criterion = Net(), nn.NLLLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    From the prediction of each cross-entropy that training runs, the graph is followed back
    through reshapes, slices, casts and dropout. The rule speaks when all that is found there are
    log-softmaxes, or logarithms of softmaxes.

    ## Known limits
    A log-softmax along another dimension than the loss's classes is not idempotent; it is
    reported by softmax-over-batch where it runs along the batch, and as this note otherwise.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    name = "log-softmax-before-cross-entropy"
    code = "NNL103"
    severity = Severity.NOTE
    category = Category.LOSS

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield the log-softmaxes that make the prediction of a cross-entropy."""
        origins = Origins()
        for loss, prediction in predictions(graph, frozenset({CROSS_ENTROPY})):
            origin = origins.of(prediction)
            found = all(_is_log_softmax(origins, node) for node in origin.nodes)
            if found and may_be_assumed(graph, origin.nodes):
                yield BY_ASSUMPTION
            elif found:
                for node in origin.nodes:
                    yield self.finding(
                        graph,
                        node,
                        "log-softmax output goes into cross_entropy, which applies log-softmax again",
                        help="return the logits, or use nll_loss, which takes log-probabilities",
                        related=loss_place(graph, loss),
                        evidence={"loss": "cross_entropy"},
                    )
            elif (unknown := hidden_behind_unknown(origins, origin, _LOG_SOFTMAX)) is not None:
                yield unknown_operation(unknown)
        yield from without_loss(graph, lambda output: LOG_SOFTMAX in origins.of(output).ops)


def _is_log_softmax(origins: Origins, node: Node) -> bool:
    if node.op is LOG and node.input is not None:
        return origins.of(node.input).ops <= SOFTMAXES
    return node.op is LOG_SOFTMAX
