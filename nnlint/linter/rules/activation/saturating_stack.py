"""The rule saturating-stack (NNL401)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.initialisation.fading import Kind, Verdict, evidence, verdicts
from nnlint.linter.rules.initialisation.gains import name_of, times

NOTE, WARNING, ERROR = 1e-1, 1e-2, 1e-4


class SaturatingStack(Rule):
    """Sigmoids or other flat activations between layers take the gradient away.

    ## What it does
    Predicts the gradients along layers that follow one another, and speaks where they fade because
    the activations between the layers are bounded and nearly flat where their inputs lie.

    ## Why is this bad?
    The derivative of a sigmoid is at most 1/4. A gradient that passes n of them is at most 4^-n of
    what it was, times what the weights add or take. With a few layers the first ones no longer
    learn: this is the vanishing gradient in its purest form.

    ## Example
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            for layer in self.hidden:
                x = torch.sigmoid(layer(x))
            return self.out(x)
    ```

    ## Use instead
    ```python
    import torch
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))
            self.out = nn.Linear(64, 10)
            for layer in self.hidden:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

        def forward(self, x):
            for layer in self.hidden:
                x = torch.relu(layer(x))
            return self.out(x)
    ```

    ## How it is decided
    The prediction of docs/signal.md gives the norm of the gradient at each layer's output. The
    first of a chain is compared with the largest one behind it: below 1/10 is a note, below 1/100 a
    warning, below 1/10000 an error, if at least half of the layers between end in an activation that is bounded
    (sigmoid, tanh, their hard forms, softsign) and whose derivative has a root mean square under
    1/3 there. Gates, and chains that a norm or a residual connection resets, are not looked at.
    `nnlint probe` measures it: vanishing-gradient.

    ## Known limits
    Inputs are taken as standard normal. Recurrent layers are not judged.

    ## References
    - Hochreiter: Untersuchungen zu dynamischen neuronalen Netzen, 1991
    - Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
      2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    name = "saturating-stack"
    code = "NNL401"
    severity = Severity.WARNING
    category = Category.ACTIVATION
    probe = "vanishing-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield one finding for the model, at its first saturating activation."""
        for verdict in verdicts(graph):
            if isinstance(verdict, NotChecked):
                yield verdict
            elif verdict.kind is Kind.SATURATION and verdict.fade.ratio < NOTE:
                yield self._found(graph, verdict)

    def _found(self, graph: ModelGraph, verdict: Verdict) -> Finding:
        fade, flat = verdict.fade, verdict.flat
        ratio = fade.ratio
        first, last = fade.layers[0], fade.layers[-1]
        named, _ = Counter(node.op.name for node in flat if node.op).most_common(1)[0]
        names = f"{len(flat)} {named}" + ("" if len(flat) == 1 else " activations")
        factor = f"{times(1 / ratio)} times" if ratio > 0 and math.isfinite(ratio) else "away"
        tanh = named in {"tanh", "hardtanh", "softsign"}
        return self.finding(
            graph,
            flat[0],
            f"gradients fade {factor} from `{name_of(last)}` back to `{name_of(first)}`: "
            f"{names} between the layers",
            help=(
                "start from smaller weights, e.g. nn.init.xavier_normal_(weight), or put norms before "
                "the activations"
                if tanh
                else "use ReLU or GELU between layers, with nn.init.kaiming_normal_, and a sigmoid at "
                "the output alone"
            ),
            severity=_severity(ratio),
            related=[
                Related(node.location, "and here")
                for node in flat[1:]
                if node.location is not None and node.location != flat[0].location
            ],
            evidence=evidence(verdict) | {"activations": len(flat)},
            modules=[layer.path for layer in fade.layers if layer.path],
        )


def _severity(ratio: float) -> Severity:
    if ratio < ERROR:
        return Severity.ERROR
    return Severity.WARNING if ratio < WARNING else Severity.NOTE
