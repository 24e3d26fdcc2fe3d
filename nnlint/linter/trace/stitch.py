"""Append to a graph what the training code does with the model's output, up to the loss."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from nnlint.linter.discover import conditions, sinks
from nnlint.linter.discover.targets import UNKNOWN, OutputUse, Step
from nnlint.linter.findings import Location
from nnlint.linter.graph import Node
from nnlint.linter.operators.base import Family, Operator, bind, resolve, table
from nnlint.linter.operators.moving import GETITEM
from nnlint.linter.trace.convert import link


def happening(uses: Iterable[OutputUse], model: torch.nn.Module) -> tuple[OutputUse, ...]:
    """Return the uses that can happen to a live model; undecided ones are no longer certain."""
    found = []
    for use in uses:
        verdicts = [conditions.holds(each, model) for each in use.conditions]
        if False in verdicts:
            continue
        found.append(dataclasses.replace(use, certain=use.certain and None not in verdicts))
    return tuple(found)


def stitch(nodes: list[Node], uses: Iterable[OutputUse]) -> bool:
    """Append the nodes of each use that ends in a loss or a logarithm.

    Returns:
        Whether any loss was appended.
    """
    output = next((n for n in nodes if n.kind == "output"), None)
    if output is None:
        return False
    known: dict[tuple[Any, ...], Any] = {}
    found = False
    for use in uses:
        op = _loss_operator(use.sink)
        if not use.certain or (op is None and not sinks.logarithm(use.sink)):
            continue
        value: Any = output.args.get("input")
        trail: tuple[Any, ...] = (use.training,)
        for step in use.steps:
            trail = (*trail, step.kind, step.name, step.location)
            if trail not in known:
                known[trail] = _apply(nodes, step, value, training=use.training)
            value = known[trail]
        value = first_tensor(value)
        if op is None or not isinstance(value, Node):
            continue
        slot = op.params[use.slot] if use.slot < len(op.params) else "input"
        args = {slot: value, **_literals(use.kwargs)}
        _append(nodes, op, use.sink, args, use.location, training=use.training)
        found = True
    return found


def stitch_named(nodes: list[Node], loss: Any, location: Location) -> bool:
    """Append one loss that the user named, on the model's (first) output.

    Args:
        nodes: The graph.
        loss: A name such as "cross_entropy" or "torch.nn.CrossEntropyLoss", a loss module, or a
            function of torch.nn.functional.
        location: Where findings about the loss belong.
    """
    output = next((n for n in nodes if n.kind == "output"), None)
    value = first_tensor(output.args.get("input")) if output is not None else None
    op = operator_of(loss)
    if not isinstance(value, Node) or op is None:
        return False
    node = _append(nodes, op, op.name, {"input": value}, location, training=True)
    if isinstance(loss, torch.nn.Module):
        node.module = loss
    return True


def operator_of(loss: Any) -> Operator | None:
    """Return the loss operator that a name, module or function stands for, None if it is none."""
    if isinstance(loss, torch.nn.Module):
        op = table().module(type(loss))
    elif isinstance(loss, str):
        aliases = {
            "bce": "binary_cross_entropy",
            "bce_with_logits": "binary_cross_entropy_with_logits",
        }
        name = aliases.get(loss, loss)
        op = table().by_name.get(name) or _loss_operator(name) or _loss_operator(f"torch.nn.{name}")
    else:
        match = table().function(loss)
        op = match.op if match else None
    return op if op is not None and op.family is Family.LOSS else None


def _loss_operator(dotted: str) -> Operator | None:
    if not dotted.startswith(("torch.", "F.")):
        return None
    target = resolve(dotted)
    if isinstance(target, type):
        op = table().module(target)
    else:
        match = table().function(target) if target is not None else None
        op = match.op if match else None
    return op if op is not None and op.family is Family.LOSS else None


def first_tensor(value: Any) -> Any:
    """Return the first node of a tuple, list or dict of outputs."""
    while isinstance(value, (tuple, list, Mapping)):
        items = list(value.values()) if isinstance(value, Mapping) else list(value)
        if not items:
            return None
        value = items[0]
    return value


def _apply(nodes: list[Node], step: Step, value: Any, *, training: bool) -> Any:
    if step.kind in ("item", "attr"):
        key = step.key if step.kind == "item" else step.name
        if (
            isinstance(value, (tuple, list))
            and isinstance(key, int)
            and -len(value) <= key < len(value)
        ):
            return value[key]
        if isinstance(value, Mapping):
            return value.get(key)
        if step.kind == "attr":
            match = table().method(f".{step.name}")
            if match is None or not isinstance(value, Node):
                return None
            return _append(
                nodes, match.op, step.name, {"input": value}, step.location, training=training
            )
        if isinstance(value, Node):
            args = {"input": value, "index": key}
            return _append(nodes, GETITEM, "getitem", args, step.location, training=training)
        return None
    value = first_tensor(value)
    if not isinstance(value, Node):
        return None
    op, args = _call(step, value)
    return _append(nodes, op, step.name, args, step.location, training=training)


def _call(step: Step, value: Node) -> tuple[Operator | None, dict[str, Any]]:
    kwargs = _literals(step.kwargs)
    if step.kind == "method":
        match = table().method(step.name)
        params = match.params if match else ("input",)
        return (match.op if match else None), bind(params, (value, *step.args), kwargs)
    target = resolve(step.name) if step.name.startswith(("torch.", "operator.")) else None
    if isinstance(target, type):
        names = tuple(inspect.signature(target).parameters)
        return table().module(target), {"input": value} | bind(names, step.args, kwargs)
    match = table().function(target) if target is not None else None
    params = match.params if match else ("input",)
    return (match.op if match else None), bind(params, (value, *step.args), kwargs)


def _literals(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not UNKNOWN}


def _append(
    nodes: list[Node],
    op: Operator | None,
    target: str,
    args: dict[str, Any],
    at: Location,
    *,
    training: bool,
) -> Node:
    clean = {name: None if value is UNKNOWN else value for name, value in args.items()}
    node = Node(len(nodes), "op", op=op, target=target, name=target, args=clean)
    node.location = node.call = at
    node.stitched, node.training = True, training
    nodes.append(node)
    link(node)
    return node
