"""Reshaping of moments, whose sizes of 1 stand for equal values along a dimension."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from nnlint.linter.signal.base import UnfollowedError
from nnlint.linter.signal.moments import Shape

if TYPE_CHECKING:
    import torch


def groups(old: Shape, new: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the smallest groups of old and new dimensions that hold the same elements."""
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = [], []
        left = right = 1
        if i < len(old):
            a.append(i)
            left = old[i]
            i += 1
        if j < len(new):
            b.append(j)
            right = new[j]
            j += 1
        while left != right or (not a and i < len(old)) or (not b and j < len(new)):
            if left < right and i < len(old):
                left *= old[i]
                a.append(i)
                i += 1
            elif right < left and j < len(new):
                right *= new[j]
                b.append(j)
                j += 1
            elif left == right:
                break
            else:
                raise UnfollowedError("the sizes of its reshape do not fit")
        while i < len(old) and old[i] == 1 and (j >= len(new) or new[j] != 1):
            a.append(i)
            i += 1
        while j < len(new) and new[j] == 1 and (i >= len(old) or old[i] != 1):
            b.append(j)
            j += 1
        yield a, b


def reshaped(moments: torch.Tensor, old: Shape, new: Shape) -> torch.Tensor:
    """Reshape moments as the value of shape `old` is reshaped to `new`."""
    if moments.numel() == 1:
        return moments.reshape((1,) * len(new))
    wide: list[int] = list(moments.shape)
    sizes: list[int] = []
    for a, b in groups(old, new):
        varying = [d for d in a if moments.shape[d] > 1]
        if not varying:
            sizes += [1] * len(b)
            continue
        if (
            len(varying) == 1
            and prod(new[d] for d in b if new[d] != 1) == old[varying[0]]
            and all(old[d] == 1 for d in a if d not in varying)
        ):
            sizes += [new[d] for d in b]
            continue
        for d in a:
            wide[d] = old[d]
        sizes += [new[d] for d in b]
    if prod(wide) > 1 << 24:
        raise UnfollowedError("too many channels")
    return moments.expand(wide).reshape(sizes)


def roles_of(roles: str, old: Shape, new: Shape, batch: tuple[int, ...] | None) -> str:
    """Return the roles of the new dimensions: channels stay channels, samples those of the batch."""
    result: list[str] = []
    for a, b in groups(old, new):
        letters = {roles[d] for d in a if old[d] != 1} or {roles[d] for d in a} or {"."}
        if "c" in letters and "s" in letters:
            letter = "p"  # samples and channels in one: all of it varies
        elif "c" in letters:
            letter = "c"
        elif len(letters) == 1:
            letter = next(iter(letters))
        else:
            letter = "p" if "p" in letters or "s" in letters else "."
        result += [letter] * len(b)
    if batch is not None and "." not in result:
        result = [
            "s" if d in batch and r in "sp" else ("p" if r == "s" else r)
            for d, r in enumerate(result)
        ]
    return "".join(result)


def near_of(near: tuple[float, ...], old: Shape, new: Shape) -> tuple[float, ...]:
    """Return neighbours' correlations of the new dimensions: the innermost keeps that of the old."""
    result: list[float] = []
    for a, b in groups(old, new):
        last = next((near[d] for d in reversed(a) if old[d] > 1), 0.0)
        inner = next((d for d in reversed(b) if new[d] > 1), None)
        result += [last if d == inner else 0.0 for d in b]
    return tuple(result)
