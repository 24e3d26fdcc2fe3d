"""The rule saturated-units (NNL805)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.reading import passed_to, short
from nnlint.linter.rules.probe.units import Group, is_gate, judge_units

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode


class SaturatedUnits(ProbeRule):
    """Units of a sigmoid or tanh stay in their flat region, over at least 256 samples.

    ## What it does
    Counts the units of each sigmoid and tanh that lay in the flat part of the curve for every
    sample and position.

    ## Why is this bad?
    Where the curve is flat its slope is close to zero: the unit is a constant, and no gradient
    passes it, so that it stays one.

    ## Example
    ```python
    import torch
    import torch.nn.functional as F
    from torch import nn


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(64, 32)
            self.out = nn.Linear(32, 4)
            nn.init.constant_(self.hidden.bias, 50.0)

        def forward(self, x):
            return self.out(torch.tanh(self.hidden(x)))


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
            self.hidden = nn.Linear(64, 32)
            self.out = nn.Linear(32, 4)
            nn.init.xavier_uniform_(self.hidden.weight)
            nn.init.zeros_(self.hidden.bias)

        def forward(self, x):
            return self.out(torch.tanh(self.hidden(x)))


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    As for dead-units: over at least 256 samples, a warning from half of a layer (drawn samples:
    three standard deviations above) and a note from a tenth (drawn samples: the half). Gates, whose
    result is multiplied with another value, and outputs of the model and before the loss are meant
    to decide and are left out.

    ## Known limits
    A unit that is flat at both ends in turn is not constant, but learns as little; it counts too.

    ## References
    - Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
      2010, https://proceedings.mlr.press/v9/glorot10a.html
    """

    name = "saturated-units"
    code = "NNL805"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Yield each activation with many saturated units."""
        outputs = set(measured.outputs)

        def exempt(node: MeasuredNode, users: dict[int, list[MeasuredNode]]) -> bool:
            ends = list(passed_to(node, users))
            is_output = node.index in outputs or not ends or any(end.in_loss for end in ends)
            return is_output or is_gate(node, users)

        for group in judge_units(measured, lambda units: units.saturated, exempt):
            yield group if isinstance(group, NotChecked) else self._found(measured, group)

    def _found(self, measured: Measured, group: Group) -> Finding:
        layer = group.layer
        name = layer.site.path if layer is not None else ""
        of = f" of `{name}`" if name else ""
        related = []
        built = layer.site.built or layer.site.location if layer is not None else None
        if built is not None and name:
            related.append(Related(built, f"`{name}` is built here", "built"))
        modules = [name] if name else []
        if group.node.site.path and group.node.site.path != name:
            modules.append(group.node.site.path)
        return self.report(
            measured,
            group.node.site,
            f"{len(group.off):,} of {group.units.count:,} units{of} stay in the flat part of "
            f"`{short(group.node)}` ({group.units.samples:,} samples)",
            help="initialise with nn.init.xavier_uniform_ and zero biases, normalise what goes in "
            "(input, or a norm before the activation), or use ReLU or GELU",
            severity=group.severity,
            related=related,
            evidence={
                "saturated": len(group.off),
                "units": group.units.count,
                "share": round(group.share, 4),
                "samples": group.units.samples,
                "positions": list(group.off[:32]),
            },
            modules=modules,
        )
