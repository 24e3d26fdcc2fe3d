"""Which inputs a model is called with, where the user gives none: those that the linter finds."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from nnlint.linter.graph import ModelGraph, Node
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
        batch_size: Samples in a step, None for the default.
    """
    size = batch_size or BATCH_SIZE
    real = _real(model)
    seen: set[object] = set()
    for chosen, dtypes in _choices(model, graph, settings, passed):
        for scaled in (_with_batch(chosen, size), dict(chosen)):
            feeds = [
                drawn(name, tensor.shape or (size,), dtypes.get(name) or _dtype(tensor, real))
                for name, tensor in scaled.items()
            ]
            key = tuple((feed.name, feed.shape, feed.dtype) for feed in feeds)
            if key not in seen:
                seen.add(key)
                yield by_name(model, feeds, guess.batch_of(scaled) if scaled else size)


def _choices(
    model: nn.Module, graph: ModelGraph | None, settings: ModelSettings, passed: frozenset[str]
) -> Iterator[tuple[Mapping[str, Tensor], Mapping[str, torch.dtype]]]:
    names = _needed(model, passed)
    if settings.inputs is not None:
        yield _given(names, settings)
        return
    if graph is not None:
        nodes = [node for node in graph.nodes if node.kind == "input" and node.name in names]
        known = {node.name: _shape(node) for node in nodes}
        if nodes and all(shape is not None for shape in known.values()):
            yield {name: shape for name, shape in known.items() if shape is not None}, {}
        else:
            yield from _tried(nodes)
    if not names:
        yield {}, {}
        return
    options = guess.by_registration(model, len(names))
    for option in itertools.islice(options, MOST_TRIES):
        yield dict(zip(names, option, strict=True)), {}


def _needed(model: nn.Module, passed: frozenset[str]) -> list[str]:
    """Return the names of the forward parameters that need a value."""
    return [
        name
        for name, p in inspect.signature(model.forward).parameters.items()
        if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        and (p.default is p.empty or name in passed)
    ]


def _given(
    names: Sequence[str], settings: ModelSettings
) -> tuple[dict[str, Tensor], dict[str, torch.dtype]]:
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
    return shapes, dtypes


def _shape(node: Node) -> Tensor | None:
    if node.info.shape is None:
        # An input that no layer takes: labels, or what forward does not use.
        return None if node.users else Tensor((guess.BATCH,), node.info.kind)
    return Tensor(tuple(node.info.shape), node.info.kind)


def _tried(
    nodes: Sequence[Node],
) -> Iterator[tuple[Mapping[str, Tensor], Mapping[str, torch.dtype]]]:
    """Yield shapes that the first layers behind the inputs take."""
    options = [list(itertools.islice(guess.candidates(node), MOST_TRIES)) for node in nodes]
    if not options or not any(options):
        return
    for option in options:
        if not option:
            option.append(Tensor((guess.BATCH,), "int"))
    longest = min(max(map(len, options)), MOST_TRIES)
    for index in range(longest):
        yield (
            {
                node.name: option[min(index, len(option) - 1)]
                for node, option in zip(nodes, options, strict=True)
            },
            {},
        )


def _with_batch(inputs: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return the inputs with another batch: the first dimension of that size in each."""
    batch = guess.batch_of(inputs)
    scaled = {}
    for name, tensor in inputs.items():
        shape = tensor.shape
        if shape is not None and batch in shape:
            place = shape.index(batch)
            shape = (*shape[:place], size, *shape[place + 1 :])
        scaled[name] = Tensor(shape, tensor.kind)
    return scaled


def _dtype(tensor: Tensor, real: torch.dtype) -> torch.dtype:
    return _DTYPES.get(tensor.kind or "", real)


def _real(model: nn.Module) -> torch.dtype:
    """Return the type of the model's own numbers."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
