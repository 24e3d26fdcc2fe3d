"""nll-without-log-softmax: the negative log-likelihood of something that is no logarithm."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators import activation as act
from nnlint.linter.operators import arithmetic as math_ops
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.loss import NLL_LOSS
from nnlint.linter.rules.assumptions import may_be_assumed
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.loss.origins import SOFTMAXES, Origin, Origins
from nnlint.linter.rules.loss.predictions import (
    BY_ASSUMPTION,
    loss_place,
    predictions,
    title,
    unknown_operation,
    without_loss,
)

# Whatever has one of these on its last step was meant to be a logarithm.
_LOGARITHMS = frozenset(
    {
        act.LOG_SOFTMAX,
        act.LOGSIGMOID,
        math_ops.LOG,
        math_ops.LOG2,
        math_ops.LOG10,
        math_ops.LOG1P,
        math_ops.LOGSUMEXP,
    }
)


class NllWithoutLogSoftmax(Rule):
    """A softmax or raw logits reach `NLLLoss`, which expects log-probabilities.

    ## What it does
    Reports a prediction of `nn.NLLLoss` or `F.nll_loss` in training code that is a softmax
    without a logarithm, another activation, or the plain output of a layer.

    ## Why is this bad?
    `NLLLoss` contains no logarithm: it returns minus the value at the label. For probabilities
    that is minus the probability, whose gradient is weak exactly where the model is wrong; for
    logits the loss falls without bound, towards minus infinity, while all other classes are
    ignored. Nothing raises.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.head(x), dim=1)


    def train(loader):
        model = Net()
        for x, y in loader:
            F.nll_loss(model(x), y).backward()
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(20, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.log_softmax(self.head(x), dim=1)


    def train(loader):
        model = Net()
        for x, y in loader:
            F.nll_loss(model(x), y).backward()
    ```

    ## How it is decided
    From the prediction of each `nll_loss` that training runs, the graph is followed back through
    reshapes, slices, casts, dropout, pooling and interpolation. Softmaxes and activations there
    are reported, and so are layers with trained weights, alone or added and scaled. A logarithm
    of any kind ends the search in silence. Any other arithmetic is not judged.

    ## Known limits
    A hand-written log-softmax made of a subtraction is not recognised; the check then ends as
    not checked.

    ## References
    https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html
    """

    name = "nll-without-log-softmax"
    code = "NNL104"
    severity = Severity.ERROR
    category = Category.LOSS
    probe = "initial-loss"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield what reaches an nll_loss without a logarithm."""
        origins = Origins(resampled=True)
        for loss, prediction in predictions(graph, frozenset({NLL_LOSS})):
            origin = origins.of(prediction)
            if origin.ops & _LOGARITHMS:
                continue
            text = _not_logarithmic(origins, origin, prediction)
            if text and may_be_assumed(graph, origin.nodes, lacking=True):
                yield BY_ASSUMPTION
                continue
            if text:
                for node in origin.nodes:
                    yield self._found(graph, node, loss, text)
                continue
            unknown = next((n for n in origin.nodes if n.kind == "op" and n.op is None), None)
            if unknown is not None:
                yield unknown_operation(unknown)
            else:
                yield NotChecked("whether nll_loss gets log-probabilities is not known")
        yield from without_loss(graph, lambda output: origins.of(output).ops <= SOFTMAXES)

    def _found(self, graph: ModelGraph, node: Node, loss: Node, text: str) -> Finding:
        probabilities = node.op in SOFTMAXES
        return self.finding(
            graph,
            node,
            f"{text} into nll_loss, which expects log-probabilities",
            help="use log_softmax in place of softmax"
            if probabilities
            else "apply log_softmax, or use cross_entropy, which takes logits",
            related=loss_place(graph, loss),
            evidence={"loss": "nll_loss", "reached_by": title(node)},
        )


def _not_logarithmic(origins: Origins, origin: Origin, prediction: Node) -> str:
    """Say what the prediction is when it is no logarithm for certain, else ""."""
    first = origin.nodes[0]
    if first.op is not None and all(
        op in SOFTMAXES or (op is not None and op.family is Family.ACTIVATION) for op in origin.ops
    ):
        return f"{title(first)} output goes"
    return "raw logits go" if origins.raw(prediction) else ""
