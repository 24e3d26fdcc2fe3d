"""From the bytes of a blob to tensors, and where the content of each tensor of a graph is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nnlint.probe_service.draw import draw
from nnlint.probe_service.encode.scalars import dtype_of
from nnlint.protos.v1 import graph_pb2

Read = Callable[[graph_pb2.Digest], bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Source:
    """The content of one tensor of a graph, in memory of the host or to be drawn.

    Attributes:
        declared: The tensor on the wire.
        index: Its position in the graph.
        stored: The content of its blob: of the declared shape, with the batches before it; None
            for a tensor that is drawn. It may lie in memory that must not be written.
        dtype: In which it is used, which is not the stored one in bfloat16 precision.
    """

    declared: graph_pb2.Tensor
    index: int
    stored: torch.Tensor | None
    dtype: torch.dtype

    def fresh(self, device: torch.device, *, seed: int, step: int) -> torch.Tensor:
        """Return a new tensor with the content for one step, with the declared strides."""
        content = self.content(seed=seed, step=step)
        if self.stored is None and content.dtype == self.dtype:
            return content.to(device)
        made = torch.empty_strided(
            list(self.declared.shape),
            list(self.declared.strides) or content.stride(),
            dtype=self.dtype,
            device=device,
        )
        return made.copy_(content)

    def content(self, *, seed: int, step: int) -> torch.Tensor:
        """Return the content for one step on the host; it must not be written to."""
        if self.stored is None:
            return draw(self.declared, seed=seed, step=step, index=self.index)
        return self.stored[step % len(self.stored)]


def source(
    declared: graph_pb2.Tensor, index: int, read: Read, *, half: torch.dtype | None = None
) -> Source:
    """Find the content of a tensor.

    Args:
        declared: The tensor on the wire, whose structure has been checked.
        index: Its position in the graph.
        read: Returns the content of a blob, of the size that its digest says.
        half: The type that replaces float32, if any.
    """
    dtype = dtype_of(declared.dtype)
    assert dtype is not None
    stored = None
    if declared.WhichOneof("content") == "digest":
        stored = from_bytes(read(declared.digest), dtype)
        stored = stored.view(max(declared.batches, 1), *declared.shape)
    used = half if half is not None and dtype == torch.float32 else dtype
    return Source(declared, index, stored, used)


def from_bytes(content: bytes | memoryview, dtype: torch.dtype) -> torch.Tensor:
    """Return a flat tensor over bytes without copying them; it must not be written to."""
    if not len(content):
        return torch.empty(0, dtype=dtype)
    with warnings.catch_warnings():
        # The memory is often a file that is mapped for reading; nobody writes to it here.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(content, dtype=dtype)
