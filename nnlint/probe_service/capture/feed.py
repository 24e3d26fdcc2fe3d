"""What a step is fed with: tensors of the user's, or drawn ones, in the places of a call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from nnlint.probe_service.draw import draw
from nnlint.probe_service.encode.encode import strides
from nnlint.probe_service.encode.scalars import scalar_of
from nnlint.protos.v1 import graph_pb2


@dataclass(frozen=True, slots=True)
class Feed:
    """One tensor that forward or the loss takes.

    Attributes:
        name: For people.
        shape: Sizes in one step.
        dtype: Element type.
        draw: How it is drawn, where it is not the user's.
        batches: The user's own tensors, one for each step.
        guessed: Whether the range of a drawn integer is yet to be found.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    draw: graph_pb2.Draw | None = None
    batches: tuple[torch.Tensor, ...] = ()
    guessed: bool = False

    def tensor(self, *, seed: int, index: int) -> torch.Tensor:
        """Return what the first step is fed with.

        Args:
            seed: The probe's seed.
            index: Position among the tensors of the graph.
        """
        if self.batches:
            return self.batches[0].clone(memory_format=torch.preserve_format)
        scalar = scalar_of(self.dtype)
        assert scalar is not None
        message = graph_pb2.Tensor(dtype=scalar, shape=self.shape, draw=self.draw)
        return draw(message, seed=seed, step=0, index=index)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of forward: its tensors, and where among the other arguments they stand.

    Attributes:
        feeds: The tensors, in the order of the leaves.
        leaves: Every leaf of the arguments; `...` where a tensor stands.
        spec: How the leaves make up the arguments.
        batch_size: Samples.
    """

    feeds: tuple[Feed, ...]
    leaves: tuple[Any, ...]
    spec: pytree.TreeSpec
    batch_size: int

    def arguments(self, tensors: Sequence[torch.Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments with the given tensors in their places."""
        rest = iter(tensors)
        leaves = [next(rest) if leaf is ... else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return args, kwargs

    def with_feeds(self, feeds: Sequence[Feed]) -> Call:
        """Return the same call, fed otherwise."""
        return replace(self, feeds=tuple(feeds))


def make_call(args: Sequence[Any], kwargs: Mapping[str, Any], batch_size: int) -> Call:
    """Make a call of arguments in which each `Feed` stands for a tensor."""
    leaves, spec = pytree.tree_flatten((list(args), dict(kwargs)))
    feeds = tuple(leaf for leaf in leaves if isinstance(leaf, Feed))
    return Call(feeds, tuple(... if isinstance(x, Feed) else x for x in leaves), spec, batch_size)


def by_name(model: torch.nn.Module, values: Mapping[str, Any], batch_size: int) -> Call:
    """Make a call that passes each value under its name, positionally as far as that goes."""
    named = dict(values)
    args: list[Any] = []
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if name not in named or parameter.kind in {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            break
        args.append(named.pop(name))
    return make_call(args, named, batch_size)


def normal() -> graph_pb2.Draw:
    """Return independent Gaussian elements of mean 0 and variance 1."""
    return graph_pb2.Draw(normal=graph_pb2.Draw.Normal(mean=0.0, standard_deviation=1.0))


def integers(low: int, high: int) -> graph_pb2.Draw:
    """Return independent integers in [low, high)."""
    return graph_pb2.Draw(integers=graph_pb2.Draw.Integers(low=low, high=high))


def binary(low: float, high: float, probability: float = 0.5) -> graph_pb2.Draw:
    """Return independent elements of two values."""
    return graph_pb2.Draw(binary=graph_pb2.Draw.Binary(low=low, high=high, probability=probability))


def drawn(name: str, shape: Sequence[int], dtype: torch.dtype) -> Feed:
    """Return an input that is drawn by its type: Gaussian floats, small integers, true booleans."""
    if dtype == torch.bool:
        return Feed(name, tuple(shape), dtype, binary(0.0, 1.0, 1.0))
    if dtype.is_floating_point or dtype.is_complex:
        return Feed(name, tuple(shape), dtype, normal())
    return Feed(name, tuple(shape), dtype, integers(0, 2), guessed=True)


def fed(name: str, batches: Sequence[torch.Tensor]) -> Feed:
    """Return an input that is the user's own."""
    first = batches[0]
    whole = tuple(each.detach().clone(memory_format=torch.preserve_format) for each in batches)
    assert not strides(first) or all(each.stride() == first.stride() for each in whole)
    return Feed(name, tuple(first.shape), first.dtype, batches=whole)
