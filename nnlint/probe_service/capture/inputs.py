"""Which inputs a model is called with, where the user gives none: those that the linter finds."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nnlint.linter.graph import ModelGraph, Node
from nnlint.linter.operators.moving import GETITEM
from nnlint.linter.operators.shapes import Tensor
from nnlint.linter.settings import ModelSettings
from nnlint.linter.trace import inputs as guess
from nnlint.probe_service.capture.feed import Call, by_name, drawn
from nnlint.probe_service.options import BATCH_SIZE

# How many shapes are tried by running the model, where the linter found none that fits.
MOST_TRIES = 24
_DTYPES = {"int": torch.int64, "bool": torch.bool}


def calls(
    model: nn.Module,
    graph: ModelGraph | None,
    settings: ModelSettings,
    *,
    passed: frozenset[str],
    batch_size: int | None,
) -> Iterator[Call]:
    """Yield calls of forward with drawn inputs, the likeliest first.

    Args:
        model: The live model.
        graph: Its graph as the linter traced it, None where it could not.
        settings: The user's input shapes, if any.
        passed: Optional parameters of forward that need a value.
        batch_size: Samples in a step, None for those of the user's shapes or the default.
    """
    real = _real(model)
    seen: set[object] = set()
    for choice in _choices(model, graph, settings, passed):
        flat, spec = pytree.tree_flatten(choice.values)
        batch = guess.batch_of({str(place): tensor for place, tensor in enumerate(flat)})
        size = wanted(settings, batch_size)
        # A batch that is written into forward is the linter's own, or 1, if it is found at all.
        for samples in (size, batch, 1, BATCH_SIZE):
            scaled = [_with_batch(tensor, batch, samples) for tensor in flat]
            feeds = [
                drawn(
                    name,
                    tensor.shape or (samples,),
                    choice.dtypes.get(name) or _dtype(tensor, real),
                )
                for name, tensor in zip(_names(choice.values), scaled, strict=True)
            ]
            key = tuple((feed.name, feed.shape, feed.dtype) for feed in feeds)
            if key not in seen:
                seen.add(key)
                values = pytree.tree_unflatten(feeds, spec)
                yield by_name(model, values, samples if feeds else size)


def wanted(settings: ModelSettings, batch_size: int | None) -> int:
    """Return how many samples a step of drawn inputs is to have."""
    if batch_size or not settings.inputs:
        return batch_size or BATCH_SIZE
    shapes = (Tensor(tuple(spec.shape), "float") for spec in settings.inputs)
    return guess.batch_of({str(place): shape for place, shape in enumerate(shapes)})


@dataclass(frozen=True, slots=True)
class _Choice:
    """Shapes of inputs.

    Attributes:
        values: By parameter name of forward; a list or mapping of shapes where it takes one.
        dtypes: Element types that the user names.
    """

    values: dict[str, Any]
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)


def _choices(
    model: nn.Module, graph: ModelGraph | None, settings: ModelSettings, passed: frozenset[str]
) -> Iterator[_Choice]:
    names = _needed(model, passed)
    if settings.inputs is not None:
        yield _given(names, settings)
        return
    if graph is not None:
        nodes = [node for node in graph.nodes if node.kind == "input" and node.name in names]
        known = {node.name: _shape(node) for node in nodes}
        keyed = any(_is_mapping(node) for node in nodes)
        if nodes and not keyed and all(shape is not None for shape in known.values()):
            yield _Choice(dict(known))
        yield from _tried(nodes)
    if not names:
        yield _Choice({})
        return
    options = guess.by_registration(model, len(names))
    for option in itertools.islice(options, MOST_TRIES):
        yield _Choice(dict(zip(names, option, strict=True)))


def _needed(model: nn.Module, passed: frozenset[str]) -> list[str]:
    """Return the names of the forward parameters that need a value."""
    return [
        name
        for name, p in inspect.signature(model.forward).parameters.items()
        if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        and (p.default is p.empty or name in passed)
    ]


def _given(names: Sequence[str], settings: ModelSettings) -> _Choice:
    specs = settings.inputs or ()
    named = {spec.name: spec for spec in specs if spec.name}
    free = [name for name in names if name not in named]
    chosen = dict(zip(free, (s for s in specs if not s.name), strict=False)) | named
    shapes = {
        name: Tensor(tuple(spec.shape), guess.kind_of(spec.dtype)) for name, spec in chosen.items()
    }
    dtypes = {
        name: found
        for name, spec in chosen.items()
        if spec.dtype != "float32"
        and isinstance(found := getattr(torch, spec.dtype, None), torch.dtype)
    }
    return _Choice(dict(shapes), dtypes)


def _shape(node: Node) -> Tensor | None:
    if node.info.shape is None:
        # An input that no layer takes: labels, or what forward does not use.
        return None if node.users else Tensor((guess.BATCH,), node.info.kind)
    return Tensor(tuple(node.info.shape), node.info.kind)


def _tried(nodes: Sequence[Node]) -> Iterator[_Choice]:
    """Yield shapes that the first layers behind the inputs take.

    An input of which only elements are taken may be a mapping, a tuple, or one tensor.
    """
    for apart in (True, False):
        parts: dict[str, dict[Any, Node]] = {
            node.name: _parts(node) if apart else {} for node in nodes
        }
        if apart and not any(parts.values()):
            continue
        leaves = {node.name: list(parts[node.name].values()) or [node] for node in nodes}
        options = {
            leaf: list(itertools.islice(guess.candidates(leaf), MOST_TRIES))
            or [Tensor((guess.BATCH,), "int")]
            for group in leaves.values()
            for leaf in group
        }
        for index in range(max(map(len, options.values()), default=0)):
            chosen = {leaf: each[min(index, len(each) - 1)] for leaf, each in options.items()}
            yield _Choice({node.name: _whole(node, parts[node.name], chosen) for node in nodes})


def _parts(node: Node) -> dict[Any, Node]:
    """Return the elements that are taken of an input by key, {} where it is used as a whole."""
    found: dict[Any, Node] = {}
    for user in node.users:
        key = user.args.get("index")
        if user.op is not GETITEM or not isinstance(key, (str, int)):
            return {}
        found.setdefault(key, user)
    keys = list(found)
    if all(isinstance(key, str) for key in keys) or sorted(keys) == list(range(len(keys))):
        return found
    return {}


def _is_mapping(node: Node) -> bool:
    return any(isinstance(key, str) for key in _parts(node))


def _whole(node: Node, parts: Mapping[Any, Node], chosen: Mapping[Node, Tensor]) -> Any:
    if not parts:
        return chosen[node]
    if all(isinstance(key, str) for key in parts):
        return {key: chosen[leaf] for key, leaf in parts.items()}
    return [chosen[parts[key]] for key in sorted(parts)]


def _names(values: Mapping[str, Any]) -> list[str]:
    """Return a name for each leaf, in the order of the leaves."""
    paths, _ = pytree.tree_flatten_with_path(dict(values))
    return [pytree.keystr(path[:1])[2:-2] + pytree.keystr(path[1:]) for path, _ in paths]


def _with_batch(tensor: Tensor, batch: int, size: int) -> Tensor:
    """Return a shape with another batch: the first dimension of that size."""
    shape = tensor.shape
    if shape is None or batch not in shape:
        return tensor
    place = shape.index(batch)
    return Tensor((*shape[:place], size, *shape[place + 1 :]), tensor.kind)


def _dtype(tensor: Tensor, real: torch.dtype) -> torch.dtype:
    return _DTYPES.get(tensor.kind or "", real)


def _real(model: nn.Module) -> torch.dtype:
    """Return the type of the model's own numbers."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
