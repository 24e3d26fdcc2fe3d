"""Draws the weights of large layers in a fraction of the time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from nnlint.linter.replacing import replaced

# Elements beyond which a tensor is filled with copies of one drawn block. A prime, so that no two
# rows of a matrix are the same stretch of the block.
BLOCK = 262_147
# Whose elements lie in memory; a subclass may keep them elsewhere.
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
# Every import of torch.nn.init.trunc_normal_ ends in the last one.
_DRAWS = (
    (torch.Tensor, "uniform_"),
    (torch.Tensor, "normal_"),
    (torch.nn.init, "_no_grad_trunc_normal_"),
)


@contextlib.contextmanager
def repeated() -> Iterator[None]:
    """Fill large tensors with copies of one block of random numbers meanwhile.

    Rules look at how weights are distributed, not at which they are; drawing the 700 million
    weights of a file with five sizes of a model takes ten seconds, copying them less than one.
    """
    with contextlib.ExitStack() as stack:
        for owner, name in _DRAWS:
            stack.enter_context(replaced(owner, name, _tiled(getattr(owner, name))))
        yield


def _tiled(draw: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(draw)
    def fill(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if type(tensor) not in _PLAIN:
            return draw(tensor, *args, **kwargs)
        if tensor.numel() <= 2 * BLOCK or not tensor.is_contiguous() or tensor.is_meta:
            return draw(tensor, *args, **kwargs)
        block = draw(torch.empty(BLOCK, dtype=tensor.dtype), *args, **kwargs)
        flat = tensor.detach().view(-1)
        whole = flat.numel() // BLOCK
        flat[: whole * BLOCK].view(whole, BLOCK).copy_(block)
        flat[whole * BLOCK :].copy_(block[: flat.numel() - whole * BLOCK])
        return tensor

    return fill
