"""Whether a few samples were learned by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlint.linter.rules.probe.cannot_overfit import best_of, lowest
from nnlint.linter.rules.probe.outcome import loss, rate
from nnlint.linter.verdicts.base import Curve, Verdict

if TYPE_CHECKING:
    from nnlint.linter.experiments import Overfit
    from nnlint.linter.measured import Measured

KIND = "overfit"


def tell(found: Overfit, measured: Measured) -> Verdict:
    """Return the verdict."""
    if not found.attempts:
        return Verdict("overfit", "overfit", "not a step was made")
    best = best_of(found)
    name = "SGD" if measured.optimizer_given and measured.optimizer == "sgd" else "AdamW"
    ending = f"({name}, lr {rate(best.learning_rate)})"
    steps = f"{len(best.losses)} step{'s' * (len(best.losses) != 1)}"
    samples = f"{found.samples} sample{'s' * (found.samples != 1)}"
    start = loss(best.losses[0]) if best.losses else "nan"
    if best.reached:
        text = (
            f"{samples} learned by heart in {steps} {ending}: "
            f"loss {start} -> {loss(best.losses[-1])}"
        )
    else:
        tried = ", ".join(rate(each.learning_rate) for each in found.attempts)
        text = f"{samples} not learned by heart in {steps} {ending}: loss {start} -> {loss(lowest(best))}"
        text += f"; tried lr {tried}" if len(found.attempts) > 1 else ""
    lines = [f"the loss cannot fall below {loss(found.floor)}"] if found.floor else []
    ceiling = best.losses[0] if best.losses else None
    return Verdict(
        "overfit",
        "overfit",
        text,
        tuple(lines),
        (Curve("loss", best.losses, ceiling, found.floor),),
    )
