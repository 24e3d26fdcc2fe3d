"""The rule dropout-on-output (NNL305)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node, data_inputs, takes_one
from nnlint.linter.operators import loss as losses
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.assumptions import is_assumed_number
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

# Losses whose input is a prediction. Metric losses compare features, which may well be dropped.
_PREDICTED = losses.CLASSIFICATION | {
    losses.MSE,
    losses.L1,
    losses.SMOOTH_L1,
    losses.HUBER,
    losses.CTC,
    losses.KL_DIV,
    losses.POISSON_NLL,
    losses.GAUSSIAN_NLL,
}
_AFTER = frozenset(
    {Family.SHAPE, Family.PASS, Family.ACTIVATION, Family.PROBABILITY, Family.ELEMENTWISE}
)


class DropoutOnOutput(Rule):
    """A dropout stands behind the last layer, on the predictions themselves.

    ## What it does
    Finds dropout between the last layer and the loss.

    ## Why is this bad?
    There is no layer left that could make up for the missing values. Dropped logits become 0, a
    claim like any other, and the loss then trains the model against noise in its own answer.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 64)
            self.head = nn.Linear(64, 5)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.head(self.hidden(x).relu()))


    def train(loader):
        model = Net()
        criterion = nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 64)
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            return self.head(self.drop(self.hidden(x).relu()))


    def train(loader):
        model = Net()
        criterion = nn.CrossEntropyLoss()
        for x, y in loader:
            criterion(model(x), y).backward()
    ```

    ## How it is decided
    From the loss the way back leads through activations, softmax, reshapes and arithmetic with
    constants. A dropout met there before any layer is reported. Only losses on predictions count:
    classification, regression, likelihoods. Losses on embeddings do not.

    ## Known limits
    A model that ends in dropout and whose loss is not known is not checked: its output may be
    features for another model.

    ## References
    - Srivastava et al., Dropout, https://jmlr.org/papers/v15/srivastava14a.html
    """

    name = "dropout-on-output"
    code = "NNL305"
    severity = Severity.WARNING
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each dropout that reaches a loss without a layer in between."""
        seen: set[Node] = set()
        for loss in graph.losses:
            prediction = loss.args.get("input")
            if loss.op in _PREDICTED and isinstance(prediction, Node):
                for node in _dropouts(prediction, seen):
                    if is_assumed_number(graph, flow.rate(node)):
                        yield NotChecked("the rate of the last dropout was assumed, it may be 0")
                    else:
                        yield self._found(graph, node, loss)
        if not graph.loss_known and any(_dropouts(output, seen) for output in graph.outputs):
            yield NotChecked(
                "the model ends in dropout and no loss was found for it; name it with --loss"
            )

    def _found(self, graph: ModelGraph, node: Node, loss: Node) -> Finding:
        name = loss.op.name if loss.op is not None else "the loss"
        place = loss.location
        return self.finding(
            graph,
            node,
            f"dropout (p={flow.rate(node):g}) on the output itself: no layer follows before {name}",
            help="put the dropout before the last layer",
            related=[Related(place, "the loss", "loss")] if place else [],
        )


def _dropouts(output: Node, seen: set[Node]) -> list[Node]:
    """Return the dropouts, not seen before, that a value comes from without a layer in between."""
    found: list[Node] = []
    stack = [output]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if flow.drops(node):
            found.append(node)
            continue
        joins = node.family(Family.SHAPE, Family.DROPOUT)
        if joins or (node.family(*_AFTER) and takes_one(node)):
            stack.extend(reversed(data_inputs(node)))
    return found
