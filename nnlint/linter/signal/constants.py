"""Values that no input has a part in: masks, positions, indices. They are simply computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import arithmetic as ops
from nnlint.linter.operators.base import Family, table
from nnlint.linter.operators.moving import CAST

# Elements beyond which nothing is computed.
LARGEST = 1 << 20
_FILLED = frozenset({ops.CREATE_LIKE, ops.CREATE_NEW, ops.CREATE_NEW_FULL})
_FAMILIES = frozenset(
    {
        Family.CREATION,
        Family.COMPARE,
        Family.SHAPE,
        Family.PASS,
        Family.ELEMENTWISE,
        Family.REDUCTION,
        Family.STOP,
    }
)
_BY_KEYWORD = frozenset({"rounding_mode", "alpha", "approximate"})
# Drawn anew at each call.
_RANDOM = ("rand", "normal", "uniform", "bernoulli", "multinomial", "dropout", "empty")


class NotConstantError(Exception):
    """The value depends on an input, or is not of a kind that is computed."""


def computed(node: Node, known: Mapping[Node, torch.Tensor]) -> torch.Tensor:
    """Return the value of an operation on constants.

    Args:
        node: The operation.
        known: Tensors of constant nodes before it.

    Raises:
        NotConstantError: It is none.
    """
    op = node.op
    name = str(getattr(node.target, "__name__", node.target))
    if op is None or op.family not in _FAMILIES or any(part in name for part in _RANDOM):
        raise NotConstantError
    shape = node.info.shape
    if op in _FILLED and shape is not None:
        return _filled(node, name, shape)
    if not node.inputs and op.family is not Family.CREATION:
        raise NotConstantError
    skipped = {"device"} | ({"dtype", "other"} if op is CAST else set())
    args = {}
    for key, value in node.args.items():
        if (
            isinstance(value, Node)
            and value.family(Family.PYTHON)
            and value.value is None
            and key in skipped
        ):
            continue
        args[key] = _plain(value, known)
    if op is CAST and len(args) == 1:
        (only,) = args.values()
        return torch.as_tensor(only)
    result = _called(node, args, name)
    if not isinstance(result, torch.Tensor) or result.numel() > LARGEST:
        raise NotConstantError
    return result


def _filled(node: Node, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    given = node.args.get("dtype")
    dtype = (
        given
        if isinstance(given, torch.dtype)
        else {"int": torch.int64, "bool": torch.bool}.get(node.info.kind or "float", torch.float32)
    )
    fill = 1.0 if "ones" in name else 0.0
    if "full" in name:
        fill = node.arg("fill_value")
        if not isinstance(fill, (int, float)):
            raise NotConstantError
    return torch.full(shape, fill, dtype=dtype)


def _plain(value: Any, known: Mapping[Node, torch.Tensor]) -> Any:
    if isinstance(value, Node):
        if value.value is not None:
            return value.value
        if value.kind == "param" and value.tensor is not None:
            if value.tensor.numel() > LARGEST or value.tensor.is_meta:
                raise NotConstantError
            return value.tensor.detach()
        if value not in known:
            raise NotConstantError
        return known[value]
    if isinstance(value, tuple):
        return tuple(_plain(v, known) for v in value)
    if isinstance(value, list):
        return [_plain(v, known) for v in value]
    if isinstance(value, slice):
        return slice(*(_plain(v, known) for v in (value.start, value.stop, value.step)))
    return value


def _called(node: Node, args: dict[str, Any], name: str) -> Any:
    """Call what the trace calls, on tensors of ours; an operation in place gets a copy."""
    target = node.target
    if name in {"setitem", "__setitem__"}:
        changed = args["input"].clone()
        changed[args["index"]] = args["value"]
        return changed
    values = list(args.items())
    for key, value in values:
        if isinstance(value, torch.Tensor) and name.endswith("_"):
            args[key] = value.clone()
    kwargs = {k: v for k, v in args.items() if k not in ("device", "pin_memory", "layout")}
    positional: list[Any] = []
    op = node.op
    assert op is not None
    match = table().method(str(target)) if isinstance(target, str) else table().function(target)
    params = match.params if match is not None else op.params
    for param in params:
        key = param.removeprefix("*")
        if key not in kwargs or key in _BY_KEYWORD:
            break
        value = kwargs.pop(key)
        positional += list(value) if param.startswith("*") and isinstance(value, tuple) else [value]
    try:
        with torch.no_grad():
            if not isinstance(target, str):
                return target(*positional, **kwargs)
            return getattr(positional[0], target)(*positional[1:], **kwargs)
    except Exception as error:
        raise NotConstantError from error
