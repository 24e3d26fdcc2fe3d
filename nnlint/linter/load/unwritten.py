"""Makes memory that nobody has written visible: it is NaN, and not whatever was there before."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def marking() -> Iterator[None]:
    """Fill what `torch.empty`, `torch.FloatTensor(size)` and the like give with NaN meanwhile.

    PyTorch does so itself in deterministic mode (`torch.utils.deterministic`). A parameter that is
    NaN after its constructor was never initialised.
    """
    mode = torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined] # set by a module class
    with warnings.catch_warnings():
        # Operations without a deterministic variant warn; a constructor is free to call them.
        warnings.simplefilter("ignore")
        torch.set_deterministic_debug_mode("warn")
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)
            torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def settle(model: torch.nn.Module) -> None:
    """Give what is still unwritten the value that fresh memory usually has, so the model can run."""
    with torch.no_grad():
        for parameter in model.parameters():
            if is_marked(parameter):
                parameter.nan_to_num_(nan=0.0)


def is_marked(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor has values that nothing has written."""
    if torch.nn.parameter.is_lazy(tensor) or not tensor.is_floating_point():
        return False
    # A sum is NaN if any value is, and costs a tenth of looking at each.
    return bool(tensor.detach().sum().isnan()) and bool(tensor.detach().isnan().any())
