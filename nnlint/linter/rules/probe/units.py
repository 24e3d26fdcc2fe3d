"""What dead and saturated units have in common: shares, thresholds, the layer in front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlint.linter.findings import Severity
from nnlint.linter.rules.base import NotChecked
from nnlint.linter.rules.probe.reading import (
    MAPS,
    MIN_SAMPLES,
    NORMS,
    PASSING,
    RECURRENT,
    by_index,
    calm_steps,
    passed_to,
    short,
    sound_steps,
    users_of,
    words,
)

if TYPE_CHECKING:
    from nnlint.linter.measured import Measured, MeasuredNode, Units

WARNING_SHARE = 0.5
NOTE_SHARE = 0.1
# Drawn samples look alike to a deep layer, so that at initialisation a unit is on for all of them or
# for none, with even odds. Three standard deviations of that binomial are added to the half.
_SPREAD = 3 * 0.5
_POOLS = words(
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean adaptive_max_pool2d"
)
_GATES = words("sigmoid hardsigmoid tanh softmax _softmax")


@dataclass(frozen=True, slots=True)
class Group:
    """The units of one activation that are off.

    Attributes:
        node: The activation.
        units: What was measured.
        off: Positions of the units.
        layer: The layer whose output the activation takes, None where it is no single one.
        severity: By the share of units.
    """

    node: MeasuredNode
    units: Units
    off: tuple[int, ...]
    layer: MeasuredNode | None
    severity: Severity

    @property
    def share(self) -> float:
        """Share of units that are off."""
        return len(self.off) / self.units.count


def judge_units(
    measured: Measured,
    off: Callable[[Units], tuple[int, ...] | None],
    exempt: Callable[[MeasuredNode, dict[int, list[MeasuredNode]]], bool],
) -> Iterator[Group | NotChecked]:
    """Yield the activations with many units that are off, or why they cannot be judged."""
    groups = [units for units in measured.units if off(units) is not None and units.count > 0]
    if not groups:
        if not measured.units and measured.steps == 0:
            yield NotChecked("no step was measured")
        return
    if sound_steps(measured) < measured.steps:
        yield NotChecked("values stop being finite before units are looked at")
        return
    if not measured.optimizer_given and calm_steps(measured) < measured.steps:
        yield NotChecked("the loss grew tenfold under a learning rate that was not given")
        return
    samples = max(units.samples for units in groups)
    if samples < MIN_SAMPLES:
        yield NotChecked(f"units are judged over {MIN_SAMPLES} samples, and {samples} were seen")
        return
    nodes, users = by_index(measured), users_of(measured)
    for units in groups:
        node, found = nodes.get(units.node), off(units)
        if node is None or not found or node.in_loss or units.samples < MIN_SAMPLES:
            continue
        severity = _severity(len(found), units.count, drawn=measured.data == "random")
        if severity is not None and not exempt(node, users):
            yield Group(node, units, found, layer_of(node, nodes), severity)


def is_gate_branch(node: MeasuredNode, users: dict[int, list[MeasuredNode]]) -> bool:
    """Return whether a value only steers a gate (squeeze and excitation), through one more layer."""
    through = PASSING | MAPS | NORMS
    ends = list(passed_to(node, users, through))
    return bool(ends) and all(short(end) in _GATES and is_gate(end, users) for end in ends)


def is_gate(node: MeasuredNode, users: dict[int, list[MeasuredNode]]) -> bool:
    """Return whether a value is multiplied with another one."""
    ends = list(passed_to(node, users))
    return bool(ends) and all(short(end) in {"mul", "addcmul", "lerp"} for end in ends)


def _severity(off: int, count: int, *, drawn: bool) -> Severity | None:
    share = off / count
    loud = WARNING_SHARE + (_SPREAD / math.sqrt(count) if drawn else 0.0)
    if share >= min(loud, 1.0):
        return Severity.WARNING
    return Severity.NOTE if share >= (WARNING_SHARE if drawn else NOTE_SHARE) else None


def layer_of(node: MeasuredNode, nodes: dict[int, MeasuredNode]) -> MeasuredNode | None:
    """Return the layer in front of an activation."""
    current = node
    through = PASSING | NORMS | _POOLS
    for _ in range(len(nodes)):
        sources = [nodes[i] for i in current.inputs if i in nodes]
        if len(sources) != 1:
            return None
        current = sources[0]
        if short(current) in MAPS | RECURRENT:
            return current
        if short(current) not in through:
            return None
    return None
