"""Objects that stand where the user's code wants something that is not there.

Most of what a model's file imports is for logging, data or plots. So a stand-in takes any harmless
use: calls, attributes, decorators, base classes. Where it meets a tensor or has to be a number, it
raises an error that names what is wanted.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

_MARK = "_nnlint_stand_in"
_NEWEST = "99.0.0"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a stand-in stands for.

    Attributes:
        package: The top-level package that is wanted, "" for a value of the user's own code.
        name: The whole dotted name.
        reason: Why it is not there.
    """

    package: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"needs {self.name}: {self.reason}"


# A class with this attribute stands for the contents of a file of weights.
STANDS_FOR_WEIGHTS = "_nnlint_weights"
MISSING_WEIGHTS = Origin("", "trained weights", "nnlint fetches and loads none")


class StandInError(RuntimeError):
    """A stand-in was used for something that only the real thing can do.

    Attributes:
        origin: What is wanted.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(str(origin))
        self.origin = origin


class StandIn:
    """Stands for a module, class, function or value."""

    __slots__ = ("__weakref__", "_nnlint_origin", "_nnlint_values")

    def __init__(self, origin: Origin) -> None:
        object.__setattr__(self, "_nnlint_origin", origin)
        object.__setattr__(self, "_nnlint_values", {})

    def __getattr__(self, name: str) -> Any:
        values = self._nnlint_values
        if name not in values:
            values[name] = self._make(name)
        return values[name]

    def _make(self, name: str) -> Any:
        origin: Origin = self._nnlint_origin
        if name == "__version__":
            return _NEWEST
        if name in ("__name__", "__qualname__"):
            return origin.name.rpartition(".")[2]
        if name.startswith("__"):
            raise AttributeError(name)
        inner = replace(origin, name=f"{origin.name}.{name}")
        if name.endswith(("Error", "Exception", "Warning", "Interrupt")):
            return type(name, (Exception,), {_MARK: inner})  # for `except pkg.SomeError`
        return StandIn(inner)

    def __setattr__(self, name: str, value: Any) -> None:
        self._nnlint_values[name] = value

    def __delattr__(self, name: str) -> None:
        self._nnlint_values.pop(name, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take any call that has no tensor; a definition comes back, as from a decorator."""
        if _has_tensor((args, kwargs), 3):
            raise StandInError(self._nnlint_origin)
        if len(args) == 1 and not kwargs and _is_definition(args[0]):
            return args[0]  # a decorator
        return StandIn(self._nnlint_origin)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """Give a class that has it for a base an empty one, with its mark."""
        origin: Origin = self._nnlint_origin
        return (type(origin.name.rpartition(".")[2], (_Base,), {_MARK: origin}),)

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return False

    def __getitem__(self, key: Any) -> Any:
        return StandIn(self._nnlint_origin)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __delitem__(self, key: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, item: object) -> bool:
        return False

    def __bool__(self) -> bool:
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<stand-in for {self._nnlint_origin.name}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Base:
    """What a class has for a base where the real one is not there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except TypeError:  # `object` takes no arguments
            super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()

    def __getattr__(self, name: str) -> Any:
        inherited = getattr(super(), "__getattr__", None)
        if inherited is not None:
            return inherited(name)
        if name.startswith("__"):
            raise AttributeError(name)
        found: Origin = getattr(type(self), _MARK)
        return StandIn(replace(found, name=f"{found.name}.{name}"))


def for_package(name: str, reason: str) -> StandIn:
    """Return a stand-in for a module that cannot be imported."""
    return StandIn(Origin(name.partition(".")[0], name, reason))


def for_value(name: str, reason: str) -> StandIn:
    """Return a stand-in for a value of the user's own code that is left out."""
    return StandIn(Origin("", name, reason))


def origin_of(value: object) -> Origin | None:
    """Return what `value` stands for, None where it is no stand-in."""
    if isinstance(value, StandIn):
        found: Origin = value._nnlint_origin  # noqa: SLF001 - its own class
        return found
    return MISSING_WEIGHTS if getattr(type(value), STANDS_FOR_WEIGHTS, False) else None


def origin(cls: type) -> str | None:
    """Return the dotted name of the base that is not installed, None where all bases are there."""
    found = base_origin(cls)
    return found.name if found else None


def base_origin(cls: type) -> Origin | None:
    """Return what the class, or a base of it, has a stand-in for."""
    return next(
        (
            each.__dict__[_MARK]
            for each in cls.__mro__
            if isinstance(each.__dict__.get(_MARK), Origin)
        ),
        None,
    )


def describe(error: BaseException) -> str | None:
    """Return the package without which `error` would not have come, None where it is no such."""
    found = cause(error)
    return found.package or None if found else None


def cause(error: BaseException) -> Origin | None:
    """Return the stand-in that an error goes back to, None where there is none.

    It is named by the error itself, or stands among the variables of the innermost frames: torch
    says of a wrong argument no more than its type.
    """
    seen: set[int] = set()
    chain: BaseException | None = error
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        if isinstance(chain, StandInError):
            return chain.origin
        chain = chain.__cause__ or chain.__context__
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            found = origin_of(value)
            if found is None and isinstance(value, (tuple, list)):
                found = next(filter(None, map(origin_of, value)), None)
            if found is None and isinstance(value, dict):
                found = next(filter(None, map(origin_of, dict.values(value))), None)
            if found is not None:
                return found
    return None


def _is_definition(value: object) -> bool:
    return isinstance(value, (types.FunctionType, type)) and _is_users(value)


def _is_users(value: Any) -> bool:
    """Tell whether a function or class is defined in the user's own code."""
    from nnlint.linter.load.lazy import LazyModule

    return isinstance(sys.modules.get(getattr(value, "__module__", "") or ""), LazyModule)


def _has_tensor(value: object, depth: int) -> bool:
    if hasattr(type(value), "__torch_function__"):
        return not isinstance(value, type) and not _is_parameter(value)
    if depth and isinstance(value, (tuple, list)):
        return any(_has_tensor(item, depth - 1) for item in value)
    if depth and isinstance(value, dict):
        return any(_has_tensor(item, depth - 1) for item in value.values())
    return False


def _is_parameter(value: object) -> bool:
    """Tell whether a tensor is one that an initialiser or a logger may get, and no computed one."""
    import torch

    return isinstance(value, torch.nn.Parameter)


def _refused(self: StandIn, *_: Any) -> Any:
    raise StandInError(self._nnlint_origin)


def _combined(self: StandIn, *others: Any) -> Any:
    if _has_tensor(others, 2):
        raise StandInError(self._nnlint_origin)
    return StandIn(self._nnlint_origin)


def _never(_: StandIn, __: Any) -> bool:
    return False


def _always(_: StandIn, __: Any) -> bool:
    return True


def _add_operators() -> None:
    """Give the class the operators, which Python looks up in the class alone."""
    methods: dict[str, Callable[..., Any]] = {}
    for name in [
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "and",
        "or",
        "xor",
        "lshift",
        "rshift",
    ]:
        methods[f"__{name}__"] = methods[f"__r{name}__"] = _combined
    for name in ["neg", "pos", "abs", "invert", "round"]:
        methods[f"__{name}__"] = _combined
    for name in ["int", "float", "complex", "index"]:
        methods[f"__{name}__"] = _refused
    # A stand-in is the newest of its kind where versions are compared.
    methods.update(__lt__=_never, __le__=_never, __gt__=_always, __ge__=_always)
    for name, method in methods.items():
        setattr(StandIn, name, method)


_add_operators()
