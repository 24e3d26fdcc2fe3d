"""single-output-cross-entropy: a choice among one class."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import linear
from nnlint.linter.operators.activation import LOG_SOFTMAX
from nnlint.linter.operators.base import Operator
from nnlint.linter.operators.loss import CROSS_ENTROPY, NLL_LOSS
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SIGMOIDS, SOFTMAXES, Origins
from nnlint.linter.rules.loss.predictions import loss_place, predictions, title, without_loss

_LOSSES = frozenset({CROSS_ENTROPY, NLL_LOSS})
_OUTPUT_MAPS = SIGMOIDS | SOFTMAXES | {LOG_SOFTMAX}


class SingleOutputCrossEntropy(Rule):
    """A cross-entropy over one class is zero for every input.

    ## What it does
    Reports `nn.CrossEntropyLoss`, or `NLLLoss` after log-softmax, on a prediction with a single
    class.

    ## Why is this bad?
    Softmax over one logit is 1 whatever the logit is, so the loss is 0 and so is every gradient.
    Training seems perfect from the first step and changes nothing.

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
            self.head = nn.Linear(20, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x)


    def train(loader):
        model, criterion = Net(), nn.BCEWithLogitsLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    The prediction's dimension 1 must have size 1, and the layer that makes it must have one
    output unit or channel, so that the size comes from the model and not from the input. Where
    other dimensions of that layer's output have size 1 too, the case is not decided.

    ## Known limits
    Models whose shapes cannot be inferred are not checked.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    name = "single-output-cross-entropy"
    code = "NNL109"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "no-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield cross-entropies over a class dimension of 1."""
        origins = Origins(resampled=True)
        for loss, prediction in predictions(graph, _LOSSES):
            layers, maps = _layers(origins, prediction)
            if not layers or (loss.op is NLL_LOSS and LOG_SOFTMAX not in maps):
                continue
            shape = prediction.info.shape
            if shape is None:
                yield NotChecked("the shape of the prediction is unknown")
            elif len(shape) < 2 or shape[1] != 1:
                continue
            elif graph.assumed:
                yield NotChecked("constructor arguments were assumed")
            elif any((layer.info.shape or ()).count(1) != 1 for layer in layers):
                yield NotChecked("which dimension holds the classes is not known")
            else:
                for layer in layers:
                    yield self._found(graph, layer, loss)
        yield from without_loss(graph, lambda output: bool(_layers(origins, output)[0]))

    def _found(self, graph: ModelGraph, layer: Node, loss: Node) -> Finding:
        return self.finding(
            graph,
            layer,
            f"{title(loss)} over 1 class is always 0, and so are its gradients",
            help="give the layer one output per class (2 for a yes or no), or use "
            "BCEWithLogitsLoss on the single output",
            related=loss_place(graph, loss),
            evidence={"loss": title(loss), "classes": 1},
        )


def _layers(origins: Origins, prediction: Node) -> tuple[list[Node], set[Operator | None]]:
    """Return the layers that make a prediction, if all have one output, and the maps after them."""
    maps: set[Operator | None] = set()
    nodes = list(origins.of(prediction).nodes)
    if all(node.op in _OUTPUT_MAPS and node.input is not None for node in nodes):
        maps = {node.op for node in nodes}
        nodes = [o for n in nodes if n.input is not None for o in origins.of(n.input).nodes]
    return (nodes if all(_one_output(node) for node in nodes) else []), maps


def _one_output(node: Node) -> bool:
    weight = node.parameter("weight")
    if weight is None or node.op not in linear.WEIGHTED or not node.info.shape:
        return False
    place = 1 if len(node.info.shape) == weight.dim() and weight.dim() > 2 else -1
    return node.info.shape[place] == 1
