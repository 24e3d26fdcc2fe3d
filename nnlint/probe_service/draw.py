"""Draw the random inputs and targets of a graph.

Always on the CPU with a generator of its own, so that the client, the server's CPU and its GPU draw
the same, and the random stream that dropout uses is not touched.
"""

from __future__ import annotations

import hashlib
import struct
from typing import assert_never

import torch

from nnlint.probe_service.encode.scalars import dtype_of
from nnlint.protos.v1 import graph_pb2

_WORD = (1 << 64) - 1


def stream(seed: int, *position: int) -> int:
    """Return the seed of an independent random stream, below 2 ** 63.

    Args:
        seed: The probe's seed.
        position: What the stream is for: the step, and the tensor if it is one's.
    """
    words = [word & _WORD for word in (seed, *position)]
    digest = hashlib.sha256(struct.pack(f"<{len(words)}Q", *words)).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def draw(tensor: graph_pb2.Tensor, *, seed: int, step: int, index: int) -> torch.Tensor:
    """Draw the content of one tensor for one step, on the CPU, in its declared type and strides.

    Args:
        tensor: Declares the shape and the distribution.
        seed: The probe's seed.
        step: From 0; each step draws anew.
        index: Position of the tensor in the graph.
    """
    generator = torch.Generator().manual_seed(stream(seed, step, index))
    dtype = dtype_of(tensor.dtype)
    assert dtype is not None
    values = _values(tensor, dtype, generator).to(dtype)
    if not tensor.strides:
        return values
    laid_out = torch.empty_strided(list(tensor.shape), list(tensor.strides), dtype=dtype)
    return laid_out.copy_(values)


def _values(
    tensor: graph_pb2.Tensor, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    shape = list(tensor.shape)
    # Half precision is drawn in float32 and rounded, so that its values are those of float32.
    wide = dtype if dtype in {torch.float64, torch.complex64} else torch.float32
    kind = tensor.draw.WhichOneof("distribution")
    match kind:
        case "normal":
            normal = tensor.draw.normal
            values = torch.randn(shape, generator=generator, dtype=wide)
            return values.mul_(normal.standard_deviation).add_(normal.mean)
        case "uniform":
            low, high = tensor.draw.uniform.low, tensor.draw.uniform.high
            real = torch.float32 if wide.is_complex else wide
            values = torch.rand(shape, generator=generator, dtype=real).mul_(high - low).add_(low)
            # Rounding may reach the upper bound, which is excluded; as where it is below one ulp.
            return values.clamp_(max=_below(high, real)) if high > low else values
        case "integers":
            integers = tensor.draw.integers
            return torch.randint(
                integers.low, integers.high, shape, generator=generator, dtype=torch.int64
            )
        case "binary":
            binary = tensor.draw.binary
            chosen = torch.rand(shape, generator=generator) < binary.probability
            values = torch.full(shape, binary.low, dtype=torch.float64)
            return values.masked_fill_(chosen, binary.high)
        case "simplex":
            simplex = tensor.draw.simplex
            logits = torch.randn(shape, generator=generator, dtype=wide)
            if simplex.logarithmic:
                return torch.log_softmax(logits, simplex.dimension)
            return torch.softmax(logits, simplex.dimension)
        case None:
            raise AssertionError("a draw without a distribution")
        case _:
            assert_never(kind)


def _below(high: float, dtype: torch.dtype) -> float:
    bound = torch.tensor(high, dtype=dtype)
    return float(torch.nextafter(bound, torch.tensor(float("-inf"), dtype=dtype)))
