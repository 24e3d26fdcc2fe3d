"""Measure parameters, their gradients, and how much an optimiser's step changes them.

Parameters are stepped in shares, each with an optimiser of its own: a share is copied, measured,
stepped and compared with its copy while it is in the cache, so that nothing is read from memory
that the optimiser would not read anyway, and the copy takes no more memory than one share. Both
optimisers treat each element by itself, so a parameter may come in several shares.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from nnlint.probe_service.replay.reducing import TINY, Slots, at_once, careful, flat, squares

# Elements of a share on the CPU: with its gradient, its copy and what the optimiser keeps of it, it
# fits into the second-level caches of two cores.
_SHARE = 1 << 18


@dataclass(frozen=True, slots=True)
class Share:
    """What one optimiser steps.

    Attributes:
        positions: Of the parameters.
        tensors: The parameters, or a part of the one parameter that shares its memory.
        start: Where the part begins, -1 for whole parameters.
        last: Whether the part is the last one of its parameter.
    """

    positions: tuple[int, ...]
    tensors: tuple[torch.Tensor, ...]
    start: int = -1
    last: bool = True

    def lend(self, parameters: Sequence[torch.Tensor]) -> None:
        """Give a part the gradient that belongs to it."""
        if self.start < 0:
            return
        (part,) = self.tensors
        gradient = flat_gradient(parameters[self.positions[0]])
        if gradient is not None:
            part.grad = gradient[self.start : self.start + part.numel()]

    def take_back(self) -> None:
        """Keep no gradient alive."""
        if self.start >= 0:
            self.tensors[0].grad = None


def flat_gradient(parameter: torch.Tensor) -> torch.Tensor | None:
    """Return a gradient in one dimension, in the order of its parameter's memory."""
    gradient = parameter.grad
    if gradient is None:
        return None
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).detach().copy_(gradient)
    return flat(gradient)


def shares(parameters: Sequence[torch.Tensor]) -> list[Share]:
    """Divide parameters into shares: on CUDA all in one, on the CPU by size.

    Args:
        parameters: In order; each is dense in memory.
    """
    if not parameters:
        return []
    if parameters[0].is_cuda:
        return [Share(tuple(range(len(parameters))), tuple(parameters))]
    groups: list[list[int]] = [[], []]
    room = _SHARE
    parts = []
    for position, tensor in enumerate(parameters):
        count = tensor.numel()
        if count > _SHARE and tensor.dtype == torch.float32:
            parts += _parts(position, tensor)
        elif count <= TINY:
            groups[0].append(position)
        else:
            if count > room:
                groups.append([])
                room = _SHARE
            groups[-1].append(position)
            room -= count
    whole = [
        Share(tuple(group), tuple(parameters[each] for each in group)) for group in groups if group
    ]
    return whole + parts


