"""dead-relu-bias: a bias so negative that the ReLU behind it never opens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph, Node, consumers
from nnlint.linter.operators.activation import RELU, RELU6
from nnlint.linter.operators.base import Family
from nnlint.linter.operators.linear import CONVOLUTIONS, LINEAR
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.signal.chains import signal_of

if TYPE_CHECKING:
    import torch

# A standard normal value lies above 5 once in 3.5 million draws.
DEVIATIONS = 5.0


class DeadReluBias(Rule):
    """A bias pushes more than half of a layer's units below zero for good, so their ReLUs are dead.

    ## What it does
    Looks at linear and convolution layers whose output goes into a ReLU, and counts the units
    whose bias outweighs everything that the weights can add for inputs of unit mean square.

    ## Why is this bad?
    A ReLU that never opens passes on no value and no gradient. Its unit cannot recover, and a
    layer of such units stops all that lies before it from learning.

    ## Example
    ```python
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(64, 32)
            self.out = nn.Linear(32, 4)
            nn.init.constant_(self.hidden.bias, -100.0)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))
    ```

    ## Use instead
    ```python
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(64, 32)
            self.out = nn.Linear(32, 4)
            nn.init.zeros_(self.hidden.bias)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))
    ```

    ## How it is decided
    The prediction of docs/signal.md gives mean and standard deviation of what goes into each ReLU,
    for standard normal inputs of the model. A unit counts as dead when its bias is negative and its
    mean lies five deviations below zero. Where values cannot be followed, inputs of unit mean
    square are assumed: dead is then a bias below both -||w||_1 and -5 ||w||_2. The rule speaks when
    more than half of the units are dead. `nnlint probe` settles it: dead-units.

    ## Known limits
    Inputs far larger than one (raw pixel values up to 255) may still open such units.

    ## References
    Lu, Shin, Su, Karniadakis: Dying ReLU and Initialization, 2019, https://arxiv.org/abs/1903.06733.
    """

    name = "dead-relu-bias"
    code = "NNL404"
    severity = Severity.ERROR
    category = Category.ACTIVATION
    probe = "dead-units"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield each layer that feeds only ReLUs and has mostly dead units."""
        for node in graph.ops(LINEAR, *CONVOLUTIONS):
            bias, weight = node.parameter("bias"), node.parameter("weight")
            if bias is None or weight is None or not _feeds_only_relus(node):
                continue
            if not bias.numel():
                continue
            # Healthy biases end here: one pass over a vector.
            if float(bias.detach().min()) > -1e-6:
                continue
            units = bias.numel()
            rows = weight.detach().flatten(1)
            # A bias that a single deviation of a weight's size outweighs needs no closer look.
            if 2 * int((bias.detach() < -rows.norm(dim=1)).sum()) <= units:
                continue
            dead = _dead(graph, node, bias.detach(), rows)
            if 2 * dead > units:
                low = float(bias.detach().min())
                yield self.finding(
                    graph,
                    node.built or node,
                    f"{dead} of {units} units are dead: biases down to {low:.4g} keep their ReLU shut",
                    help="start biases at zero (nn.init.zeros_), or at a small positive value",
                    modules=(node.path,) if node.path else (),
                    evidence={"dead": dead, "units": units, "lowest_bias": low},
                )


def _dead(graph: ModelGraph, node: Node, bias: torch.Tensor, rows: torch.Tensor) -> int:
    """Count the units that never open."""
    value = signal_of(graph).value(node)
    if value is not None and value.roles.count("c") == 1:
        highest = (value.mean + DEVIATIONS * value.var.sqrt()).flatten()
        return int(((highest < 0) & (bias < 0)).sum())
    reach = rows.abs().sum(1).maximum(DEVIATIONS * rows.norm(dim=1))
    return int((bias < -reach).sum())


def _feeds_only_relus(node: Node) -> bool:
    through = frozenset({Family.SHAPE, Family.PASS, Family.DROPOUT, Family.POOL})
    users = consumers(node, through)
    return bool(users) and all(user.op is RELU or user.op is RELU6 for user in users)
