"""Shape rules of pooling, resizing and padding."""

from __future__ import annotations

import math
from typing import Any

from nnlint.linter.operators.shapes import (
    Call,
    ShapeError,
    ShapeRule,
    Tensor,
    Unknown,
    as_ints,
    axis,
    check_rank,
    per_dimension,
    positive,
)


def pool(rank: int) -> ShapeRule:
    """Return the rule of a pooling window over the last `rank` dimensions."""

    def rule(call: Call) -> Any:
        shape = call.shape()
        kernel = per_dimension(call.get("kernel_size"), rank, 1)
        stride_value = call.get("stride")
        stride = kernel if stride_value in (None, [], ()) else per_dimension(stride_value, rank, 1)
        padding = per_dimension(call.get("padding"), rank, 0)
        dilation = per_dimension(call.get("dilation"), rank, 1)
        if shape is None or not kernel or not stride or padding is None or not dilation:
            return Tensor(None, "float")
        check_rank(shape, rank)
        ceil = bool(call.get("ceil_mode"))
        space = []
        for size, k, s, p, d in zip(shape[-rank:], kernel, stride, padding, dilation, strict=True):
            span = size + 2 * p - d * (k - 1) - 1
            out = (-(-span // s) if ceil else span // s) + 1
            if ceil and (out - 1) * s >= size + p:
                out -= 1
            space.append(out)
        result = Tensor((*shape[:-rank], *positive(tuple(space), shape)), "float")
        return (result, Tensor(result.shape, "int")) if call.get("return_indices") else result

    return rule


def adaptive_pool(rank: int) -> ShapeRule:
    """Return the rule of an adaptive pool to `output_size` over the last `rank` dimensions."""

    def rule(call: Call) -> Any:
        shape, size = call.shape(), call.get("output_size")
        if isinstance(size, int):
            size = (size,) * rank
        if (
            shape is None
            or not isinstance(size, (tuple, list))
            or any(isinstance(s, (Unknown, Tensor)) for s in size)
        ):
            return Tensor(None, "float")
        check_rank(shape, rank)
        space = tuple(
            old if new is None else new for new, old in zip(size, shape[-rank:], strict=False)
        )
        result = Tensor((*shape[:-rank], *space), "float")
        return (result, Tensor(result.shape, "int")) if call.get("return_indices") else result

    return rule


def interpolate(call: Call) -> Any:
    """Scale the dimensions after the channels to `size` or by `scale_factor`."""
    shape, size, scale = call.shape(), call.get("size"), call.get("scale_factor")
    if shape is None or len(shape) < 3:
        return Tensor(None, "float")
    rank = len(shape) - 2
    if (target := per_dimension(size, rank, 1)) is not None and size is not None:
        return Tensor((*shape[:2], *target), "float")
    if isinstance(scale, (int, float)):
        scale = (scale,) * rank
    if (
        size is None
        and isinstance(scale, (list, tuple))
        and all(isinstance(s, (int, float)) for s in scale)
    ):
        return Tensor(
            (*shape[:2], *(math.floor(a * b) for a, b in zip(shape[2:], scale, strict=False))),
            "float",
        )
    return Tensor(None, "float")


def pixel_shuffle(call: Call) -> Any:
    """(*, C r^2, H, W) -> (*, C, H r, W r)."""
    shape, factor = call.shape(), call.get("upscale_factor")
    if shape is None or len(shape) < 3 or not isinstance(factor, int):
        return Tensor(None, "float")
    *lead, channels, height, width = shape
    if channels % factor**2:
        raise ShapeError(f"{channels} channels cannot be shuffled by {factor}", got=shape)
    return Tensor((*lead, channels // factor**2, height * factor, width * factor), "float")


def pad(call: Call) -> Any:
    """Grow the last dimensions by (before, after) pairs, last dimension first."""
    shape = call.shape()
    amounts = as_ints(call.get("pad", call.get("padding")))
    if shape is None or amounts is None:
        return Tensor(None, call.tensor().kind)
    if len(amounts) == 1 and call.module is not None:
        amounts *= 2 * (len(shape) - 2)
    result = list(shape)
    for i in range(len(amounts) // 2):
        if i < len(result):
            result[-1 - i] += amounts[2 * i] + amounts[2 * i + 1]
    return Tensor(tuple(result), call.tensor().kind)


def glu(call: Call) -> Any:
    """Halve one dimension."""
    shape = call.shape()
    place = None if shape is None else axis(call.get("dim", -1), len(shape))
    if shape is None or place is None:
        return Tensor(None, "float")
    return Tensor((*shape[:place], shape[place] // 2, *shape[place + 1 :]), "float")
