"""The rule exploding-gradient (NNL803)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.reading import MIN_STEPS, at, calm_steps, is_finite, times
from nnlint.linter.rules.probe.trunk import Layer, Trunk, trunk_of

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured

# Growth from the last layer back to an earlier one, at every step.
GROWTH = 70.0
# ... and where the loss jumps, or values stop being finite, before three steps are made.
GROWTH_AT_ONCE = 1e4


@dataclass(frozen=True, slots=True)
class _Growth:
    """How gradients grow at one step: from the last layer back to which, by how much."""

    layer: int
    factor: float
    forward: float


class ExplodingGradient(ProbeRule):
    """Gradients grow on their way back, or values on their way forward, from layer to layer.

    ## What it does
    Compares gradients and outputs of the layers that every gradient has to pass.

    ## Why is this bad?
    The first layers take steps that are orders of magnitude too large while the last ones hardly
    move. The loss jumps, and soon overflows to infinity and NaN.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))
            self.out = nn.Linear(64, 4)
            for layer in (*self.hidden, self.out):
                nn.init.normal_(layer.weight, std=5.0)

        def forward(self, x):
            for layer in self.hidden:
                x = torch.relu(layer(x))
            return self.out(x)


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## Use instead
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))
            self.out = nn.Linear(64, 4)
            for layer in self.hidden:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

        def forward(self, x):
            for layer in self.hidden:
                x = torch.relu(layer(x))
            return self.out(x)


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    Growth over 70 at every step counts in either of two forms. Where no norm lies between two
    layers: the gradient of the outputs grows backward and the outputs themselves grow forward.
    Anywhere: the gradient of the outputs, that gradient times the output, the gradient of the
    weights, and that times the weights all grow, since one of these alone reaches 700 in healthy
    networks with batch norm. Only steps before the loss has grown tenfold count; where these are
    fewer than three, the growth must be over 10,000.

    ## Known limits
    Layers that gradients can flow around, and recurrent steps of shared layers, are not judged.

    ## References
    - He and others: Delving deep into rectifiers, 2015, https://arxiv.org/abs/1502.01852
    - Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, 2013,
      https://arxiv.org/abs/1211.5063
    """

    name = "exploding-gradient"
    code = "NNL803"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report the model once, with the layer where gradients are largest."""
        if measured.steps == 0:
            yield NotChecked("no step was measured")
            return
        # Once the loss has jumped, the weights are no longer those of the model.
        sound = calm_steps(measured)
        if sound == 0:
            yield NotChecked("values are not finite at the first step")
            return
        trunk = trunk_of(measured)
        limit = GROWTH if sound >= MIN_STEPS else GROWTH_AT_ONCE
        growths = [_growth(trunk, step, limit) for step in range(sound)]
        found = [growth for growth in growths if growth is not None]
        if found and len(found) == len(growths):
            yield self._found(measured, trunk, found[0])
        elif sound < MIN_STEPS:
            yield NotChecked(
                f"gradients are judged over {MIN_STEPS} steps, and {sound} came before the loss jumped"
            )

    def _found(self, measured: Measured, trunk: Trunk, growth: _Growth) -> Finding:
        layer, last = trunk.layers[growth.layer], trunk.layers[-1]
        forward = ""
        if growth.forward > GROWTH:
            forward = f", and outputs {times(growth.forward)} times on the way there"
        return self.report(
            measured,
            layer.node.site,
            f"the gradient grows {times(growth.factor)} times on its way back from `{last.name}` to "
            f"`{layer.name}`{forward}",
            help="initialise with nn.init.kaiming_normal_ (ReLU) or xavier_normal_ (tanh), or put norms "
            "between the layers; torch.nn.utils.clip_grad_norm_ before the step limits the damage",
            evidence={
                "growth": growth.factor,
                "forward_growth": growth.forward,
                "first": layer.name,
                "last": last.name,
                "depth": len(trunk.layers) - 1 - growth.layer,
                "layers": [each.name for each in trunk.layers[growth.layer : growth.layer + 32]],
            },
            modules=[each.name for each in trunk.layers[growth.layer : -1]],
        )


def _growth(trunk: Trunk, step: int, limit: float) -> _Growth | None:
    """Return the largest growth of gradients towards the input, None where it is below `limit`."""
    if len(trunk.layers) < 2:
        return None
    last = len(trunk.layers) - 1
    end = trunk.layers[last].gradient(step)
    grown = []
    for i, layer in enumerate(trunk.layers[:-1]):
        start = layer.gradient(step)
        if not start or not end:
            continue
        factor = start / end
        forward = _quotient(trunk.layers[last].activation(step), layer.activation(step))
        if factor <= limit:
            continue
        both = forward > limit and not trunk.has_norm(i, last)
        if both or _in_every_measure(layer, trunk.layers[last], step, factor) > limit:
            grown.append(_Growth(i, factor, forward))
    return max(grown, key=lambda growth: growth.factor, default=None)


def _in_every_measure(layer: Layer, last: Layer, step: int, factor: float) -> float:
    """Return the smallest growth that any measure of the gradient's size shows."""
    backward = _quotient(layer.activation(step), last.activation(step))
    weights = _quotient(layer.weight_gradient(step), last.weight_gradient(step))
    size = _quotient(_norm(layer, step), _norm(last, step)) * weights
    size *= layer.weight.elements / max(last.weight.elements, 1)
    return min(factor, factor * backward, weights, size)


def _norm(layer: Layer, step: int) -> float | None:
    rms = at(layer.weight.rms, step)
    return rms if is_finite(rms) else None


def _quotient(first: float | None, last: float | None) -> float:
    """Return a quotient, 0 where it is not known."""
    if first is None or not last:
        return 0.0
    value = first / last
    return value if math.isfinite(value) else 0.0
