"""softmax-over-batch: the samples of a batch compete with one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import TRANSPARENT, ModelGraph, Node
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators import linear
from nnlint.linter.operators.activation import LOG_SOFTMAX
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.layout import Layout, effective_dim, is_implicit
from nnlint.linter.rules.loss.origins import SOFTMAXES, fold
from nnlint.linter.rules.loss.predictions import title

_CONVOLUTIONS = linear.CONVOLUTIONS | linear.TRANSPOSED_CONVOLUTIONS
_UNDECIDED = NotChecked("which dimension of the softmax's input is the batch is not known")


class SoftmaxOverBatch(Rule):
    """A softmax runs along the batch, so that samples compete with one another.

    ## What it does
    Reports a softmax or log-softmax along the batch dimension, given as `dim` or picked by
    PyTorch's rule for a missing `dim`.

    ## Why is this bad?
    The probabilities of one class sum to one over the samples, not those of one sample over the
    classes. Each prediction depends on what else is in the batch, and a batch of one gets 1 for
    every class. Without `dim`, PyTorch takes dimension 0 for inputs of 0, 1 and 3 dimensions and
    dimension 1 otherwise: for (batch, length, features) that is the batch.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(torch.relu(self.conv(x))).flatten(1)
            return torch.softmax(self.head(x), dim=0)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(torch.relu(self.conv(x))).flatten(1)
            return torch.softmax(self.head(x), dim=1)
    ```

    ## How it is decided
    Shapes are computed for two batch sizes; the dimension that follows them is the batch. An
    explicit `dim` is reported only where the softmax ends the model (an attention over the
    members of a set, or over time in sequence-first layout, looks the same otherwise), a missing
    one also inside. That the first dimension is a batch must be shown by a layer that fixes it
    (convolution, batch norm, batch-first recurrence, flatten or view), which makes an error, or
    by a classification loss, which makes a warning.

    ## Known limits
    Models of linear layers only, without a known loss, may be meant for single samples and are
    not checked. `squeeze(0)`, `unsqueeze(0)` and sequence-first layers leave the case open.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.Softmax.html;
    `_get_softmax_dim` in https://github.com/pytorch/pytorch/blob/main/torch/nn/functional.py
    """

    name = "softmax-over-batch"
    code = "NNL110"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "batch-leak"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield the softmaxes along the batch."""
        layout: Layout | None = None
        ends: dict[int, bool] = {}
        for node in graph.nodes:
            if not (node.op in SOFTMAXES or node.op is LOG_SOFTMAX) or node.input is None:
                continue
            info, implicit, dim = node.input.info, is_implicit(node), effective_dim(node)
            ending = bool(node.users) and all(fold(u, _onward, _ends, ends) for u in node.users)
            if info.shape is None or info.batch is None:
                if implicit or (dim == 0 and ending):
                    yield _UNDECIDED
                continue
            if dim is None or info.batch != (dim,) or math.prod(info.shape) <= info.shape[dim]:
                continue
            if not ending and not (implicit and dim == 0):
                continue
            layout = layout or Layout(graph)
            severity = layout.certainty(node)
            if severity is None:
                yield _UNDECIDED
                continue
            rank = len(info.shape)
            way = (
                f"without dim takes dimension {dim} of {rank}"
                if implicit
                else f"runs along dimension {dim}"
            )
            yield self.finding(
                graph,
                node,
                f"{title(node)} {way}, the batch",
                help="give the dimension of the classes, dim=1 or dim=-1",
                severity=severity,
                related=layout.related if severity is Severity.WARNING else (),
                evidence={"dim": dim, "shape": list(info.shape)},
            )


def _onward(node: Node) -> Sequence[Node]:
    moves = node.family(*TRANSPARENT) or node.op is math_ops.LOG
    return node.users if moves and node.kind == "op" else ()


def _ends(node: Node, users: Sequence[bool]) -> bool:
    if users:
        return all(users)
    return node.kind == "output" or node.family(Family.LOSS, Family.STOP)
