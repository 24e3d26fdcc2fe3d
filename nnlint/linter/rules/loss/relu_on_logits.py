"""relu-on-logits: a ReLU cuts off the negative half of the logits."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators.loss import BCE, CLASSIFICATION
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, SOFTMAXES, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    class_count,
    loss_place,
    predictions,
    title,
    without_loss,
)

# The last maps from logits to what a loss takes.
_OUTPUT_MAPS = SIGMOIDS | SOFTMAXES | {act.LOG_SOFTMAX, act.LOGSIGMOID, math_ops.LOG}
_MAX_MAPS = 3


class ReluOnLogits(Rule):
    """A ReLU is the last thing before a classification loss.

    ## What it does
    Reports a ReLU (ReLU6, `clamp(min=0)`) whose output is taken as logits by a classification
    loss in training code, directly or through a final softmax, log-softmax or sigmoid.

    ## Why is this bad?
    All logits below zero become equal, and get no gradient. A class whose logit is negative for a
    sample cannot be raised by that sample; before a sigmoid no probability under 0.5 can be said
    at all. Training often stalls at the loss of chance, ln C, when the head starts dead.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5), nn.ReLU()
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)


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
            self.layers = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)


    def train(loader):
        model, criterion = Net(), nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    From the prediction of each classification loss that training runs, the graph is followed back
    through reshapes, slices, casts, dropout and the final softmax or sigmoid. The rule speaks
    when all that is found there are ReLUs. A pooling or a mean after the ReLU (as in SqueezeNet
    and Network in Network), a negation, or a scale is another design, and silent.

    ## Known limits
    Regression losses are never meant: outputs that cannot be negative are a design there.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    name = "relu-on-logits"
    code = "NNL108"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "dead-units"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield the ReLUs that make the logits of a classification loss."""
        origins = Origins()
        for loss, prediction in predictions(graph, CLASSIFICATION):
            found = _logits(origins, prediction)
            if found and may_be_assumed(graph, [node for node, _ in found]):
                yield BY_ASSUMPTION
                continue
            for node, mapped in found:
                # A bare ReLU before BCELoss is bce-without-sigmoid.
                if mapped or loss.op is not BCE:
                    yield self._found(graph, node, loss, class_count(prediction))
        yield from without_loss(graph, lambda output: bool(_logits(origins, output)))

    def _found(self, graph: ModelGraph, node: Node, loss: Node, classes: int | None) -> Finding:
        evidence: dict[str, object] = {"loss": title(loss)}
        size = ""
        if classes is not None and classes > 1:
            evidence["classes"] = classes
            size = f" of {classes} classes"
        return self.finding(
            graph,
            node,
            f"{title(node)} on the logits{size} before {title(loss)}: negative ones become 0 and "
            "get no gradient",
            help="let the last layer's output go to the loss without an activation",
            related=loss_place(graph, loss),
            evidence=evidence,
        )


def _logits(origins: Origins, prediction: Node) -> list[tuple[Node, bool]]:
    """Return the ReLUs that make the logits, if all are, and whether an output map follows."""
    nodes = [prediction]
    for maps in range(_MAX_MAPS + 1):
        origin = [o for node in nodes for o in origins.of(node).nodes]
        if all(_is_relu(node) for node in origin):
            return [(node, maps > 0) for node in origin]
        if not all(node.op in _OUTPUT_MAPS for node in origin):
            return []
        nodes = [node.input for node in origin if node.input is not None]
    return []


def _is_relu(node: Node) -> bool:
    if node.op is math_ops.CLAMP:
        return bool(node.arg("min") == 0 and node.arg("max") is None)
    if node.op is math_ops.CLAMP_MIN:
        return bool(node.arg("min") == 0)
    if node.op is act.THRESHOLD:
        return bool(node.arg("threshold") == 0 and node.arg("value") == 0)
    return node.op in (act.RELU, act.RELU6)
