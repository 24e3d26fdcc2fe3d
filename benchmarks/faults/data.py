"""Samples whose labels can be told from them."""

from __future__ import annotations

import torch


def clustered(
    shape: tuple[int, ...], classes: int, count: int, *, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples around one centre for each class, and their labels.

    Args:
        shape: Of one sample; () for 16 words, of another part of the vocabulary for each class.
        classes: How many.
        count: Of samples.
        seed: For both.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=draw)
    if not shape:
        return torch.randint(80, (count, 16), generator=draw) + 80 * labels[:, None], labels
    centres = torch.randn((classes, *shape), generator=draw)
    return centres[labels] + torch.randn((count, *shape), generator=draw), labels
