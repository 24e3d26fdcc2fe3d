"""Capture with torch.export, for models that torch.fx cannot trace symbolically.

Slower (0.2 to 3 s, and its first use imports sympy), and it needs inputs; but it follows any
control flow that does not depend on values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node, TensorInfo
from nnlint.linter.operators.arithmetic import ASSERT
from nnlint.linter.operators.base import bind, table
from nnlint.linter.trace.convert import BuiltAt, link
from nnlint.linter.trace.positions import UserCode

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in ')


def export_nodes(
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    code: UserCode,
    built_at: BuiltAt,
) -> list[Node]:
    """Export `model` in the mode it is in and turn the ATen graph into nodes.

    Args:
        model: The module.
        args: Example inputs.
        kwargs: Example keyword inputs.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.

    Raises:
        Exception: Whatever forward or torch.export raises.
    """
    program = torch.export.export(model, tuple(args), dict(kwargs), strict=False)
    signature = program.graph_signature
    state: dict[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    made: dict[Any, Node] = {}
    nodes: list[Node] = []
    for fx_node in program.graph.nodes:
        node = Node(len(nodes), "op", target=fx_node.target, name=fx_node.name)
        node.info = _info(fx_node.meta.get("val"))
        if fx_node.op == "placeholder":
            name = state.get(fx_node.name)
            if name is not None:
                node.kind, node.path = "param", name
                node.tensor = program.state_dict.get(name, program.constants.get(name))
            elif fx_node.name in constants:
                node.kind, node.path = "param", constants[fx_node.name]
                found = program.constants.get(constants[fx_node.name])
                node.tensor = found if isinstance(found, torch.Tensor) else None
            else:
                node.kind = "input"
        elif fx_node.op == "output":
            results = _replace(fx_node.args[0], made)[len(signature.buffers_to_mutate) :]
            node.kind, node.args = "output", {"input": results[0] if len(results) == 1 else results}
        else:
            _operation(node, fx_node, made, model=model, code=code, built_at=built_at)
        made[fx_node] = node
        if node.op is not ASSERT:
            nodes.append(node)
            link(node)
    return nodes


def _operation(
    node: Node,
    fx_node: Any,
    made: Mapping[Any, Node],
    *,
    model: torch.nn.Module,
    code: UserCode,
    built_at: BuiltAt,
) -> None:
    match = table().function(fx_node.target)
    node.op = match.op if match else None
    node.args = bind(
        match.params if match else ("input",),
        _replace(fx_node.args, made),
        _replace(fx_node.kwargs, made),
    )
    stack = list((fx_node.meta.get("nn_module_stack") or {}).values())
    node.path = str(stack[-1][0]) if stack else ""
    node.call = node.location = _location(fx_node.meta.get("stack_trace") or "", code)
    owner = _submodule(model, node.path)
    if owner is not None and node.op is not None and table().module(type(owner)) is node.op:
        node.module = owner
        node.built = built_at(owner)
        parent = _submodule(model, str(stack[-2][0])) if len(stack) > 1 else None
        if isinstance(parent, torch.nn.Sequential) and node.built is not None:
            node.location = node.built


def _replace(value: Any, made: Mapping[Any, Node]) -> Any:
    def found(argument: Any) -> Any:
        return made.get(argument) if isinstance(argument, torch.fx.Node) else argument

    return torch.fx.node.map_aggregate(value, found)


def _submodule(model: torch.nn.Module, path: str) -> torch.nn.Module | None:
    found: Any = model
    for part in filter(None, path.split(".")):
        found = getattr(found, part, None)
    return found if isinstance(found, torch.nn.Module) else None


def _location(trace: str, code: UserCode) -> Location | None:
    places = [(m["file"], int(m["line"])) for m in _FRAME.finditer(trace)]
    for wanted in (0, 1):
        for file, line in reversed(places):
            if code.rank(file) == wanted:
                return code.from_lines(file, line)
    return None


def _info(value: Any) -> TensorInfo:
    if not isinstance(value, torch.Tensor):
        return TensorInfo()
    shape = tuple(value.shape)
    kind: Any = (
        "float"
        if value.dtype.is_floating_point
        else ("bool" if value.dtype == torch.bool else "int")
    )
    return TensorInfo(shape if all(isinstance(s, int) for s in shape) else None, kind)
