"""The rule channel-dropout-on-features (NNL307)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, Shape
from nnlint.linter.operators import dropout
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

# Input ranks that each of them takes to be one sample without a batch: the first dimension is
# then dropped as if it held channels.
# https://docs.pytorch.org/docs/stable/_modules/torch/nn/functional.html#dropout1d
_UNBATCHED = {
    dropout.DROPOUT1D: (2,),
    dropout.DROPOUT2D: (),
    dropout.DROPOUT3D: (2, 4),
    dropout.FEATURE_DROPOUT: (),
}


class ChannelDropoutOnFeatures(Rule):
    """A dropout for whole channels gets an input without channels.

    ## What it does
    Finds Dropout1d, Dropout2d and Dropout3d on an input of shape (batch, features), and Dropout3d
    on (batch, channels, height, width).

    ## Why is this bad?
    These layers zero whole channels. Dropout1d and Dropout3d take an input with one dimension too
    few to be a single sample, treat its batch as channels, and so zero whole samples. Dropout2d
    falls back to plain dropout with a deprecation warning that later becomes an error.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3)
            self.fc = nn.Linear(8 * 26 * 26, 10)
            self.drop = nn.Dropout1d(0.5)

        def forward(self, x):
            x = self.conv(x).relu()
            return self.fc(self.drop(torch.flatten(x, 1)))
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3)
            self.fc = nn.Linear(8 * 26 * 26, 10)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            x = self.conv(x).relu()
            return self.fc(self.drop(torch.flatten(x, 1)))
    ```

    ## How it is decided
    By the shape of the input, traced for two batch sizes: the first dimension must be the batch,
    so that a single sample of shape (channels, length) stays silent.

    ## Known limits
    Where no input shape was found, nothing is said. A sequence of shape (batch, length, features)
    given to Dropout1d loses whole positions instead of whole features: its shape does not tell.

    ## References
    - Tompson et al., Efficient Object Localization Using Convolutional Networks,
      https://arxiv.org/abs/1411.4280
    - https://docs.pytorch.org/docs/stable/generated/torch.nn.Dropout1d.html
    """

    name = "channel-dropout-on-features"
    code = "NNL307"
    severity = Severity.ERROR
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each channel dropout on an input of too low a rank."""
        for node in filter(flow.drops, graph.ops(*_UNBATCHED)):
            info = node.input.info if node.input is not None else node.info
            unbatched = _UNBATCHED[node.op] if node.op is not None else ()
            if info.shape is None:
                yield NotChecked("the input shape of a channel dropout is unknown")
            elif info.rank in unbatched and info.batch is None:
                yield NotChecked("no batch dimension is known for the input of a channel dropout")
            elif info.rank in unbatched and 0 in (info.batch or ()):
                yield self._found(graph, node, info.shape, "zeroes whole samples")
            elif info.rank == 2 and not unbatched:
                yield self._found(graph, node, info.shape, "finds no channels and only warns")

    def _found(self, graph: ModelGraph, node: Node, shape: Shape, effect: str) -> Finding:
        name = "Dropout2d"
        if node.op is not None and node.op is not dropout.FEATURE_DROPOUT:
            name = node.op.name.capitalize()
        sizes = ", ".join(["batch", *map(str, shape[1:])])
        return self.finding(
            graph,
            node,
            f"{name} on an input of shape ({sizes}) {effect}",
            help="use nn.Dropout" if len(shape) == 2 else "use nn.Dropout2d",
            evidence={"shape": list(shape)},
        )
