"""Remembers what wrote each parameter while a model is built: which function, from which line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from nnlint.linter.findings import Location
from nnlint.linter.trace.positions import UserCode

_DRAWN = "_nnlint_drawn"
_INIT = str(Path(nn.init.__file__))
_MODULES = str(Path(nn.__file__).parent / "modules")
_RESETS = frozenset({"reset_parameters", "_reset_parameters", "_fill_padding_idx_with_zero"})
# Functions whose result is a new tensor with values.
_FACTORIES = frozenset(
    {"zeros", "ones", "full", "rand", "randn", "tensor", "eye", "linspace", "arange", "normal"}
    | {"zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint"}
)
# New tensors with the values of another.
_COPIES = frozenset({"clone", "detach", "to", "contiguous", "cpu", "float"})
_CONSTANTS = frozenset({"zeros_", "ones_", "constant_", "fill_", "zero_", "zeros", "ones", "full"})

Kind = Literal["default", "constant", "explicit"]


@dataclass(frozen=True, slots=True)
class Write:
    """One function that wrote a parameter.

    Attributes:
        name: What torch calls it: "kaiming_uniform_", "fill_", "randn", "assignment".
        kind: "default" for what a layer of torch does by itself.
        location: The user's line; None for a default.
        within: Name of the user's function that the line stands in.
    """

    name: str
    kind: Kind
    location: Location | None = None
    within: str = ""


class Recorder(TorchFunctionMode):
    """Notes writes while it is entered; may be entered again and again.

    A parameter is known by its storage, since `layer.weight.data` is another tensor of the same.
    What was noted of one that is gone does not count for the next at the same place in memory.
    """

    def __init__(self, code: UserCode) -> None:
        super().__init__()
        self._code = code
        self._writes: dict[int, list[Write]] = {}
        self._storages: dict[int, StorageWeakRef] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name == "__setitem__":
            self._note(args[0], "assignment", sys._getframe(1))  # noqa: SLF001 - the documented way to a caller's frame
        elif not isinstance(result, torch.Tensor):
            pass
        elif name.endswith("_") and not name.startswith("_"):
            self._note(result, name, sys._getframe(1))  # noqa: SLF001 - as above
        elif name in _FACTORIES:
            self._forget(result)
            self._note(result, name, sys._getframe(1))  # noqa: SLF001 - as above
        elif name in _COPIES and args:
            self._copy(result, args[0])
        elif name != "__get__" and not _shares(result, args):
            self._forget(result)
        return result

    def attach(self, model: nn.Module) -> None:
        """Keep with each module of a finished model what wrote its parameters."""
        for module in model.modules():
            module.__dict__[_DRAWN] = {
                name: tuple(self._held(parameter))
                for name, parameter in (
                    *module.named_parameters(recurse=False),
                    *((name, vars(module)[name]) for name in recomputed(module)),
                )
            }

    def _note(self, tensor: Any, name: str, frame: FrameType | None) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        place = _place(tensor)
        if not place:
            return
        write = self._write(name, frame)
        held = self._held(tensor)
        if held and held[-1].location == write.location and held[-1].name == write.name:
            return  # one function of torch.nn.init does several operations
        if write.kind == "default":
            held.clear()
        held.append(write)

    def _write(self, name: str, frame: FrameType | None) -> Write:
        """Name the function of torch.nn.init that is under way, if any, and the user's line."""
        start = frame
        while frame is not None and self._code.rank(frame.f_code.co_filename) is None:
            filename, function = frame.f_code.co_filename, frame.f_code.co_name
            if filename == _INIT:
                name = function.removeprefix("_no_grad_")
            elif filename.startswith(_MODULES) and function in _RESETS:
                return Write(name, "default")
            frame = frame.f_back
        kind: Kind = "constant" if name in _CONSTANTS else "explicit"
        within = frame.f_code.co_name if frame is not None else ""
        return Write(name, kind, self._code.site(start), within)

    def _copy(self, result: torch.Tensor, source: Any) -> None:
        place = _place(result)
        if isinstance(source, torch.Tensor) and place and place != _place(source):
            self._held(result)[:] = self._held(source)

    def _forget(self, result: torch.Tensor) -> None:
        self._writes.pop(_place(result), None)

    def _held(self, tensor: torch.Tensor) -> list[Write]:
        """Return what wrote the storage of a tensor, to be added to."""
        place = _place(tensor)
        if not place:
            return []
        storage = self._storages.get(place)
        if storage is None or storage.expired():  # type: ignore[no-untyped-call] # torch's
            self._storages[place] = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call] # as above
            self._writes.pop(place, None)
        return self._writes.setdefault(place, [])


def recomputed(module: nn.Module) -> list[str]:
    """Return the weights that a hook computes from other parameters before each call."""
    hooks = module._forward_pre_hooks.values()  # noqa: SLF001 - there is no other way to them
    return [
        hook.name for hook in hooks if isinstance(hook, WeightNorm) and hook.name in vars(module)
    ]


def recorded(module: nn.Module) -> bool:
    """Tell whether a module was built while writes were noted."""
    return _DRAWN in module.__dict__


def writes(module: nn.Module, name: str) -> tuple[Write, ...]:
    """Return what wrote a parameter of a module, in order; empty where nothing is known."""
    found = module.__dict__.get(_DRAWN, {}).get(name, ())
    return tuple(write for write in found if isinstance(write, Write))


def last_write(module: nn.Module | None, name: str) -> Write | None:
    """Return what wrote a parameter last, None where it is not known."""
    found = writes(module, name) if module is not None else ()
    return found[-1] if found else None


def _place(tensor: torch.Tensor) -> int:
    """Return where a tensor's numbers lie in memory, 0 where it has none."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, ValueError):  # lazy, fake and wrapped tensors
        return 0


def _shares(result: torch.Tensor, args: tuple[Any, ...]) -> bool:
    place = _place(result)
    return any(isinstance(arg, torch.Tensor) and _place(arg) == place for arg in args)
