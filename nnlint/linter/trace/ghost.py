"""Run a model without a trace: a copy of it, its state taken back, nothing printed or drawn."""

from __future__ import annotations

import contextlib
import copy
import io
import random
from collections.abc import Iterator
from typing import Any

import torch


class Ghost:
    """A copy of a model to run, which knows for each of its parts the original.

    Where a model cannot be copied (weights that are computed), it runs itself.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        memo: dict[int, Any] = {}
        self.original: dict[int, Any] = {}
        try:
            self.model = copy.deepcopy(model, memo)
        except Exception:  # noqa: BLE001 - copying runs code of the user's
            self.model = model
            return
        kept = memo.get(id(memo), ())
        self.original = {
            id(memo[id(part)]): part
            for part in (*model.modules(), *model.parameters(), *model.buffers(), *kept)
            if id(part) in memo and isinstance(part, (torch.nn.Module, torch.Tensor))
        }

    def of(self, part: Any) -> Any:
        """Return the original of a module or tensor of the copy."""
        return self.original.get(id(part), part)


@contextlib.contextmanager
def preserved(model: torch.nn.Module) -> Iterator[None]:
    """Take back what tracing leaves on the modules: traced values in attributes, constants."""
    before = [
        (module, {k: copy.copy(v) if k in _REGISTRIES else v for k, v in vars(module).items()})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)


@contextlib.contextmanager
def undone(model: torch.nn.Module) -> Iterator[None]:
    """Take back what a run leaves: attributes, and what is written into parameters and buffers."""
    tensors = {
        id(tensor): tensor
        for tensor in (*model.parameters(), *model.buffers())
        if not torch.nn.parameter.is_lazy(tensor)
    }
    before = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]
    with preserved(model):
        try:
            yield
        finally:
            with torch.no_grad():
                # Not by their versions: batch norm writes its statistics without counting it.
                for tensor, content in before:
                    tensor.detach().copy_(content)


# Where torch.nn.Module keeps what is registered; all else in a module's dict is kept as it is.
_REGISTRIES = frozenset({"_parameters", "_buffers", "_modules"})


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what forward prints from the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """Draw the same numbers in each run, and leave the generators as they were."""
    state, drawn = random.getstate(), torch.default_generator.get_state()
    # torch.manual_seed would format the stack for each kind of device, at a quarter of a run's cost.
    torch.default_generator.manual_seed(0)
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)
        torch.default_generator.set_state(drawn)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Have `torch.compile` hand back what it is given: compiling takes long and hides what is called."""
    original = torch.compile

    def same(model: Any = None, **_: Any) -> Any:
        return model if model is not None else lambda function: function

    torch.compile = same
    try:
        yield
    finally:
        torch.compile = original
