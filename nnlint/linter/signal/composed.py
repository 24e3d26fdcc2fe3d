"""Modules of torch that are made of others: the layers of a transformer, taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nnlint.linter.graph import Node, TensorInfo
from nnlint.linter.operators import arithmetic, linear, moving
from nnlint.linter.operators.base import Operator, table
from nnlint.linter.signal.base import Call, Pulled, Slot, Step, UnfollowedError, follows
from nnlint.linter.signal.moments import Gradient, Value


class Parts:
    """Operations inside a module, written down as nodes."""

    def __init__(self, index: int) -> None:
        self.nodes: list[Node] = []
        self._index = index

    def input(self, name: str) -> Node:
        """Add something that comes from outside."""
        return self._added(Node(self._next(), "input", name=name))

    def module(self, module: torch.nn.Module, **args: Node) -> Node:
        """Add a call of a module."""
        op = table().module(type(module))
        if op is None:
            raise UnfollowedError(f"its {type(module).__name__} is not known")
        return self._op(op, args, module)

    def function(self, op: Operator, args: Mapping[str, Any]) -> Node:
        """Add a call of an operator."""
        return self._op(op, args, None)

    def _op(self, op: Operator, args: Mapping[str, Any], module: torch.nn.Module | None) -> Node:
        node = Node(self._next(), "op", op=op, args=dict(args), module=module)
        node.inputs = tuple(dict.fromkeys(v for v in args.values() if isinstance(v, Node)))
        return self._added(node)

    def _next(self) -> int:
        self._index += 1
        return self._index

    def _added(self, node: Node) -> Node:
        self.nodes.append(node)
        return node


def _encoder_layer(parts: Parts, layer: Any, x: Node) -> Node:
    def attended(y: Node) -> Node:
        both = parts.module(layer.self_attn, query=y, key=y, value=y)
        return parts.function(moving.GETITEM, {"input": both, "index": 0})

    if layer.norm_first:
        x = _sum(parts, x, attended(parts.module(layer.norm1, input=x)))
        return _sum(parts, x, _feed_forward(parts, layer, parts.module(layer.norm2, input=x)))
    x = parts.module(layer.norm1, input=_sum(parts, x, attended(x)))
    return parts.module(layer.norm2, input=_sum(parts, x, _feed_forward(parts, layer, x)))


def _decoder_layer(parts: Parts, layer: Any, x: Node, memory: Node) -> Node:
    def attended(module: torch.nn.Module, y: Node, z: Node) -> Node:
        both = parts.module(module, query=y, key=z, value=z)
        return parts.function(moving.GETITEM, {"input": both, "index": 0})

    if layer.norm_first:
        y = parts.module(layer.norm1, input=x)
        x = _sum(parts, x, attended(layer.self_attn, y, y))
        y = parts.module(layer.norm2, input=x)
        x = _sum(parts, x, attended(layer.multihead_attn, y, memory))
        return _sum(parts, x, _feed_forward(parts, layer, parts.module(layer.norm3, input=x)))
    x = parts.module(layer.norm1, input=_sum(parts, x, attended(layer.self_attn, x, x)))
    x = parts.module(layer.norm2, input=_sum(parts, x, attended(layer.multihead_attn, x, memory)))
    return parts.module(layer.norm3, input=_sum(parts, x, _feed_forward(parts, layer, x)))


def _sum(parts: Parts, x: Node, y: Node) -> Node:
    return parts.function(arithmetic.ADD, {"input": x, "other": y})


def _feed_forward(parts: Parts, layer: Any, x: Node) -> Node:
    hidden = parts.module(layer.linear1, input=x)
    if isinstance(layer.activation, torch.nn.Module):
        hidden = parts.module(layer.activation, input=hidden)
    else:
        match = table().function(layer.activation)
        if match is None:
            raise UnfollowedError("its activation is not known")
        hidden = parts.function(match.op, {"input": hidden})
    return parts.module(layer.linear2, input=parts.module(layer.dropout, input=hidden))


def _all(parts: Parts, module: Any, x: Node, memory: Node | None) -> Node:
    """Add an encoder, a decoder, or a single layer of one."""
    layers = getattr(module, "layers", None)
    if layers is None:
        if memory is not None and hasattr(module, "multihead_attn"):
            return _decoder_layer(parts, module, x, memory)
        return _encoder_layer(parts, module, x)
    for layer in layers:
        x = _all(parts, layer, x, memory)
    return x if module.norm is None else parts.module(module.norm, input=x)


@follows(linear.TRANSFORMER_LAYER)
def transformer_layers(call: Call) -> Step:
    """Follow encoders, decoders and their layers by what they are made of; masks are left open."""
    module: Any = call.node.module
    takes = [call.node.args.get(name) for name in ("input", "mask")]
    sources = [value for value in takes if isinstance(value, Node)]
    decodes = "Decoder" in type(module).__name__
    parts = Parts(call.node.index)
    x = parts.input("x")
    memory = parts.input("memory") if decodes else None
    result = _all(parts, module, x, memory)
    return _followed(
        call, parts, {x: sources[0]} | ({memory: sources[1]} if memory else {}), result
    )


@follows(linear.TRANSFORMER)
def transformer(call: Call) -> Step:
    """Follow nn.Transformer: the encoder over the source, the decoder over the target and it."""
    module: Any = call.node.module
    source, target = call.node.args.get("src"), call.node.args.get("tgt")
    if not isinstance(source, Node) or not isinstance(target, Node):
        raise UnfollowedError("what it takes is not known")
    parts = Parts(call.node.index)
    x, y = parts.input("src"), parts.input("tgt")
    memory = _all(parts, module.encoder, x, None)
    result = _all(parts, module.decoder, y, memory)
    return _followed(call, parts, {x: source, y: target}, result)


def _followed(call: Call, parts: Parts, sources: Mapping[Node, Node], result: Node) -> Step:
    """Follow the parts of a module in a run of their own."""
    from nnlint.linter.signal.propagate import Run, Signal

    signal = Signal(batch=call.batch)
    for inner, outer in sources.items():
        value = call.values.get(outer)
        if not isinstance(value, Value):
            raise UnfollowedError("what it takes is not known")
        signal.values[inner] = value
        inner.info = TensorInfo(value.shape, "float")
    run = Run(signal)
    run.forward(parts.nodes)
    if signal.unfollowed:
        raise UnfollowedError(next(iter(signal.unfollowed.values())))
    value = signal.value(result)
    assert value is not None

    def pull(g: Gradient) -> Iterator[Pulled]:
        run.give(Slot(result), g)
        run.backward(parts.nodes)
        for parameter in call.node.module.parameters() if call.node.module is not None else ():
            if id(parameter) in signal.parameters:
                yield parameter, signal.parameters[id(parameter)]
        for inner, outer in sources.items():
            if inner in signal.gradients:
                yield Slot(outer), signal.gradients[inner]

    return Step(value, pull)
