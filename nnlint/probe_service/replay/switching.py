"""A program without random regularisation, or whose batch norms use their running statistics.

Random numbers that a model draws by its own hand (stochastic depth, noise of a variational model)
stay: nothing says what their absence would mean. They are the same wherever torch is seeded alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nnlint.probe_service.replay.decode import Call
from nnlint.probe_service.replay.program import Program
from nnlint.probe_service.replay.schema import Slot, signature

# Operator, without the underscore of its form in place -> argument and what it is where nothing is
# random. A recurrent layer stays in training mode, in which cuDNN alone can differentiate it.
_RANDOM: Mapping[str, tuple[str, Any]] = {
    "alpha_dropout": ("train", False),
    "dropout": ("train", False),
    "feature_alpha_dropout": ("train", False),
    "feature_dropout": ("train", False),
    "gru": ("dropout", 0.0),
    "lstm": ("dropout", 0.0),
    "native_dropout": ("train", False),
    "rnn_relu": ("dropout", 0.0),
    "rnn_tanh": ("dropout", 0.0),
    "rrelu": ("training", False),
    "scaled_dot_product_attention": ("dropout_p", 0.0),
}
# Operator -> the argument that says whether statistics are those of the input.
_STATISTICS: Mapping[str, str] = {"batch_norm": "training", "instance_norm": "use_input_stats"}


@dataclass(frozen=True, slots=True)
class Switched:
    """A program in another mode.

    Attributes:
        program: Shares every tensor with the one it was made of, inputs included.
        unsettled: Nodes of batch norms that have no running statistics, and so keep to those of
            the batch.
    """

    program: Program
    unsettled: tuple[int, ...] = ()


def switched(program: Program, *, dropout: bool = True, batch_statistics: bool = True) -> Switched:
    """Return a program in another mode; the given one stays as it is.

    Args:
        program: Any.
        dropout: False switches every random regularisation off: dropout of all kinds, that of
            attention and of recurrent layers, and random slopes (which become their mean).
        batch_statistics: False lets batch and instance norm take their running statistics, which
            then do not change, as in evaluation mode.
    """
    calls, unsettled = [], []
    for call in program.calls:
        kind = _kind(call)
        found = call
        if not dropout and kind in _RANDOM:
            found = _with(found, *_RANDOM[kind])
        if not batch_statistics and kind in _STATISTICS:
            if _has_statistics(call):
                found = _with(found, _STATISTICS[kind], value=False)
            elif kind == "batch_norm":
                unsettled.append(call.node)
        calls.append(found)
    return Switched(program.with_calls(calls), tuple(unsettled))


def _kind(call: Call) -> str:
    return call.name.split(".")[1].removesuffix("_")


def _has_statistics(call: Call) -> bool:
    return all(isinstance(_argument(call, name), Slot) for name in ("running_mean", "running_var"))


def _position(call: Call, name: str) -> int:
    """Return the position of an argument that is not keyword-only."""
    declared = signature(call.name)
    assert declared is not None
    return [formal.name for formal in declared.formals].index(name)


def _argument(call: Call, name: str) -> Any:
    position = _position(call, name)
    if position < len(call.arguments):
        return call.arguments[position]
    return call.keywords.get(name)


def _with(call: Call, name: str, value: Any) -> Call:
    """Return a call with another value of an argument."""
    position = _position(call, name)
    if position < len(call.arguments):
        arguments = list(call.arguments)
        arguments[position] = value
        return replace(call, arguments=tuple(arguments))
    return replace(call, keywords={**call.keywords, name: value})
