"""The rule missing-nonlinearity (NNL402)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.activation.linear_maps import LinearMap, linear_map, pair
from nnlint.linter.rules.base import Category, NotChecked, Rule


class MissingNonlinearity(Rule):
    """Two linear layers follow one another with no activation in between.

    ## What it does
    Finds a linear layer or convolution whose output goes into the next one through nothing but
    reshapes, dropout or average pooling.

    ## Why is this bad?
    Two linear maps in a row are one linear map: the second layer adds parameters and training
    time but no function that the first could not compute. Nearly always an activation was
    forgotten in forward.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(784, 128)
            self.fc2 = nn.Linear(128, 10)

        def forward(self, x):
            return self.fc2(self.fc1(x))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(784, 128)
            self.fc2 = nn.Linear(128, 10)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)))
    ```

    ## How it is decided
    The rule speaks only where the width in the middle is at least as large as the input's or the
    output's, so that the product has no lower rank than a single layer. A narrower middle is a
    factorisation (bottleneck, linear autoencoder, LoRA, word2vec) and saves parameters. It is
    silent for depthwise and grouped convolutions, kernels of unequal sides (1x3 then 3x1),
    transposed convolutions, layers whose result is used at other places too (features that are
    returned, mean and variance heads), projections to and from an attention product, frozen or
    shared layers, and where anything else
    stands in between: a norm, a max pooling, an addition, an attention product, a pixel shuffle.
    Several linear layers on one input whose results are concatenated count as one layer.

    ## Known limits
    A batch norm alone between two layers is affine in evaluation, but not in training; it is
    accepted.

    ## References
    - Goodfellow, Bengio, Courville, Deep Learning, section 6.1,
      https://www.deeplearningbook.org/contents/mlp.html
    """

    name = "missing-nonlinearity"
    code = "NNL402"
    severity = Severity.WARNING
    category = Category.ACTIVATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield one finding for each chain of linear layers, at its second layer."""
        chains: dict[Node, list[LinearMap]] = {}
        for node in graph.nodes:
            second = linear_map(node)
            found = pair(second) if second is not None else None
            if found is None or found.factorised:
                continue
            chain = chains.pop(found.first.node, None) or [found.first]
            chains[node] = [*chain, found.second]
        for chain in chains.values():
            yield self._found(graph, chain)

    def _found(self, graph: ModelGraph, chain: list[LinearMap]) -> Finding:
        widths = [chain[0].inputs, *(m.outputs for m in chain)]
        count = "two" if len(chain) == 2 else str(len(chain))
        at = chain[1].node
        place = chain[0].node.location
        return self.finding(
            graph,
            at,
            f"{count} linear layers ({' -> '.join(map(str, widths))}) follow one another without "
            "an activation and act as one",
            help=f"apply an activation between them, or replace them by one layer from {widths[0]} "
            f"to {widths[-1]}",
            related=[Related(place, "the first of them is applied here")] if place else [],
            evidence={"widths": widths},
            modules=[m.node.path for m in chain if m.node.path],
        )
