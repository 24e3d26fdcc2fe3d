"""Recurrent layers and cells.

Their kernels split the product with the weights into gates and take for granted that it has as
many columns as gates need, so the shapes of the weights are checked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from nnlint.probe_service.operators.base import Check, Shape, allow


def _layers(gates: int) -> Check:
    """Return the check of a layer: sizes of states, and of four (or two) weights a direction."""

    def check(given: Mapping[str, Any]) -> str:
        layers, both = given.get("num_layers"), given.get("bidirectional")
        biases, weights = given.get("has_biases"), given.get("params")
        states: Any = given.get("hx")
        if not _whole(layers) or not isinstance(both, bool) or not isinstance(biases, bool):
            return "num_layers is no positive number, or bidirectional or has_biases no boolean"
        if not isinstance(weights, Sequence) or not isinstance(states, Sequence) or not states:
            return "params or hx is missing"
        directions = 2 if both else 1
        first = states if isinstance(states[0], int) else states[0]
        if len(first) not in {2, 3}:
            return "a state has three dimensions"
        hidden = first[-1]
        count = layers * directions * (4 if biases else 2)
        extra = layers * directions if len(weights) == count + layers * directions else 0
        if len(weights) != count + extra:
            return f"params has {len(weights)} tensors where {count} are needed"
        each = len(weights) // (layers * directions)
        projected = weights[each - 1][0] if extra else hidden
        if extra:
            hidden = _hidden(weights, gates)
        return _sizes(weights, each=each, rows=gates * hidden, projected=projected)

    return check


def _sizes(weights: Sequence[Shape], *, each: int, rows: int, projected: int) -> str:
    for start in range(0, len(weights), each):
        inner, outer, *rest = weights[start : start + each]
        biases = rest[:2] if len(rest) >= 2 else []
        if len(inner) != 2 or inner[0] != rows or tuple(outer) != (rows, projected):
            return (
                f"a weight has sizes {list(inner)} and {list(outer)} where {rows} rows are needed"
            )
        if any(tuple(bias) != (rows,) for bias in biases):
            return f"a bias has sizes {[list(b) for b in biases]} where [{rows}] is needed"
    return ""


def _hidden(weights: Sequence[Shape], gates: int) -> int:
    first = weights[0]
    return first[0] // gates if first else 0


def _cell(gates: int) -> Check:
    """Return the check of a cell, whose weights come by name."""

    def check(given: Mapping[str, Any]) -> str:
        states: Any = given.get("hx")
        if not isinstance(states, Sequence) or not states:
            return "hx is missing"
        first = states if isinstance(states[0], int) else states[0]
        rows = gates * first[-1] if first else 0
        for name, sizes in (("w_ih", 2), ("w_hh", 2), ("b_ih", 1), ("b_hh", 1)):
            found = given.get(name)
            if found is None and name.startswith("b"):
                continue
            if not isinstance(found, Sequence) or len(found) != sizes or found[0] != rows:
                return f"{name} has sizes {found} where {rows} rows are needed"
        return ""

    return check


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_REASON = "a recurrence over sequences, with the sizes of states and weights checked beforehand"
allow(_REASON, "aten.lstm.input", check=_layers(4))
allow(_REASON, "aten.gru.input", check=_layers(3))
allow(_REASON, "aten.rnn_tanh.input aten.rnn_relu.input", check=_layers(1))
allow(_REASON, "aten.lstm_cell.default", check=_cell(4))
allow(_REASON, "aten.gru_cell.default", check=_cell(3))
allow(_REASON, "aten.rnn_tanh_cell.default aten.rnn_relu_cell.default", check=_cell(1))
