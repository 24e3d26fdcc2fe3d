"""The rule vanishing-gradient (NNL802)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.reading import (
    FIRST_JUDGED,
    places,
    sound_steps,
    times,
    without_steps,
)
from nnlint.linter.rules.probe.trunk import SATURATING, Trunk, trunk_of

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured

# A layer's gradient relative to the largest one behind it. Healthy chains of torchvision, timm and
# transformers stay above 4e-3 (AlexNet, 8 layers without a norm).
SHARE = 1e-3
# Between saturating activations, which take at least 3/4 (sigmoid) off at each layer, less is enough:
# the threshold of the static prediction for such stacks.
SATURATING_SHARE = 1e-2


@dataclass(frozen=True, slots=True)
class _Fade:
    """How gradients fade at one step: from which layer back to which, by how much."""

    reference: int
    first: int
    share: float
    members: frozenset[int]


class VanishingGradient(ProbeRule):
    """Gradients shrink on their way back, so that the first layers hardly learn.

    ## What it does
    Compares the gradients at the layers that every gradient has to pass: all layers of a plain
    chain, the stem and the transitions of a residual network.

    ## Why is this bad?
    The steps of a layer are as large as its gradient. With a thousandth of it, the first layers
    stay as they were initialised, while the last ones learn from random features.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
            self.out = nn.Linear(32, 4)

        def forward(self, x):
            for layer in self.hidden:
                x = torch.sigmoid(layer(x))
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
            self.hidden = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))
            self.out = nn.Linear(32, 4)
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
    The norm of the gradient with respect to each layer's output is compared with the largest one
    at a later layer. Below 1/1000 at every step from the second on, the rule speaks; below 1/100
    where two or more saturating activations lie between. One small layer alone, such as a head that
    starts near zero, does not count: without the largest single drop the rest must still be small.
    Where a norm lies between, the gradient times the size of the output must be as small, since a
    norm makes gradients depend on scale. Layers that gradients can flow around (residual branches,
    layer scale, gates, parallel branches) are not judged, nor are recurrent steps of shared layers.
    No fixed size such as 1e-7 is used: at initialisation it flags most weights of a healthy ViT.

    ## Known limits
    Gradients that fade inside a branch are not reported. Needs three steps.

    ## References
    - Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
      2010, https://proceedings.mlr.press/v9/glorot10a.html
    - Poole and others: Exponential expressivity in deep neural networks, 2016,
      https://arxiv.org/abs/1606.05340
    """

    name = "vanishing-gradient"
    code = "NNL802"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report the model once, with the layers whose gradients are too small."""
        if reason := without_steps(measured):
            yield NotChecked(reason)
            return
        trunk = trunk_of(measured)
        fades = [_fade(trunk, step) for step in range(FIRST_JUDGED, sound_steps(measured))]
        found = [fade for fade in fades if fade is not None]
        if len(found) < len(fades) or not found:
            return
        members = sorted(frozenset.intersection(*(fade.members for fade in found)))
        if members:
            yield self._found(measured, trunk, max(found, key=lambda fade: fade.share), members)

    def _found(self, measured: Measured, trunk: Trunk, fade: _Fade, members: list[int]) -> Finding:
        first, last = trunk.layers[members[0]], trunk.layers[fade.reference]
        layers = [trunk.layers[i] for i in members]
        span = fade.reference - members[0]
        return self.report(
            measured,
            first.node.site,
            f"the gradient shrinks {times(1 / fade.share)} times on its way back over {span} layers, "
            f"from `{last.name}` to `{first.name}`",
            help=_remedy(trunk.between(members[0], fade.reference)),
            related=places([*(layer.weight for layer in layers[1:]), last.weight]),
            evidence={
                "ratio": fade.share,
                "first": first.name,
                "last": last.name,
                "depth": span,
                "layers": [layer.name for layer in layers],
                "weight_gradients": {
                    layer.name: layer.weight_gradient(FIRST_JUDGED)
                    for layer in (*layers[:32], last)
                },
            },
            modules=[layer.name for layer in layers],
        )


def _fade(trunk: Trunk, step: int) -> _Fade | None:
    """Return how gradients fade at a step, None where they do not."""
    norms = [layer.gradient(step) or math.nan for layer in trunk.layers]
    known = [i for i, value in enumerate(norms) if value > 0]
    if len(known) < 3:
        return None
    reference = max(known, key=lambda i: norms[i])
    chain = [i for i in known if i <= reference]
    members: list[int] = []
    for i in chain[:-1]:
        names = trunk.between(i, reference)
        limit = SATURATING_SHARE if sum(n in SATURATING for n in names) > 1 else SHARE
        share = norms[i] / norms[reference]
        drops = [norms[a] / norms[b] for a, b in itertools.pairwise(chain) if a >= i]
        steady = share / min(drops) < math.sqrt(limit)
        if share < limit and steady and _without_scale(trunk, i, reference, step, share) < limit:
            members.append(i)
    if not members:
        return None
    first = members[0]
    return _Fade(reference, first, norms[first] / norms[reference], frozenset(members))


def _without_scale(trunk: Trunk, first: int, last: int, step: int, share: float) -> float:
    """Return the share of the gradient times the output, where a norm makes the scale arbitrary."""
    if not trunk.has_norm(first, last):
        return share
    before, after = trunk.layers[first].activation(step), trunk.layers[last].activation(step)
    if before is None or not after:
        return share
    return share * before / after


def _remedy(names: list[str]) -> str:
    found = set(names)
    if found & {"sigmoid", "hardsigmoid", "softmax", "_softmax"}:
        which = "sigmoid" if "sigmoid" in found else "the saturating activation"
        return (
            f"use ReLU or GELU in place of {which} between layers, with nn.init.kaiming_normal_, or put "
            "a batch or layer norm before it"
        )
    if found & {"tanh", "softsign", "hardtanh"}:
        return (
            "initialise with nn.init.xavier_normal_(weight, gain=5 / 3), or put a batch or layer norm "
            "before the activation"
        )
    return (
        "initialise with nn.init.kaiming_normal_(weight, nonlinearity='relu') in place of PyTorch's "
        "default, or add norms or residual connections"
    )
