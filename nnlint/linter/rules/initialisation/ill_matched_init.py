"""The rule ill-matched-init (NNL203)."""

from __future__ import annotations

from collections.abc import Iterator

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.graph import ModelGraph
from nnlint.linter.rules.base import Category, NotChecked, Rule
from nnlint.linter.rules.initialisation.fading import LEAST, Kind, Verdict, evidence, verdicts
from nnlint.linter.rules.initialisation.gains import (
    drawn_by,
    gains,
    name_of,
    remedy,
    times,
    words,
)

# Change of the gradient over four layers, and layers, from which on a gain counts as wrong.
FOUR_LAYERS, SHORTEST = 2.0, 4
# Growth that exploding-init speaks of.
EXPLODING = 1e4


class IllMatchedInit(Rule):
    """Layers are initialised for another activation than the one behind them.

    ## What it does
    Predicts the gradients along layers that follow one another and whose weights were set on
    purpose, and speaks where they fade or grow from layer to layer.

    ## Why is this bad?
    Each activation needs its own gain: Xavier's keeps sizes for tanh near zero, ReLU needs twice
    the variance. A factor of 0.7 for each layer is not seen in three layers and is a factor of
    1000 in twenty.

    ## Example
    ```python
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for _ in range(10):
                layers += [nn.Linear(64, 64), nn.ReLU()]
            self.layers = nn.Sequential(*layers, nn.Linear(64, 10))
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
                    nn.init.zeros_(layer.bias)

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
            for _ in range(10):
                layers += [nn.Linear(64, 64), nn.ReLU()]
            self.layers = nn.Sequential(*layers, nn.Linear(64, 10))
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(layer.bias)

        def forward(self, x):
            return self.layers(x)
    ```

    ## How it is decided
    The prediction of docs/signal.md gives the norm of the gradient at each layer's output. The rule
    speaks where it changes by more than 2 over four layers and by more than 10 in all, over at
    least four layers without norm or residual connection of which most do not have PyTorch's
    default weights, where no single layer does it, and where the weights' own gains,
    sqrt(inputs E w^2 E f'^2) and sqrt(outputs E w^2 E f'^2), are both off by more than 2 over four
    layers: He's weights keep one of them, and what padding and pooling take is not their fault. Growth beyond 10000 is exploding-init's
    business. `nnlint probe` measures it: vanishing-gradient, exploding-gradient.

    ## Known limits
    Inputs are taken as standard normal. Weights that are loaded after the model is built are not
    seen.

    ## References
    - He and others: Delving deep into rectifiers, 2015, https://arxiv.org/abs/1502.01852
    - torch.nn.init.calculate_gain, https://docs.pytorch.org/docs/stable/nn.init.html
    """

    name = "ill-matched-init"
    code = "NNL203"
    severity = Severity.WARNING
    category = Category.INITIALISATION
    probe = "vanishing-gradient"

    def check(self, graph: ModelGraph) -> Iterator[Finding | NotChecked]:
        """Yield one finding for the model, at the first layer of the chain."""
        for verdict in verdicts(graph):
            if isinstance(verdict, NotChecked):
                yield verdict
            elif verdict.kind is Kind.WEIGHTS and _off(verdict):
                yield self._found(graph, verdict)

    def _found(self, graph: ModelGraph, verdict: Verdict) -> Finding:
        fade = verdict.fade
        fades = fade.ratio < 1
        factor = 1 / fade.ratio if fades else fade.ratio
        first, last = fade.layers[0], fade.layers[-1]
        fit = remedy(fade.chain.activations(fade.first, fade.last))
        name, lines = drawn_by(fade.layers)
        cause = f"{name} does" if name else "their weights do"
        each = fade.gain if not fades else 1 / fade.gain
        word = "fade" if fades else "grow"
        return self.finding(
            graph,
            first.built or first,
            f"gradients {word} {times(factor)} times from `{name_of(last)}` back to "
            f"`{name_of(first)}`, {each:.2g} times for each of {fade.span} layers: {cause} "
            f"not suit the activations ({words(fade.layers)})",
            help=f"initialise them after {fit.name}: {fit.call}",
            related=[Related(line, "their weights are drawn here") for line in lines[:4]],
            evidence=evidence(verdict)
            | {"gain": fade.gain}
            | ({"initialiser": name} if name else {}),
            modules=[layer.path for layer in fade.layers if layer.path],
        )


def _off(verdict: Verdict) -> bool:
    fade = verdict.fade
    if fade.span < SHORTEST - 1 or fade.ratio >= EXPLODING or fade.ratio <= 0:
        return False
    if not fade.chain.activations(fade.first, fade.last):
        return False
    # Weights that keep sizes in one direction, as He's do, are matched.
    small, large = sorted(gains(fade, verdict.signal))
    limit = FOUR_LAYERS ** (fade.span / 4)
    if not (large < 1 / limit or small > limit):
        return False
    total = max(fade.ratio, 1 / fade.ratio)
    steady = max(fade.steady, 1 / fade.steady) if fade.steady > 0 else 0.0
    return total > LEAST and total ** (4 / fade.span) > FOUR_LAYERS and steady > LEAST**0.5
