"""Which chain of a model loses or blows up its gradient, and what does it."""

from __future__ import annotations

import enum
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.rules.base import NotChecked
from nnlint.linter.rules.initialisation.gains import is_default, saturating, weight_gradients
from nnlint.linter.signal.chains import Chain, Fade, chains, fades, signal_of

if TYPE_CHECKING:
    from nnlint.linter.signal.propagate import Signal

# Change of a gradient along a chain from which on it is spoken of at all.
LEAST = 10.0
# Layers that a chain must have for its gain to be judged.
SHORTEST = 3


class Kind(enum.Enum):
    """What makes gradients fade or grow."""

    SATURATION = "saturation"
    DEFAULT = "default weights"
    WEIGHTS = "explicit weights"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fade with its cause.

    Attributes:
        fade: The layers and the factor.
        kind: What does it.
        signal: The prediction that it comes from.
        flat: The saturating activations.
    """

    fade: Fade
    kind: Kind
    signal: Signal
    flat: tuple[Node, ...] = ()


_CACHE: weakref.WeakKeyDictionary[ModelGraph, tuple[Verdict | NotChecked, ...]] = (
    weakref.WeakKeyDictionary()
)


def verdicts(graph: ModelGraph) -> tuple[Verdict | NotChecked, ...]:
    """Return the worst fade of each kind, and why chains could not be judged."""
    found = _CACHE.get(graph)
    if found is None:
        found = _CACHE[graph] = tuple(_verdicts(graph))
    return found


def _verdicts(graph: ModelGraph) -> Iterator[Verdict | NotChecked]:
    rows = [chain for chain in chains(graph, SHORTEST) if not _pretrained(chain)]
    if not rows:
        return
    signal = signal_of(graph)
    if signal.reason:
        yield NotChecked(signal.reason)
        return
    worst: dict[Kind, Verdict] = {}
    known = 0
    for chain in rows:
        every = list(fades(chain, signal))
        known += bool(every)
        for fade in every:
            if 1 / LEAST < fade.ratio < LEAST or fade.span < SHORTEST - 1:
                continue
            verdict = _judged(fade, signal)
            before = worst.get(verdict.kind)
            if before is None or _size(fade) > _size(before.fade):
                worst[verdict.kind] = verdict
    if not known:
        reason = next(iter(signal.unfollowed.values()), "no gradient reaches the layers")
        yield NotChecked(f"gradients could not be followed: {reason}")
    yield from worst.values()


def _judged(fade: Fade, signal: Signal) -> Verdict:
    flat = tuple(saturating(fade, signal))
    if fade.ratio < 1 and 2 * len(flat) >= fade.span and len(flat) > 1:
        return Verdict(fade, Kind.SATURATION, signal, flat)
    default = sum(is_default(layer) for layer in fade.layers)
    if fade.ratio < 1 and 2 * default >= len(fade.layers):
        return Verdict(fade, Kind.DEFAULT, signal)
    return Verdict(fade, Kind.WEIGHTS, signal)


def _size(fade: Fade) -> float:
    return abs(math.log(fade.ratio)) if 0 < fade.ratio < math.inf else math.inf


def _pretrained(chain: Chain) -> bool:
    """Tell whether nothing of a chain is trained, as in a frozen backbone."""
    weights = [layer.parameter("weight") for layer in chain.layers]
    return not any(w is not None and w.requires_grad for w in weights)


def evidence(verdict: Verdict) -> dict[str, Any]:
    """Return the figures of a finding."""
    fade = verdict.fade
    return {
        "ratio": fade.ratio,
        "layers": len(fade.layers),
        "predicted_weight_gradients": weight_gradients(fade, verdict.signal),
        "loss_known": verdict.signal.loss,
    }
