"""sigmoid-before-bce-with-logits: two sigmoids in a row."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.operators.loss import BCE_WITH_LOGITS, MULTILABEL_SOFT_MARGIN
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    hidden_behind_unknown,
    loss_place,
    predictions,
    title,
    unknown_operation,
    without_loss,
)

_LOSSES = frozenset({BCE_WITH_LOGITS, MULTILABEL_SOFT_MARGIN})


class SigmoidBeforeBceWithLogits(Rule):
    """A sigmoid reaches a binary loss that applies the sigmoid itself.

    ## What it does
    Reports a sigmoid whose output is the prediction of `nn.BCEWithLogitsLoss`,
    `F.binary_cross_entropy_with_logits` or `nn.MultiLabelSoftMarginLoss` in training code.

    ## Why is this bad?
    The loss takes the sigmoid of a number between 0 and 1, which lies between 0.5 and 0.73: it
    can say neither "surely yes" nor "no" at all. The loss does not fall below 0.31 for positives
    and 0.69 for negatives, and gradients shrink with each of the two sigmoids. Nothing raises.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.head(x))


    def train(loader):
        model, criterion = Net(), nn.BCEWithLogitsLoss()
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
            self.head = nn.Linear(20, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)


    def train(loader):
        model, criterion = Net(), nn.BCEWithLogitsLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    From the prediction of each such loss that training runs, the graph is followed back through
    reshapes, slices, casts, dropout, pooling and interpolation. The rule speaks when all that is
    found there are sigmoids (hard sigmoid included). The bounds are softplus(-1) and log 2.

    ## Known limits
    The loss must be called with the model's output in the same file or in forward, or be named
    with --loss. A sigmoid that is rescaled before the loss is left alone.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    name = "sigmoid-before-bce-with-logits"
    code = "NNL105"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "cannot-overfit"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield the sigmoids that make the prediction of a loss with a sigmoid inside."""
        origins = Origins(resampled=True)
        for loss, prediction in predictions(graph, _LOSSES):
            origin = origins.of(prediction)
            if origin.ops <= SIGMOIDS and may_be_assumed(graph, origin.nodes):
                yield BY_ASSUMPTION
            elif origin.ops <= SIGMOIDS:
                for node in origin.nodes:
                    yield self.finding(
                        graph,
                        node,
                        f"sigmoid output goes into {title(loss)}, which applies the sigmoid itself",
                        help="return the logits and apply sigmoid only where probabilities are "
                        "read. As it is, the loss cannot fall below 0.31 for positives and 0.69 "
                        "for negatives",
                        related=loss_place(graph, loss),
                        evidence={"loss": title(loss), "lowest_loss": [0.3133, 0.6931]},
                    )
            elif (unknown := hidden_behind_unknown(origins, origin, SIGMOIDS)) is not None:
                yield unknown_operation(unknown)
        yield from without_loss(graph, lambda output: origins.of(output).ops <= SIGMOIDS)
