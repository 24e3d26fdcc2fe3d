"""The rule abrupt-width (NNL506)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import TRANSPARENT, ModelGraph, Node, consumers, sources
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.linear import LINEAR
from nnlint.linter.rules.base import Category, NotChecked, Rule

# The ratio at which a hidden layer is remarked on. Common hidden layers stay below 16 (squeeze
# and excitation reduces by 16, a transformer's MLP grows by 4, VGG's classifier shrinks by 6).
_RATIO = 100
# Coordinates, times and other scalars are lifted to many features on purpose.
_SCALARS = 8
_BETWEEN = TRANSPARENT | {Family.ACTIVATION, Family.NORM}


class AbruptWidth(Rule):
    """A hidden fully connected layer changes the width more than 100-fold at once.

    ## What it does
    Finds hidden `Linear` layers whose input and output sizes differ by more than a factor of 100.

    ## Why is this bad?
    A sudden bottleneck throws away most of what the layers before it have computed, and a sudden
    expansion spends most of the model's parameters on one layer. Widths usually change by factors
    of 2 to 16 per layer.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 16), nn.ReLU(), nn.Linear(16, 10)
            )

        def forward(self, x):
            return self.layers(x)
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10)
            )

        def forward(self, x):
            return self.layers(x)
    ```

    ## How it is decided
    A layer counts as hidden when another `Linear` follows after an activation and one comes
    before, or the model's input does. Heads (2048 features to 10 classes are healthy), layers
    behind a convolution, low-rank factors without an activation between, and layers that lift up
    to 8 numbers to many features are not looked at.

    ## Known limits
    A matter of taste: a note.

    ## References
    - https://karpathy.github.io/2019/04/25/recipe/
    """

    name = "abrupt-width"
    code = "NNL506"
    severity = Severity.NOTE
    category = Category.WIRING

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Report hidden linear layers with a large ratio."""
        if graph.assumed:
            yield NotChecked("constructor arguments were assumed")
            return
        for node in graph.ops(LINEAR):
            weight = node.parameter("weight")
            if weight is None or weight.dim() != 2:
                continue
            out_features, in_features = (int(size) for size in weight.shape)
            if min(in_features, out_features) * _RATIO >= max(in_features, out_features):
                continue
            if in_features <= _SCALARS or not _is_hidden(node):
                continue
            ratio = max(in_features, out_features) / min(in_features, out_features)
            change = "shrinks" if out_features < in_features else "grows"
            yield self.finding(
                graph,
                node,
                f"the width {change} from {in_features:,} to {out_features:,} features in one"
                f" hidden layer ({ratio:.0f}x)",
                help="change the width in steps, by factors of 2 to 16",
                evidence={"in": in_features, "out": out_features, "ratio": round(ratio, 1)},
            )


def _is_hidden(node: Node) -> bool:
    behind = consumers(node, _BETWEEN)
    if not behind or any(user.op is not LINEAR for user in behind):
        return False
    if all(user in consumers(node) for user in behind):
        return False  # nothing between: two factors of one matrix
    main = node.args.get("input")
    return isinstance(main, Node) and all(
        source.op is LINEAR or source.kind == "input" for source in sources(main, _BETWEEN)
    )
