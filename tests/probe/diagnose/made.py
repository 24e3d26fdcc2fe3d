"""Measurements made by hand: a chain of layers with chosen gradients, and its parts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from nnlint.linter.findings import Location
from nnlint.linter.measured import (
    Magnitudes,
    Measured,
    MeasuredNode,
    MeasuredParameter,
    NonFinite,
    Operand,
    Site,
    Units,
)

STEPS = 3
CLASS_LINE = Location("net.py", 5, 1, 5, 20)
NAN, INF = math.nan, math.inf


def site(path: str, line: int) -> Site:
    place = Location("net.py", line, 9, line, 30)
    return Site(path, place, place, Location("net.py", 100 + line, 9, 100 + line, 30))


def chain(
    gradients: Sequence[float],
    *,
    activations: Sequence[float] | None = None,
    between: str = "relu",
    units: int = 64,
    steps: int = STEPS,
    **values: Any,
) -> Measured:
    """Return linear layers fc0, fc1 ... with an activation between, and a cross-entropy.

    Args:
        gradients: RMS of the gradient with respect to each layer's output, at every step.
        activations: RMS of each layer's output.
        between: Names of the operators between two layers.
        units: Width of all layers.
        steps: How many steps were measured.
        **values: Fields of `Measured`.
    """
    nodes: list[MeasuredNode] = []
    parameters: list[MeasuredParameter] = []
    for number, gradient in enumerate(gradients):
        size = activations[number] if activations is not None else 1.0
        weight, last = len(parameters), number == len(gradients) - 1
        node = MeasuredNode(
            index=len(nodes),
            operator="aten.linear.default",
            site=site(f"fc{number}", 10 + number),
            inputs=(len(nodes) - 1,) if nodes else (),
            parameters=(weight, weight + 1),
            shape=(16, units),
            dtype="float32",
            activation_rms=(size,) * steps,
            activation_abs_max=(3 * size,) * steps,
            gradient_rms=(gradient,) * steps,
            gradient_abs_max=(3 * gradient,) * steps,
        )
        for name, shape in (("weight", (units, units)), ("bias", (units,))):
            parameters.append(
                parameter(f"fc{number}.{name}", shape, gradient, node.index, steps=steps)
            )
        nodes.append(node)
        for operator in () if last else between.split():
            nodes.append(
                MeasuredNode(
                    index=len(nodes),
                    operator=f"aten.{operator}.default",
                    site=site("", 30 + number),
                    inputs=(len(nodes) - 1,),
                    shape=(16, units),
                    activation_rms=(size,) * steps,
                    gradient_rms=(gradient,) * steps,
                )
            )
    loss = MeasuredNode(
        len(nodes), "aten.cross_entropy_loss.default", site("", 60), (len(nodes) - 1,), in_loss=True
    )
    given: dict[str, Any] = {
        "losses": (2.3,) * steps,
        "nodes": (*nodes, loss),
        "parameters": tuple(parameters),
        "outputs": (len(nodes) - 1,),
        "loss": "cross_entropy at net.py:60",
        "learning_rate": 0.01,
    }
    return Measured("Net", CLASS_LINE, 16, **{**given, **values})


def parameter(
    name: str,
    shape: tuple[int, ...],
    gradient: float | None,
    *nodes: int,
    steps: int = STEPS,
    rms: float = 0.1,
    update: float = 1e-3,
) -> MeasuredParameter:
    line = 10 + int("".join(c for c in name.partition(".")[0] if c.isdigit()) or 0)
    series: Magnitudes = (gradient,) * steps
    return MeasuredParameter(
        name,
        shape,
        site(name.rpartition(".")[0], line),
        (rms,) * steps,
        series,
        series,
        (update,) * steps,
        nodes,
    )


def with_parameter(measured: Measured, name: str, **changes: Any) -> Measured:
    """Replace fields of the parameters whose name starts so."""
    found = tuple(
        dataclasses.replace(p, **changes) if p.name.startswith(name) else p
        for p in measured.parameters
    )
    return dataclasses.replace(measured, parameters=found)


def with_node(measured: Measured, index: int, **changes: Any) -> Measured:
    """Replace fields of one operation."""
    found = tuple(
        dataclasses.replace(n, **changes) if n.index == index else n for n in measured.nodes
    )
    return dataclasses.replace(measured, nodes=found)


def origin(node: int | None, phase: Any = "forward", **changes: Any) -> NonFinite:
    """Return an origin of a value that is not finite, infinity in 3 of 1,024 values by default."""
    values = {"step": 0, "nans": 0, "infinities": 3, "elements": 1024, **changes}
    return NonFinite(phase=phase, node=node, **values)


def operand(low: float, high: float, name: str = "its input", **changes: Any) -> Operand:
    return Operand(name, low, high, **{"non_finite": 0, **changes})


def off(count: int, *, of: int, node: int, saturated: bool = False, samples: int = 256) -> Units:
    """Return an activation of which some units are dead, or saturated."""
    positions = tuple(range(count))
    if saturated:
        return Units(node, of, samples, saturated=positions)
    return Units(node, of, samples, dead=positions)
