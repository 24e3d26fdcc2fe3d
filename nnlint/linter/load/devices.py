"""Runs the user's code on the CPU, whatever device it asks for, and uncompiled."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _device

from nnlint.linter.replacing import replaced

_ACCELERATORS = ("cuda", "mps", "xpu", "hpu", "npu", "mtia")
_CPU = torch.device("cpu")
_TENSOR_TYPES = ("Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Make devices other than the CPU mean the CPU while the user's code runs.

    `torch.compile` hands its argument back: the graph is wanted as it was written, and compiling
    imports for seconds.
    """
    with contextlib.ExitStack() as stack:
        for owner, name, value in _replacements():
            stack.enter_context(replaced(owner, name, value))
        stack.enter_context(_OnCpu())
        yield


class _OnCpu(TorchFunctionMode):
    """Rewrites the device arguments of torch's functions."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        special = _SPECIAL.get(func)
        if special is not None:
            return special(*args, **(kwargs or {}))
        if not kwargs:
            return func(*args)
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": _cpu(kwargs["device"])}
        if kwargs.get("pin_memory"):
            kwargs = {**kwargs, "pin_memory": False}
        return func(*args, **kwargs)


def _cpu(device: Any) -> Any:
    """Return the device to use in place of `device`; other values pass unchanged."""
    if isinstance(device, torch.device):
        return _CPU if device.type in _ACCELERATORS else device
    if isinstance(device, str):
        return "cpu" if device.partition(":")[0] in _ACCELERATORS else device
    if isinstance(device, int) and not isinstance(device, bool):
        return _CPU  # an index means that number of accelerator
    return device


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    if "device" in kwargs:
        kwargs["device"] = _cpu(kwargs["device"])
    if args:
        args = (_cpu(args[0]), *args[1:])
    return torch.Tensor.to(tensor, *args, **kwargs)


def _same(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor


def _type(tensor: torch.Tensor, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    if isinstance(dtype, str):
        dtype = dtype.replace("torch.cuda.", "torch.")
    return torch.Tensor.type(tensor, dtype, *args, **kwargs)


_SPECIAL: dict[Any, Callable[..., Any]] = {
    torch.Tensor.to: _to,
    torch.Tensor.cuda: _same,
    torch.Tensor.xpu: _same,
    torch.Tensor.pin_memory: _same,
    torch.Tensor.type: _type,
}


class _Inert:
    """Stands for a stream, event or device context: takes any call and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Generator(torch.Generator):
    """A generator that takes any device and lives on the CPU."""

    def __new__(cls, device: Any = "cpu") -> Self:
        return super().__new__(cls, device=_cpu(device))  # type: ignore[call-arg] # missing in torch's stubs


def _replacements() -> Iterator[tuple[Any, str, Any]]:
    cuda = torch.cuda
    properties = SimpleNamespace(
        name="cpu", major=0, minor=0, total_memory=0, multi_processor_count=1
    )
    for name, value in {
        "current_device": 0,
        "set_device": None,
        "synchronize": None,
        "init": None,
        "get_device_name": "cpu",
        "get_device_capability": (0, 0),
        "get_device_properties": properties,
        "mem_get_info": (0, 0),
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "memory_reserved": 0,
        "max_memory_reserved": 0,
        "reset_peak_memory_stats": None,
        "set_per_process_memory_fraction": None,
        "ipc_collect": None,
    }.items():
        yield cuda, name, functools.partial(_constant, value)
    for name in ("Stream", "Event", "device", "stream", "current_stream", "default_stream"):
        yield cuda, name, _Inert
    for kind in _TENSOR_TYPES:
        yield cuda, f"{kind}Tensor", getattr(torch, f"{kind}Tensor")
    yield torch, "Generator", _Generator
    yield torch, "load", _loading(torch.load)
    yield torch.jit, "load", _loading(torch.jit.load)
    yield torch, "compile", _uncompiled
    # torch.set_default_device and `with torch.device(...)` both make one of these, and put it
    # below every other mode, where _OnCpu does not see what it adds.
    yield _device.DeviceContext, "__init__", _default_device(_device.DeviceContext.__init__)


def _constant(value: Any, *_: Any, **__: Any) -> Any:
    return value


def _loading(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - replaced
        return original(f, "cpu", *args, **kwargs)

    return load


def _uncompiled(model: Any = None, **_: Any) -> Any:
    return model if model is not None else lambda function: function


def _default_device(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, device: Any) -> None:
        original(self, _cpu(device))

    return init
