"""What earlier versions of PyTorch took, for files that are otherwise fine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.nn.modules.batchnorm import _NormBase


@contextlib.contextmanager
def accepted() -> Iterator[None]:
    """Let a user's own batch norm ask its base class whether the rank of an input is right."""
    name = "_check_input_dim"
    original = getattr(_NormBase, name)
    setattr(_NormBase, name, _nothing_wrong)
    try:
        yield
    finally:
        setattr(_NormBase, name, original)


def _nothing_wrong(*_: Any) -> None:
    pass
