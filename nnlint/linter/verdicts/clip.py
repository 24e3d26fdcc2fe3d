"""Steps without and with clipped gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.outcome import loss
from nnlint.linter.verdicts.base import Curve, Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import Clipping
    from nnlint.linter.measured import Measured

KIND = "clip"


def tell(found: Clipping, _measured: Measured) -> Verdict:
    """Return the verdict."""
    norms = found.norms
    steps = f"{len(norms)} step{'s' * (len(norms) != 1)}"
    over = sum(not norm <= found.max_norm for norm in norms)
    largest = max((norm for norm in norms if not math.isnan(norm)), default=math.nan)
    size = f"the largest gradient norm is {loss(largest)}"
    if over:
        text = f"clips {over} of {steps} at norm {found.max_norm:g}: {size}"
    else:
        text = f"none of {steps} is clipped at norm {found.max_norm:g}: {size}"
    lines: tuple[str, ...] = ()
    if over and found.losses and found.clipped_losses:
        without = f"{loss(found.losses[0])} -> {loss(found.losses[-1])}"
        clipped = f"{loss(found.clipped_losses[0])} -> {loss(found.clipped_losses[-1])}"
        lines = (f"loss without clipping {without}, with it {clipped}",)
    curves = (Curve("without", found.losses), Curve("with", found.clipped_losses)) if over else ()
    return Verdict("clip", "clip", text, lines, _on_one_scale(curves))


def _on_one_scale(curves: tuple[Curve, ...]) -> tuple[Curve, ...]:
    starts = [each.values[0] for each in curves if each.values and math.isfinite(each.values[0])]
    ceiling = 2 * max(starts) if starts and max(starts) > 0 else None
    floor = min((v for each in curves for v in each.values if math.isfinite(v)), default=None)
    return tuple(Curve(each.label, each.values, ceiling, floor) for each in curves)
