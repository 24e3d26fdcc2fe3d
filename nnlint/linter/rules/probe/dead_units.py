"""The rule dead-units (NNL804)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.linter.findings import Finding, Related, Severity
from nnlint.linter.rules.base import NotChecked, ProbeRule
from nnlint.linter.rules.probe.reading import short
from nnlint.linter.rules.probe.units import Group, is_gate_branch, judge_units

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured


class DeadUnits(ProbeRule):
    """Units of a ReLU never fire, over at least 256 samples.

    ## What it does
    Counts the units (channels, features) of each ReLU whose output was zero for every sample and
    position.

    ## Why is this bad?
    Such a unit passes on no value and no gradient, so nothing before it can open it again. A layer
    of dead units stops all that lies before it from learning.

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


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
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


    def loss(model, x, labels):
        return F.cross_entropy(model(x), labels)
    ```

    ## How it is decided
    After the optimiser steps, forward passes go on until 256 samples were seen. On a batch of the
    user's, half of a layer is a warning and a tenth a note. Drawn samples look alike to a deep
    layer, where a healthy unit is then on for all of them or for none with even odds: there the
    warning starts three standard deviations above the half (72 % of 48 units, 57 % of 512), the
    note at the half. Units that only steer a gate, as in squeeze-and-excitation, are left out, and
    nothing is said when the loss has grown tenfold under a learning rate that nnlint chose.

    ## Known limits
    A trained network may have units that fire for rare inputs alone: give real samples (`--data`).

    ## References
    - Lu, Shin, Su, Karniadakis: Dying ReLU and Initialization, 2019, https://arxiv.org/abs/1903.06733
    """

    name = "dead-units"
    code = "NNL804"
    severity = Severity.WARNING

    def judge(self, measured: Measured) -> Iterator[Finding | NotChecked]:
        """Yield each activation with many dead units."""
        for group in judge_units(measured, lambda units: units.dead, is_gate_branch):
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
            f"{len(group.off):,} of {group.units.count:,} units{of} never fire after "
            f"`{short(group.node)}` ({group.units.samples:,} samples)",
            help="start biases at zero and weights with nn.init.kaiming_normal_, lower the learning "
            "rate, or use a leaky ReLU or GELU, whose gradient does not end at zero",
            severity=group.severity,
            related=related,
            evidence={
                "dead": len(group.off),
                "units": group.units.count,
                "share": round(group.share, 4),
                "samples": group.units.samples,
                "positions": list(group.off[:32]),
            },
            modules=modules,
        )
