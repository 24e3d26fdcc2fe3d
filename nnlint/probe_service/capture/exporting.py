"""What torch.export does otherwise while a training step is exported."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.cuda.amp import common as amp
from torch.utils import checkpoint

from nnlint.linter.replacing import replaced

# Passes that put what happens under no_grad, and under autocast, into graphs of their own. Of one
# within the other they lose a mode, so the graph is taken as it is before them.
_PASSES = ("replace_set_grad_with_hop_pass", "replace_autocast_with_hop_pass")


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Keep gradient and autocast modes as they were traced, and follow checkpointed functions."""
    with contextlib.ExitStack() as stack:
        for name in _PASSES:
            with contextlib.suppress(ImportError, AttributeError):
                module = importlib.import_module(f"torch._export.passes.{name}")
                stack.enter_context(replaced(module, name, _as_it_is))
        # A checkpointed function runs under no_grad first, and once more for its gradients.
        function = checkpoint.CheckpointFunction
        stack.enter_context(replaced(function, "apply", staticmethod(_called)))
        # Autocast on a GPU is kept for a server that has one, though there may be none here.
        stack.enter_context(replaced(amp, "amp_definitely_not_available", lambda: False))
        stack.enter_context(replaced(torch.cuda, "is_bf16_supported", lambda *_: True))
        stack.enter_context(silent())
        yield


def _as_it_is(module: Any, signature: Any) -> tuple[Any, Any]:
    return module, signature


def _called(function: Callable[..., Any], _: bool, *args: Any) -> Any:
    return function(*args)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep back torch's log, and print, of what it could not trace: the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