def _parts(position: int, parameter: torch.Tensor) -> list[Share]:
    pieces = flat(parameter.detach()).split(_SHARE)  # type: ignore[no-untyped-call]
    return [
        Share((position,), (piece.requires_grad_(),), number * _SHARE, number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    ]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the magnitudes of all parameters go.

    Attributes:
        values: Norm before the step.
        gradients: Norm and bounds of the gradient.
        changes: Norm and bounds of the change; on the CPU the bounds are set where the norm is
            zero, to tell a change whose squares vanish from none.
        rows: The norm before the step, the norm of the change and its upper bound as parts of the
            buffer with one entry for each parameter.
    """

    values: tuple[Slots, ...]
    gradients: tuple[Slots, ...]
    changes: tuple[Slots, ...]
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Parameters:
    """The trainable parameters of one program while they are measured."""

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        divided: Sequence[Share],
        places: Places,
        care: Collection[int],
    ) -> None:
        """Make room for the copy of a share.

        Args:
            parameters: In order.
            divided: What `shares` made of them.
            places: Where measurements go.
            care: Positions of those whose squares float32 does not hold.
        """
        self._shares = divided
        self._measures: list[_Whole | _Part] = []
        scratch = torch.empty(_SHARE)
        for share in divided:
            if share.start <= 0:
                self._measures.append(_measure(parameters, share, places, care, scratch))
            else:
                self._measures.append(self._measures[-1])

    def before(self, number: int) -> None:
        """Measure the gradients of a share, and its parameters before the step."""
        with torch.no_grad():
            self._measures[number].before(self._shares[number])

    def after(self, number: int) -> None:
        """Measure what the step has changed."""
        with torch.no_grad():
            self._measures[number].after(self._shares[number])


class _Whole:
    """Whole parameters, one at a time."""

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        positions: Sequence[int],
        places: Places,
        care: Collection[int],
    ) -> None:
        self.members = [(each, parameters[each]) for each in positions]
        self.places = places
        self.care = care
        self.copies = [torch.empty_like(tensor).detach() for _, tensor in self.members]

    def reduce(self, position: int, value: torch.Tensor, into: Slots) -> None:
        (careful if position in self.care else at_once)(value, into)

    def before(self, share: Share) -> None:
        if share.start > 0:
            return
        for (position, tensor), copy in zip(self.members, self.copies, strict=True):
            copy.copy_(tensor)
            self.reduce(position, copy, self.places.values[position])
            if tensor.grad is not None:
                self.reduce(position, tensor.grad, self.places.gradients[position])

    def after(self, share: Share) -> None:
        if not share.last:
            return
        for (position, tensor), copy in zip(self.members, self.copies, strict=True):
            torch.sub(tensor, copy, out=copy)
            into = self.places.changes[position]
            if position in self.care or copy.is_cuda or copy.dtype != torch.float32:
                self.reduce(position, copy, into)
                continue
            norm = torch.linalg.vector_norm(copy, out=into.norm)
            # The host knows it already on the CPU, and a norm of zero is rare.
            if not norm:
                at_once(copy, into)


class _Part:
    """A large parameter of float32 on the CPU that comes in several shares."""

    def __init__(self, position: int, places: Places, scratch: torch.Tensor) -> None:
        self.places = places
        self.position = position
        self.scratch = scratch
        self.values: list[torch.Tensor] = []
        self.changes: list[torch.Tensor] = []
        self.gradients: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.highs: list[torch.Tensor] = []

    def before(self, share: Share) -> None:
        (part,) = share.tensors
        copy = self.scratch[: part.numel()]
        copy.copy_(part)
        self.values.append(squares(copy))
        gradient = part.grad
        if gradient is not None:
            self.gradients.append(
                (
                    squares(gradient),
                    torch.amax(gradient, ()),
                    torch.amin(gradient, ()),
                )
            )

    def after(self, share: Share) -> None:
        (part,) = share.tensors
        copy = self.scratch[: part.numel()]
        torch.sub(part, copy, out=copy)
        self.changes.append(squares(copy))
        if not self.changes[-1]:
            self.highs.append(torch.maximum(copy.amax(), -copy.amin()))
        if share.last:
            self._finish()

    def _finish(self) -> None:
        places, position = self.places, self.position
        _root(self.values, places.values[position].norm)
        change = places.changes[position]
        _root(self.changes, change.norm)
        if self.highs and change.high is not None:
            torch.amax(torch.stack(self.highs), (), out=change.high)
        gradient = places.gradients[position]
        if self.gradients and gradient.high is not None and gradient.low is not None:
            sums, highs, lows = zip(*self.gradients, strict=True)
            _root(sums, gradient.norm)
            torch.amax(torch.stack(highs), (), out=gradient.high)
            torch.amin(torch.stack(lows), (), out=gradient.low)
        for each in (self.values, self.changes, self.gradients, self.highs):
            each.clear()


def _root(sums: Sequence[torch.Tensor], out: torch.Tensor) -> None:
    torch.sum(torch.stack(list(sums)), (), out=out).sqrt_()


class _Tiny(_Whole):
    """Parameters of a few elements on the CPU, put together."""

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        positions: Sequence[int],
        places: Places,
        care: Collection[int],
    ) -> None:
        filled = [each for each in positions if parameters[each].numel()]
        super().__init__(parameters, filled, places, care)
        self.copies = []
        self.positions = torch.tensor([each for each, _ in self.members])
        self.lengths = torch.tensor([tensor.numel() for _, tensor in self.members])
        self.gradient_places = torch.tensor(
            [places.gradients[each].places for each, _ in self.members]
        ).t()
        self.copy = torch.empty(0)

    def before(self, share: Share) -> None:
        del share
        if not self.members:
            return
        self.copy = torch.cat([tensor.detach().reshape(-1) for _, tensor in self.members])
        values, _, _ = self.places.rows
        values[self.positions] = _norms(self.copy, self.lengths)
        present = [
            (position, gradient)
            for position, tensor in self.members
            if (gradient := tensor.grad) is not None and gradient.numel()
        ]
        if not present:
            return
        together = torch.cat([gradient.reshape(-1) for _, gradient in present])
        lengths = self.lengths
        if len(present) < len(self.members):
            lengths = torch.tensor([gradient.numel() for _, gradient in present])
        found = torch.stack([_norms(together, lengths), *_bounds(together, lengths)])
        buffer = self.places.gradients[0].buffer
        if len(present) == len(self.members):
            buffer[self.gradient_places] = found
        else:
            places = [self.places.gradients[position].places for position, _ in present]
            buffer[torch.tensor(places).t()] = found

    def after(self, share: Share) -> None:
        del share
        if not self.members:
            return
        change = torch.cat([tensor.detach().reshape(-1) for _, tensor in self.members]) - self.copy
        _, norms, highs = self.places.rows
        norms[self.positions] = _norms(change, self.lengths)
        highs[self.positions], _ = _bounds(change.abs_(), self.lengths)


class _Batched(_Whole):
    """Parameters on CUDA, many with each kernel."""

    def before(self, share: Share) -> None:
        del share
        tensors = [tensor.detach() for _, tensor in self.members]
        torch._foreach_copy_(self.copies, tensors)
        self._norms(self.copies, [self.places.values[each] for each, _ in self.members])
        present = [
            (gradient, self.places.gradients[position])
            for position, tensor in self.members
            if (gradient := tensor.grad) is not None
        ]
        if present:
            gradients, places = zip(*present, strict=True)
            self._norms(gradients, places)
            self._peaks(gradients, places)

    def after(self, share: Share) -> None:
        del share
        torch._foreach_neg_(self.copies)
        torch._foreach_add_(self.copies, [tensor.detach() for _, tensor in self.members])
        places = [self.places.changes[each] for each, _ in self.members]
        self._norms(self.copies, places)
        self._peaks(self.copies, places)

    def _norms(self, values: Sequence[torch.Tensor], places: Sequence[Slots]) -> None:
        norms = torch._foreach_norm(list(values), 2, dtype=torch.float32)  # noqa: SLF001 - as above
        torch._foreach_copy_([into.norm for into in places], norms)

    def _peaks(self, values: Sequence[torch.Tensor], places: Sequence[Slots]) -> None:
        filled = [
            (value, into.high)
            for value, into in zip(values, places, strict=True)
            if value.numel() and into.high is not None
        ]
        if filled:
            tensors, highs = zip(*filled, strict=True)
            found = torch._foreach_norm(list(tensors), math.inf)  # noqa: SLF001 - as above
            torch._foreach_copy_(list(highs), found)


def _measure(
    parameters: Sequence[torch.Tensor],
    share: Share,
    places: Places,
    care: Collection[int],
    scratch: torch.Tensor,
) -> _Whole | _Part:
    members = [parameters[each] for each in share.positions]
    types = {tensor.dtype for tensor in members}
    if any(each in care for each in share.positions):
        kind = _Whole
    elif members[0].is_cuda:
        narrow = types <= {torch.float32, torch.float16, torch.bfloat16}
        kind = _Batched if narrow else _Whole
    elif share.start == 0:
        return _Part(share.positions[0], places, scratch)
    else:
        tiny = all(tensor.numel() <= TINY for tensor in members)
        kind = _Tiny if tiny and types == {torch.float32} else _Whole
    return kind(parameters, share.positions, places, care)


def _norms(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.segment_reduce(values * values, "sum", lengths=lengths, unsafe=True).sqrt_()


def _bounds(values: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.segment_reduce(values, "max", lengths=lengths, unsafe=True),
        torch.segment_reduce(values, "min", lengths=lengths, unsafe=True),
    )
