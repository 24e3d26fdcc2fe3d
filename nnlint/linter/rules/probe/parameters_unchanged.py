"""The rule parameters-unchanged (NNL807)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.flow import Flow
from nnlint.linter.rules.probe.reading import (
    EPSILON,
    at,
    by_index,
    is_finite,
    listing,
    nodes_of,
    optimizer_of,
    places,
    sound_steps,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredParameter


class ParametersUnchanged(ProbeRule):
    """The optimiser's step leaves a parameter as it was, although it has a gradient.

    ## What it does
    Compares each trainable parameter before and after each step of the optimiser and learning rate
    that the user named.

    ## Why is this bad?
    A change that is smaller than half the distance to the next number is rounded away. In bfloat16
    the next number after 1 is 1.0078: a norm's weight of 1 never moves for steps below 0.0039.

    ## Example
    ```python
    # nnlint probe --precision bfloat16 --optimizer sgd --lr 1e-5
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## Use instead
    ```python
    # nnlint probe --precision autocast --optimizer sgd --lr 1e-5
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(32, 64)
            self.out = nn.Linear(64, 4)

        def forward(self, x):
            return self.out(F.relu(self.hidden(x)))


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    The change must be exactly zero for every element at every step, and the gradient not. Biases
    whose gradient is only rounding (before a batch norm, or cancelled behind it) are left out.
    Without `--optimizer` and `--lr` nothing is judged: nnlint's own choice says nothing
    about the user's training.

    ## Known limits
    A parameter of which most elements stay as they were, and a few move, passes.

    ## References
    - https://docs.pytorch.org/docs/stable/amp.html
    """

    name = "parameters-unchanged"
    code = "NNL807"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Report the parameters that stay as they were, in one finding."""
        if not measured.optimizer_given:
            yield NotChecked("the optimiser and its learning rate are not given")
            return
        sound = sound_steps(measured)
        if sound == 0:
            yield NotChecked("no step was measured with finite values")
            return
        flow = Flow(measured)
        moving = [p for p in measured.parameters if _has_gradient(p, sound)]
        stuck = [
            p
            for p in moving
            if all(at(p.update_ratio, step) == 0 for step in range(sound))
            and not flow.is_cancelled(p)
            and not _is_rounding(p, flow, measured)
        ]
        if stuck:
            yield self._found(measured, stuck, len(moving))

    def _found(self, measured: Measured, stuck: list[MeasuredParameter], total: int) -> Finding:
        rate = optimizer_of(measured)
        coarse = _coarse(stuck, measured)
        why = f": {coarse} rounds the change away" if coarse else ""
        if measured.learning_rate == 0:
            remedy = "give a learning rate above 0"
        elif coarse:
            remedy = (
                "keep the parameters in float32 and run forward under torch.autocast, or raise the "
                "learning rate"
            )
        else:
            remedy = "raise the learning rate, or look why the gradient is so small"
        return self.report(
            measured,
            stuck[0].site,
            f"{rate} leaves {listing(p.name for p in stuck)} as they were "
            f"({len(stuck)} of {total} parameters){why}"
            if len(stuck) > 1
            else f"{rate} leaves `{stuck[0].name}` as it was{why}",
            help=remedy,
            related=places(stuck[1:]),
            evidence={
                "parameters": [p.name for p in stuck[:32]],
                "count": len(stuck),
                "of": total,
                "learning_rate": measured.learning_rate,
                "gradient_rms": {p.name: at(p.gradient_rms, 0) for p in stuck[:32]},
            },
            modules=[p.site.path for p in stuck if p.site.path],
        )


def _has_gradient(parameter: MeasuredParameter, steps: int) -> bool:
    values = [at(parameter.gradient_rms, step) for step in range(steps)]
    return parameter.elements > 0 and all(is_finite(v) and v > 0 for v in values)


def _coarse(stuck: list[MeasuredParameter], measured: Measured) -> str:
    """Return the type of few digits in which the parameters are kept, "" for float32."""
    if measured.precision == "bfloat16":
        return "bfloat16"
    if measured.precision != "float32":
        return ""
    known = by_index(measured)
    types = {node.dtype for parameter in stuck for node in nodes_of(parameter, known)}
    return next(iter(sorted(types & {"bfloat16", "float16"})), "")


def _is_rounding(parameter: MeasuredParameter, flow: Flow, measured: Measured) -> bool:
    """Return whether a vector's gradient is what is left of terms that cancel each other."""
    if len(parameter.shape) != 1:
        return False
    limit = max(1e-4, 4 * EPSILON.get(measured.precision, 0.0))
    for index in parameter.nodes:
        node = flow.nodes.get(index)
        if node is None or not node.shape:
            continue
        terms = math.prod(node.shape) / max(parameter.elements, 1)
        own, output = at(parameter.gradient_rms, 0), at(node.gradient_rms, 0)
        if is_finite(own) and is_finite(output) and own < limit * output * math.sqrt(terms):
            return True
    return False
