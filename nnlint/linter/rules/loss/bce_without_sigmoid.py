"""bce-without-sigmoid: `BCELoss` gets values that are no probabilities."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.loss import BCE
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, SOFTMAXES, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    loss_place,
    predictions,
    title,
    unknown_operation,
    without_loss,
)


class BceWithoutSigmoid(Rule):
    """Values that are no probabilities reach `BCELoss`.

    ## What it does
    Reports a prediction of `nn.BCELoss` or `F.binary_cross_entropy` in training code that is the
    plain output of a layer, or of an activation that leaves [0, 1].

    ## Why is this bad?
    The loss takes logarithms of its input and of one minus its input. Outside [0, 1] that is
    meaningless: PyTorch raises on most devices as soon as one value leaves the interval, which
    may happen only after hours of training, and what it computes before is no likelihood.

    ## Example
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
        model, criterion = Net(), nn.BCELoss()
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
    From the prediction of each `BCELoss` that training runs, the graph is followed back through
    reshapes, slices, casts, dropout, pooling and interpolation. Layers with trained weights,
    alone or added and scaled, and activations other than sigmoid, hard sigmoid and a hard tanh
    within [0, 1] are reported. Sigmoid, softmax and clamp end the search in silence. Any other
    arithmetic is not judged.

    ## Known limits
    Products and averages of probabilities are not followed; the check then ends as not checked.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html
    """

    name = "bce-without-sigmoid"
    code = "NNL106"
    severity = Severity.ERROR
    category = Category.LOSS

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield what reaches a BCELoss outside [0, 1]."""
        origins = Origins(resampled=True)
        for loss, prediction in predictions(graph, frozenset({BCE})):
            origin = origins.of(prediction)
            if all(_within_unit(node) for node in origin.nodes):
                continue
            outside = [node for node in origin.nodes if _leaves_unit(node)]
            if may_be_assumed(graph, origin.nodes, lacking=True):
                yield BY_ASSUMPTION
            elif origins.raw(prediction):
                for node in origin.nodes:
                    yield self._found(graph, node, loss, "raw logits go")
            elif len(outside) == len(origin.nodes) and len(origin.ops) == 1:
                for node in outside:
                    yield self._found(graph, node, loss, f"{title(node)} output goes")
            else:
                strange = [n for n in origin.nodes if not _within_unit(n) and not _leaves_unit(n)]
                yield _undecided(strange[0] if strange else origin.nodes[0])
        yield from without_loss(graph, origins.raw)

    def _found(self, graph: ModelGraph, node: Node, loss: Node, text: str) -> Finding:
        return self.finding(
            graph,
            node,
            f"{text} into binary_cross_entropy, which expects probabilities in [0, 1]",
            help="use BCEWithLogitsLoss on the logits, which is also the stable form, or end the "
            "model with a sigmoid",
            related=loss_place(graph, loss),
            evidence={"loss": "binary_cross_entropy", "reached_by": title(node)},
        )


def _within_unit(node: Node) -> bool:
    if node.op is act.HARDTANH:
        low, high = node.arg("min_val", -1.0), node.arg("max_val", 1.0)
        return (
            isinstance(low, int | float)
            and isinstance(high, int | float)
            and low >= 0
            and high <= 1
        )
    if node.op is math_ops.CLAMP:
        return node.arg("min") is not None and node.arg("max") is not None
    return node.op in SIGMOIDS or node.op in SOFTMAXES


def _leaves_unit(node: Node) -> bool:
    if node.op is act.LOG_SOFTMAX:
        return True
    return (
        node.family(Family.ACTIVATION) and not _within_unit(node) and node.op is not act.THRESHOLD
    )


def _undecided(node: Node) -> NotChecked:
    if node.kind == "op" and node.op is None:
        return unknown_operation(node)
    return NotChecked(f"whether {title(node) or 'the input'} stays within [0, 1] is not known")
