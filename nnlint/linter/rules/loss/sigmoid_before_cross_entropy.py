"""sigmoid-before-cross-entropy: a multi-class loss gets independent probabilities."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.loss import CROSS_ENTROPY
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    class_count,
    hidden_behind_unknown,
    loss_place,
    lowest_loss,
    predictions,
    unknown_operation,
    without_loss,
)


class SigmoidBeforeCrossEntropy(Rule):
    """A sigmoid reaches a multi-class cross-entropy, which expects unbounded logits.

    ## What it does
    Reports a sigmoid whose output is the prediction of `nn.CrossEntropyLoss` or
    `F.cross_entropy` in training code.

    ## Why is this bad?
    The loss applies log-softmax to its input. Values between 0 and 1 leave it almost uniform:
    with 10 classes the loss does not fall below 1.46 however good the model is, and the flat ends
    of the sigmoid take the gradient away as well.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(20, 64)
            self.head = nn.Linear(64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.hidden(x))
            return torch.sigmoid(self.head(x))


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
            self.hidden = nn.Linear(20, 64)
            self.head = nn.Linear(64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.hidden(x))
            return self.head(x)


    def train(loader):
        model, criterion = Net(), nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    From the prediction of each cross-entropy that training runs, the graph is followed back
    through reshapes, slices, casts, dropout, pooling and interpolation. The rule speaks when all
    that is found there are sigmoids (hard sigmoid included). A sigmoid that gates another value
    is followed by a multiplication and is never meant.

    ## Known limits
    The loss must be called with the model's output in the same file or in forward, or be named
    with --loss. A sigmoid that is rescaled before the loss is left alone.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    name = "sigmoid-before-cross-entropy"
    code = "NNL102"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "cannot-overfit"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield the sigmoids that make the prediction of a cross-entropy."""
        origins = Origins(resampled=True)
        for loss, prediction in predictions(graph, frozenset({CROSS_ENTROPY})):
            origin = origins.of(prediction)
            if origin.ops <= SIGMOIDS and may_be_assumed(graph, origin.nodes):
                yield BY_ASSUMPTION
            elif origin.ops <= SIGMOIDS:
                for node in origin.nodes:
                    yield self._found(graph, node, loss, class_count(prediction))
            elif (unknown := hidden_behind_unknown(origins, origin, SIGMOIDS)) is not None:
                yield unknown_operation(unknown)
        yield from without_loss(graph, lambda output: origins.of(output).ops <= SIGMOIDS)

    def _found(self, graph: ModelGraph, node: Node, loss: Node, classes: int | None) -> Finding:
        help_text = (
            "return the logits for exclusive classes; for independent labels keep the logits and "
            "use BCEWithLogitsLoss"
        )
        message = "sigmoid output goes into cross_entropy, which expects unbounded logits"
        evidence: dict[str, object] = {"loss": "cross_entropy"}
        if classes is not None and classes > 1:
            lowest = lowest_loss(classes)
            evidence |= {"classes": classes, "lowest_loss": round(lowest, 4)}
            message = message.replace("output", f"output ({classes} classes)", 1)
            help_text += f". As it is, the loss cannot fall below {lowest:.2f}"
        return self.finding(
            graph,
            node,
            message,
            help=help_text,
            related=loss_place(graph, loss),
            evidence=evidence,
        )
