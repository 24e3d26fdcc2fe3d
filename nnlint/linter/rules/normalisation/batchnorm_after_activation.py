"""The rule batchnorm-after-activation (NNL302)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.operators import activation
from nnlint.linter.operators.base import Family
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.normalisation import flow

_BETWEEN = frozenset({Family.SHAPE, Family.PASS, Family.DROPOUT, Family.POOL})


class BatchNormAfterActivation(Rule):
    """A batch norm stands behind the activation of its layer instead of before it.

    ## What it does
    Finds the order convolution (or linear layer) -> activation -> batch norm.

    ## Why is this bad?
    Batch norm centres its input, which puts half of the following activation's inputs on either
    side of zero. Behind a ReLU it works on values that are skewed and partly cut off already, and
    the activation itself gets inputs of any scale. The usual order trains at least as well.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3),
                nn.ReLU(),
                nn.BatchNorm2d(16),
                nn.Conv2d(16, 16, 3),
            )

        def forward(self, x):
            return self.body(x)
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 16, 3),
            )

        def forward(self, x):
            return self.body(x)
    ```

    ## How it is decided
    From each batch norm the way back must lead, through nothing but reshapes, pooling and
    dropout, to one activation and from there to one convolution or linear layer, and no value on
    that way may be used elsewhere. Pre-activation blocks are left out: a batch norm that an
    activation follows, that a residual add or a concatenation feeds, or whose input a skip
    connection uses as well.

    ## Known limits
    It is a matter of order, not of correctness: some published networks use it on purpose.

    ## References
    - Ioffe and Szegedy, Batch Normalization, section 3.2, https://arxiv.org/abs/1502.03167
    - He et al., Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
    """

    name = "batchnorm-after-activation"
    code = "NNL302"
    severity = Severity.NOTE
    category = Category.NORMALISATION

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield a finding for each batch norm behind the activation of a layer."""
        for norm in filter(flow.is_batch_norm, graph.nodes):
            active = flow.only_source(norm, _BETWEEN)
            if active is None or not active.family(Family.ACTIVATION):
                continue
            if active.op is activation.GLU or len(flow.data_users(active)) > 1:
                continue
            layer = flow.only_source(active, _BETWEEN)
            if layer is None or not flow.is_weighted(layer):
                continue
            if any(user.family(Family.ACTIVATION) for user in flow.data_users(norm)):
                continue
            name = active.op.name if active.op is not None else ""
            place = active.location
            yield self.finding(
                graph,
                norm,
                f"the batch norm stands behind {name}, not before it",
                help="the usual order is convolution or linear layer, batch norm, activation",
                related=[Related(place, f"{name} is applied here")] if place else [],
                evidence={"activation": name, "layer": layer.path},
            )
