"""The rule missing-init (NNL201)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.initialisation.fading import (
    Kind,
    Verdict,
    evidence,
    verdicts,
)
from nnlint.linter.rules.initialisation.gains import name_of, remedy, times, words

# Gradients of ten layers with PyTorch's own weights and ReLU fade by about 2000; AlexNet, which
# trains as torchvision has it, loses 545 over its eight.
WARNING, ERROR = 1e-3, 1e-5


class MissingInit(Rule):
    """Layers keep PyTorch's default weights, and gradients fade on their way back through them.

    ## What it does
    Predicts the gradients along layers that follow one another without norm or residual
    connection and that all have the weights PyTorch gives them, and speaks where they fade.

    ## Why is this bad?
    PyTorch draws weights uniformly up to 1 / sqrt(inputs). That is a third of the variance that a
    linear map needs to keep sizes, and a sixth of what it needs with ReLU behind it. So each
    layer takes 60 % off activations and gradients, and the first layers of a deep network hardly
    learn.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for _ in range(12):
                layers += [nn.Linear(64, 64), nn.ReLU()]
            self.layers = nn.Sequential(*layers, nn.Linear(64, 10))

        def forward(self, x):
            return self.layers(x)
    ```

    ## Use instead
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for _ in range(12):
                layers += [nn.Linear(64, 64), nn.ReLU()]
            self.layers = nn.Sequential(*layers, nn.Linear(64, 10))
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(layer.bias)

        def forward(self, x):
            return self.layers(x)
    ```

    ## How it is decided
    The prediction carries means and variances through the graph, with the weights that the model
    was built with (docs/signal.md). The norm of the gradient that arrives at a layer is compared
    with the largest one at a later layer of the same chain. Below 1/10 it is a note, below 1/1000
    a warning, below 1/100000 an error; one single drop, such as a head that starts near zero, does
    not count. A norm, a residual connection or a branch ends a chain. Layers count as default by
    the numbers in their weights. Sigmoids that do the fading are saturating-stack's business.
    `nnlint probe` measures it: vanishing-gradient.

    ## Known limits
    Inputs are taken as standard normal. Weights that are loaded after the model is built are not
    seen.

    ## References
    - He and others: Delving deep into rectifiers, 2015, https://arxiv.org/abs/1502.01852
    - Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
      2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    name = "missing-init"
    code = "NNL201"
    severity = Severity.WARNING
    category = Category.INITIALISATION
    probe = "vanishing-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield one finding for the model, at the first layer that the gradient fades before."""
        for verdict in verdicts(graph):
            if isinstance(verdict, NotChecked):
                yield verdict
            elif verdict.kind is Kind.DEFAULT:
                yield self._found(graph, verdict)

    def _found(self, graph: ModelGraph, verdict: Verdict) -> Finding:
        fade = verdict.fade
        ratio = fade.ratio
        severity = Severity.NOTE
        if ratio < ERROR and fade.steady < ERROR**0.5:
            severity = Severity.ERROR
        elif ratio < WARNING and fade.steady < WARNING**0.5:
            severity = Severity.WARNING
        first, last = fade.layers[0], fade.layers[-1]
        fit = remedy(fade.chain.activations(fade.first, fade.last))
        return self.finding(
            graph,
            first.built or first,
            f"gradients fade {times(1 / ratio)} times from `{name_of(last)}` back to "
            f"`{name_of(first)}`: {len(fade.layers)} layers keep PyTorch's default weights "
            f"({words(fade.layers)})",
            help=f"initialise them after {fit.name}: {fit.call}; or put norms between them",
            severity=severity,
            evidence=evidence(verdict),
            modules=[layer.path for layer in fade.layers if layer.path],
        )
