"""The rule dropout-before-batchnorm (NNL301)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import dropout
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

# Both keep mean and variance as they are: https://arxiv.org/abs/1706.02515, appendix.
_KEEPS_VARIANCE = frozenset({dropout.ALPHA_DROPOUT, dropout.FEATURE_ALPHA_DROPOUT})


class DropoutBeforeBatchNorm(Rule):
    """A dropout feeds a batch norm.

    ## What it does
    Finds dropout whose output reaches a batch norm directly or through an activation, a pooling
    or a reshape.

    ## Why is this bad?
    Dropout with rate p multiplies the mean square of its input by 1 / (1 - p) in training and by
    1 in evaluation. Batch norm learns its running variance from the former and divides the latter
    by it, so every later layer sees another scale in evaluation than it was trained on.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, bias=False)
            self.act = nn.ReLU()
            self.drop = nn.Dropout(0.5)
            self.bn = nn.BatchNorm2d(16)

        def forward(self, x):
            return self.bn(self.drop(self.act(self.conv(x))))
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3, bias=False)
            self.bn = nn.BatchNorm2d(16)
            self.act = nn.ReLU()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.act(self.bn(self.conv(x))))
    ```

    ## How it is decided
    From each dropout the values are followed to the nearest batch norm that gathers running
    statistics. It is reported where no linear layer, no residual add and no concatenation lies in
    between: those mix the dropped values with others, and the shift is weak. Silent is the known
    design of a pre-activation residual block too (wide ResNet: conv, dropout, batch norm,
    activation, conv, add).

    ## Known limits
    How much the shift costs depends on p and on the width; small rates may do no harm. Alpha
    dropout keeps mean and variance and is left out.

    ## References
    - Li et al., Understanding the Disharmony between Dropout and Batch Normalization by Variance
      Shift, https://arxiv.org/abs/1801.05134
    - Zagoruyko and Komodakis, Wide Residual Networks, https://arxiv.org/abs/1605.07146
    """

    name = "dropout-before-batchnorm"
    code = "NNL301"
    severity = Severity.WARNING
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each dropout that a batch norm follows."""
        drops = [
            n
            for n in graph.of_family(Family.DROPOUT)
            if flow.drops(n) and n.op not in _KEEPS_VARIANCE
        ]
        norms = [n for n in graph.nodes if flow.is_batch_norm(n) and flow.keeps_statistics(n)]
        if not drops or not norms:
            return
        counted = frozenset(norms)
        norm_of = flow.nearest(graph.nodes, counted.__contains__)
        join_of = flow.nearest(graph.nodes, flow.is_join)
        layer_of = flow.nearest(graph.nodes, flow.is_weighted)
        for node in drops:
            if (norm := norm_of.get(node)) is None:
                continue
            end = join_of.get(layer_of.get(norm, norm))
            if end is None or not _pre_activation(node, norm, end):
                yield self._found(graph, node, norm)

    def _found(self, graph: ModelGraph, node: Node, norm: Node) -> Finding:
        p = flow.rate(node) or 0.0
        factor = f"{1 / (1 - p):.3g} times" if p < 1 else "infinitely"
        place = norm.location
        return self.finding(
            graph,
            node,
            f"dropout (p={p:g}) feeds a batch norm, whose running variance comes from a mean "
            f"square {factor} larger than in evaluation",
            help="put dropout after the batch norm and its activation",
            related=[Related(place, "the batch norm is applied here")] if place else [],
            evidence={"p": p, "batch_norm": norm.path},
        )


def _pre_activation(node: Node, norm: Node, end: Node) -> bool:
    """Tell conv -> dropout -> norm -> activation -> conv -> residual add from all else.

    Args:
        node: The dropout.
        norm: The batch norm that it feeds.
        end: The join behind the layer behind the norm; no other norm lies before it.
    """
    source = flow.only_source(node, frozenset({Family.PASS}))
    active = any(user.family(Family.ACTIVATION) for user in flow.data_users(norm))
    return active and source is not None and flow.is_weighted(source) and flow.is_residual_add(end)
