"""Match the tensors of a batch to forward's parameters and to the loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nnlint.errors import UsageError
from nnlint.probe_service.capture.feed import Call, Feed, by_name, fed, make_call
from nnlint.probe_service.capture.session import Batch
from nnlint.probe_service.encode.scalars import scalar_of

# What labels are called.
TARGETS = ("target", "targets", "label", "labels", "y")
_WIDENED = {torch.int8, torch.int16, torch.int32}
# What forward takes, a mapping by parameter name or a list of positional arguments; and labels.
Reading = tuple[Any, dict[str, torch.Tensor]]


def read(items: Sequence[Any], model: nn.Module, size: int, what: str) -> Batch:
    """Make calls of batches of equal structure.

    Args:
        items: The batches: tensors, tuples or mappings.
        model: The model whose forward takes them.
        size: Samples in each.
        what: Where they come from, for messages.

    Raises:
        UsageError: They do not fit forward.
    """
    columns = [_readings(item, model, what) for item in items]
    made = []
    for place in range(len(columns[0])):
        inputs = [column[place][0] for column in columns]
        labels = [column[place][1] for column in columns]
        made.append(_made(model, inputs, labels, size, what))
    return Batch(tuple(made))


def samples_of(item: Any, model: nn.Module, what: str) -> int:
    """Return how many samples a batch has, by the first tensor that goes to forward.

    Raises:
        UsageError: No input has a dimension that counts samples.
    """
    inputs, _ = _readings(item, model, what)[0]
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, torch.Tensor) and leaf.dim():
            return int(leaf.shape[0])
    raise UsageError(f"{what}: no input has a dimension that counts samples")


def _readings(item: Any, model: nn.Module, what: str) -> list[Reading]:
    """Return the ways in which a batch may be meant, the likeliest first."""
    if isinstance(item, torch.Tensor):
        return [([item], {})]
    if isinstance(item, Mapping):
        return _of_mapping(item, model, what)
    if not isinstance(item, (tuple, list)) or not item:
        raise UsageError(f"{what}: a batch is a tensor, a tuple or a dict, not {item!r:.60}")
    first, *rest = item
    if rest and isinstance(first, Mapping):
        return [(i, {**t, **_named(rest)}) for i, t in _of_mapping(first, model, what)]
    if rest and isinstance(first, (tuple, list)):
        needed = _needed(model)
        listed = [(list(first), _named(rest))]
        whole = [([first], _named(rest))]
        return whole if len(needed) == 1 and len(first) > 1 else listed
    count = max(len(_needed(model)), 1)
    return [(list(item[:count]), _named(item[count:]))]


def _of_mapping(item: Mapping[str, Any], model: nn.Module, what: str) -> list[Reading]:
    needed = _needed(model)
    labels = {name: value for name, value in item.items() if _is_label(name, value)}
    whole: list[Reading] = []
    parameters = inspect.signature(model.forward).parameters
    if len(needed) == 1 and len(item) > len(labels) and not item.keys() & parameters.keys():
        whole = [({needed[0]: dict(item)}, labels)]
    try:
        return [_split(item, model, what), *whole]
    except UsageError:
        if not whole:
            raise
        return whole


def _is_label(name: str, value: Any) -> bool:
    return name.lower() in TARGETS and isinstance(value, torch.Tensor)


def _named(labels: Sequence[Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for each in labels:
        values = each.items() if isinstance(each, Mapping) else enumerate(pytree.tree_leaves(each))
        for key, value in values:
            if isinstance(value, torch.Tensor):
                name = key if isinstance(key, str) else "target"
                found[name if name not in found else f"{name}{len(found)}"] = value
    return found


def _split(
    arrays: Mapping[str, Any], model: nn.Module, what: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Match arrays to forward's parameters by name, then by order; the rest are labels."""
    parameters = inspect.signature(model.forward).parameters
    every = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    inputs = {name: value for name, value in arrays.items() if name in parameters}
    rest = {name: value for name, value in arrays.items() if name not in parameters}
    free = [name for name in _needed(model) if name not in inputs]
    labels = {name: rest.pop(name) for name in list(rest) if name.lower() in TARGETS}
    for name in free:
        if not rest:
            break
        key = next(iter(rest))
        inputs[name] = rest.pop(key)
    if every and not labels:
        inputs |= rest
        rest = {}
    missing = [name for name in _needed(model) if name not in inputs]
    if missing:
        raise UsageError(
            f"{what} has nothing for forward's {', '.join(missing)} (it has {', '.join(arrays)})",
            hint=f"Save the input under the name {missing[0]}.",
        )
    if len(rest) > 1 or (rest and labels):
        raise UsageError(
            f"{what}: forward takes no {', '.join(rest)}",
            hint=f"forward takes {', '.join(parameters)}; labels are called {TARGETS[0]}.",
        )
    order = [name for name in parameters if name in inputs]
    order += [name for name in inputs if name not in order]
    return {name: inputs[name] for name in order}, {**labels, **rest}


