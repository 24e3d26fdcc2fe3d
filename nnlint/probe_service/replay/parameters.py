"""Measure parameters, their gradients, and how much an optimiser's step changes them.

A copy of all parameters stands beside them. One sweep after each step compares with the copy, takes
the norm for the step to come, and brings the copy up to date, piece by piece while it is in the
cache; so the copy costs no pass of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from nnlint.probe_service.replay.reducing import PIECE, TINY, Held, Slots, at_once, careful, flat


@dataclass(frozen=True, slots=True)
class Rows:
    """Places of all parameters in the buffer, each a slice of it with one entry for each.

    Attributes:
        norm: Before the step.
        update: Norm of the change.
        update_high: Largest magnitude of the change, at least where the norm is zero.
        gradients: Places for the gradient of each.
    """

    norm: torch.Tensor
    update: torch.Tensor
    update_high: torch.Tensor
    gradients: tuple[Slots, ...]


class Parameters:
    """The trainable parameters of one program while they are measured."""

    def __init__(
        self, parameters: Sequence[torch.Tensor], rows: Rows, care: Collection[int]
    ) -> None:
        """Copy the parameters.

        Args:
            parameters: In order; each is dense in memory.
            rows: Where measurements go.
            care: Positions of those whose squares float32 does not hold.
        """
        self._parameters = list(parameters)
        self._rows = rows
        self._care = care
        self._cuda = bool(parameters) and parameters[0].is_cuda
        # The norms after the last step are those before the next one.
        self._norms = torch.zeros_like(rows.norm)
        self._versions: list[int] = []
        self._copies = [torch.empty_like(each).detach() for each in parameters]
        plain = [
            position
            for position, each in enumerate(parameters)
            if position not in care and each.dtype == torch.float32 and not self._cuda
        ]
        self._tiny = [each for each in plain if 0 < parameters[each].numel() <= TINY]
        self._swept = [each for each in plain if parameters[each].numel() > TINY]
        others = set(range(len(self._parameters))) - set(self._tiny) - set(self._swept)
        self._others = sorted(others)
        self._scratch = torch.empty(PIECE) if self._swept else torch.empty(0)
        if self._tiny:
            self._places = torch.tensor(self._tiny)
            self._lengths = torch.tensor([parameters[each].numel() for each in self._tiny])
            self._together = self._put_together()

    def gradients(self, held: Held) -> None:
        """Measure the gradients, and the parameters before the step."""
        versions = self._now()
        if versions != self._versions:
            # Something else than the step before has set them.
            self._sweep(self._norms, None, None)
            self._versions = versions
        self._rows.norm.copy_(self._norms)
        for position, parameter in enumerate(self._parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout != torch.strided:
                gradient = gradient.coalesce().values()
            if position in self._care:
                careful(gradient, self._rows.gradients[position])
            else:
                held.add(gradient, self._rows.gradients[position])
        held.flush()

    def updates(self) -> None:
        """Measure what the step has changed."""
        self._sweep(self._norms, self._rows.update, self._rows.update_high)
        self._versions = self._now()

    def _now(self) -> list[int]:
        return [each._version for each in self._parameters]  # noqa: SLF001 - counts writes

    def _sweep(
        self, norms: torch.Tensor, update: torch.Tensor | None, high: torch.Tensor | None
    ) -> None:
        """Take norms, compare with the copies where that is asked for, and renew the copies."""
        with torch.no_grad():
            if self._tiny:
                self._sweep_tiny(norms, update, high)
            for position in self._swept:
                self._sweep_one(position, norms, update, high)
            if self._others:
                self._sweep_others(norms, update, high)

    def _sweep_tiny(
        self, norms: torch.Tensor, update: torch.Tensor | None, high: torch.Tensor | None
    ) -> None:
        together = self._put_together()
        norms[self._places] = self._segments(together)
        if update is not None and high is not None:
            change = together - self._together
            update[self._places] = self._segments(change)
            high[self._places] = torch.segment_reduce(
                change.abs_(), "max", lengths=self._lengths, unsafe=True
            )
        self._together = together

    def _put_together(self) -> torch.Tensor:
        return torch.cat([self._parameters[each].detach().reshape(-1) for each in self._tiny])

    def _segments(self, values: torch.Tensor) -> torch.Tensor:
        squares = values * values
        sums = torch.segment_reduce(squares, "sum", lengths=self._lengths, unsafe=True)
        return sums.sqrt_()

    def _sweep_one(
        self,
        position: int,
        norms: torch.Tensor,
        update: torch.Tensor | None,
        high: torch.Tensor | None,
    ) -> None:
        pieces = flat(self._parameters[position].detach()).split(PIECE)  # type: ignore[no-untyped-call]
        copies = flat(self._copies[position]).split(PIECE)  # type: ignore[no-untyped-call]
        sizes, changes, peaks = [], [], []
        for piece, copy in zip(pieces, copies, strict=True):
            sizes.append(torch.linalg.vector_norm(piece))
            if update is not None:
                change = self._scratch[: piece.numel()]
                torch.sub(piece, copy, out=change)
                changes.append(torch.linalg.vector_norm(change))
                if not changes[-1]:
                    # Nothing changed, or by so little that the squares vanish.
                    peaks.append(torch.maximum(change.amax(), -change.amin()))
            copy.copy_(piece)
        norms[position] = _together(sizes)
        if update is not None and high is not None:
            update[position] = _together(changes)
            if peaks:
                high[position] = torch.stack(peaks).amax()

    def _sweep_others(
        self, norms: torch.Tensor, update: torch.Tensor | None, high: torch.Tensor | None
    ) -> None:
        values = [self._parameters[each].detach() for each in self._others]
        copies = [self._copies[each] for each in self._others]
        self._norms_of(values, norms)
        if update is not None and high is not None:
            # The copy becomes the difference, and then the copy again.
            torch._foreach_sub_(copies, values)
            self._norms_of(copies, update)
            filled = [
                (change, position)
                for change, position in zip(copies, self._others, strict=True)
                if change.numel()
            ]
            if filled:
                found = torch._foreach_norm([each for each, _ in filled], math.inf)  # noqa: SLF001
                torch._foreach_copy_([high[position] for _, position in filled], found)
        torch._foreach_copy_(copies, values)

    def _norms_of(self, values: Sequence[torch.Tensor], into: torch.Tensor) -> None:
        plain: list[tuple[torch.Tensor, int]] = []
        for value, position in zip(values, self._others, strict=True):
            if position in self._care or value.dtype == torch.float64 or value.is_complex():
                one = Slots(into, (position, -1, -1), into[position])
                (careful if position in self._care else at_once)(value, one)
            else:
                plain.append((value, position))
        if plain:
            norms = torch._foreach_norm([each for each, _ in plain], 2, dtype=torch.float32)  # noqa: SLF001
            torch._foreach_copy_([into[position] for _, position in plain], norms)


def _together(norms: Sequence[torch.Tensor]) -> torch.Tensor:
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(list(norms)))
