"""The optimiser that the user asks for, and what is wrong with one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnlint.probe_service.options import LEARNING_RATES
from nnlint.probe_service.replay.violations import Violation
from nnlint.protos.v1 import graph_pb2
from nnlint.protos.v1 import probe_service_pb2 as pb

if TYPE_CHECKING:
    from nnlint.probe_service.options import ProbeOptions

# Rates beyond float32 are no rates.
MOST = 1e38


def trainable(graph: graph_pb2.Graph) -> bool:
    """Tell whether there is anything for an optimiser to step."""
    return any(
        tensor.role == graph_pb2.Tensor.ROLE_PARAMETER and tensor.requires_grad
        for tensor in graph.tensors
    )


def optimizer(options: ProbeOptions) -> pb.Optimizer:
    """Return the optimiser that the options name, SGD where they name none."""
    name = options.optimizer or "sgd"
    rate = options.learning_rate
    found = pb.Optimizer(
        learning_rate=LEARNING_RATES[name] if rate is None else rate,
        weight_decay=options.weight_decay,
    )
    if name == "adamw":
        found.adamw.CopyFrom(pb.Optimizer.AdamW(beta1=0.9, beta2=0.999, epsilon=1e-8))
    else:
        found.sgd.CopyFrom(pb.Optimizer.Sgd(momentum=options.momentum))
    return found


def check(field: str, settings: pb.Optimizer) -> Iterator[Violation]:
    """Say what is wrong with the settings of an optimiser."""
    yield from within(f"{field}.learning_rate", settings.learning_rate, 0.0, MOST)
    yield from within(f"{field}.weight_decay", settings.weight_decay, 0.0, MOST)
    sgd, adamw = settings.sgd, settings.adamw
    yield from within(f"{field}.sgd.momentum", sgd.momentum, 0.0, MOST)
    if sgd.nesterov and not sgd.momentum > 0:
        yield Violation(f"{field}.sgd.nesterov", "Nesterov's method needs momentum")
    if settings.WhichOneof("algorithm") == "adamw":
        for name in ("beta1", "beta2"):
            value = getattr(adamw, name)
            if not 0.0 <= value < 1.0:
                yield Violation(f"{field}.adamw.{name}", f"{value:g} is not in [0, 1)")
        yield from within(f"{field}.adamw.epsilon", adamw.epsilon, 0.0, MOST)


def within(field: str, value: float, low: float, high: float) -> Iterator[Violation]:
    """Say that a number is not finite, or not in its range."""
    if not (math.isfinite(value) and low <= value <= high):
        yield Violation(field, f"{value:g} is not from {low:g} to {high:g}")