def _needed(model: nn.Module) -> list[str]:
    """Return the names of forward's parameters that have no default."""
    return [
        name
        for name, p in inspect.signature(model.forward).parameters.items()
        if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
    ]


def _made(
    model: nn.Module,
    inputs: Sequence[Any],
    targets: Sequence[Mapping[str, Any]],
    size: int,
    what: str,
) -> tuple[Call, tuple[Feed, ...]]:
    """Make the call of one reading, and the feeds of its labels."""
    real = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
    first, spec = pytree.tree_flatten(inputs[0])
    columns = [pytree.tree_leaves(each) for each in inputs]
    names = _leaf_names(inputs[0], model)
    leaves: list[Any] = []
    for place, leaf in enumerate(first):
        if isinstance(leaf, torch.Tensor):
            tensors = [_plain(column[place], real, names[place], what) for column in columns]
            leaves.append(fed(names[place], tensors))
        else:
            leaves.append(leaf)
    whole = pytree.tree_unflatten(leaves, spec)
    labels = tuple(
        fed(name, [_plain(each[name], real, name, what, label=True) for each in targets])
        for name in targets[0]
    )
    return _call(model, whole, size), labels


def _call(model: nn.Module, inputs: Any, size: int) -> Call:
    if isinstance(inputs, Mapping):
        return by_name(model, inputs, size)
    return make_call(list(inputs), {}, size)


def _leaf_names(inputs: Any, model: nn.Module) -> list[str]:
    """Return a name for each leaf of the inputs: of the parameter, or of the key within it."""
    if isinstance(inputs, Mapping):
        pairs = list(inputs.items())
    else:
        names = [*inspect.signature(model.forward).parameters]
        names += [f"input{i}" for i in range(len(names), len(inputs))]
        pairs = list(zip(names, inputs, strict=False))
    found: list[str] = []
    for name, value in pairs:
        paths, _ = pytree.tree_flatten_with_path(value)
        found += [name + pytree.keystr(path) for path, _ in paths]
    return found


def _plain(
    given: Any, real: torch.dtype, name: str, what: str, *, label: bool = False
) -> torch.Tensor:
    """Return a tensor of a type that models take: NumPy's float64 and int32 are its own habit."""
    if not isinstance(given, torch.Tensor):
        raise UsageError(f"{what}: {name} is a {type(given).__name__}, not a tensor")
    value: torch.Tensor = given.detach().cpu()
    if value.dtype == torch.float64:
        value = value.to(real)
    elif value.dtype in _WIDENED or (label and value.dtype == torch.uint8):
        value = value.long()
    if value.layout != torch.strided or scalar_of(value.dtype) is None:
        raise UsageError(f"{what}: {name} is of {value.dtype} ({value.layout}), which is not sent")
    return value
