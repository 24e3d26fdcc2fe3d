"""What `import` does in the user's modules where something is not there."""

from __future__ import annotations

import builtins
import collections.abc
import contextlib
import importlib
import inspect
import math
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from nnlint.linter.load import standin

if TYPE_CHECKING:
    from nnlint.linter.load.lazy import Body

# Names that libraries have dropped and that mean the same under another name.
_FORMER: dict[str, Mapping[str, Any]] = {
    "collections": {name: getattr(collections.abc, name) for name in collections.abc.__all__},
    "numpy": {"float": float, "int": int, "object": object, "str": str, "complex": complex},
    "fractions": {"gcd": math.gcd},
    "inspect": {"getargspec": inspect.getfullargspec},
    "time": {"clock": time.perf_counter},
}
_FORMER_MODULES: dict[str, Mapping[str, Any]] = {
    "torch._six": {
        "container_abcs": collections.abc,
        "string_classes": (str, bytes),
        "int_classes": int,
        "inf": math.inf,
        "nan": math.nan,
        "with_metaclass": lambda meta, *bases: meta("temporary", bases, {}),
    },
}
_RENAMED = {"float_": "float64", "product": "prod", "bool": "bool_"}


def importer(body: Body) -> Callable[..., Any]:
    """Return the `__import__` of a module of the user's."""

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the name that Python gives it
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - as above
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to a caller's frame
        guarded = body.index.is_guarded(frame.f_lineno)

        def real() -> Any:
            return builtins.__import__(name, globals or body.names, locals, fromlist or (), level)

        try:
            module = real()
        except Exception as error:
            full = _full_name(name, level, body)
            if _is_users_fault(error, full):
                raise
            if _names(error, full) and body.session.find(full, body.path):
                return importer(body)(name, globals, locals, fromlist, level)
            if guarded:
                if isinstance(error, ImportError):
                    raise
                raise ImportError(str(error)) from error
            former = _FORMER_MODULES.get(full)
            if former is not None:
                return types.SimpleNamespace(**former)
            wanted = full if fromlist else full.partition(".")[0]
            return standin.for_package(wanted, _reason(error))
        _restore(module)
        if fromlist:
            return module if guarded else _with_names(module, fromlist)
        _import_parts(module, body.index.parts.get(name, ()))
        return module

    return import_


def _full_name(name: str, level: int, body: Body) -> str:
    if not level:
        return name
    package = body.names.get("__package__") or ""
    for _ in range(level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{name}".strip(".")


def _is_users_fault(error: Exception, full: str) -> bool:
    """Tell whether an import failed for what stands in the user's own files."""
    from nnlint.linter.load.lazy import LazyModule

    if _names(error, full):
        return False
    if isinstance(sys.modules.get(full), LazyModule):
        return True
    if not isinstance(error, SyntaxError):
        return False
    # The file itself does not parse, so it is no module yet.
    parts = full.split(".")
    packages = [sys.modules.get(".".join(parts[:n])) for n in range(1, len(parts))]
    if any(isinstance(package, LazyModule) for package in packages):
        return True
    return _is_below_path_of_user(error.filename or "")


def _is_below_path_of_user(path: str) -> bool:
    return "-packages" not in path


def _names(error: Exception, full: str) -> bool:
    """Tell whether an error says that the wanted module is nowhere."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return bool(missing) and f"{full}.".startswith(f"{missing}.")


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed"
    text = " ".join(str(error).split())[:120]
    return f"it cannot be imported ({type(error).__name__}: {text})"


def _restore(module: Any) -> None:
    """Give a library the names back that it has dropped."""
    name = getattr(module, "__name__", "")
    for former, value in _FORMER.get(name, {}).items():
        if former not in vars(module):
            setattr(module, former, value)
    if name == "numpy":
        for former, now in _RENAMED.items():
            if former not in vars(module):
                setattr(module, former, getattr(module, now))


def _import_parts(module: Any, names: Iterable[str]) -> None:
    """Import parts of a package that the file expects some other import of its own to bring."""
    from nnlint.linter.load.lazy import LazyModule

    if isinstance(module, (LazyModule, standin.StandIn)) or not hasattr(module, "__path__"):
        return
    for name in names:
        full = f"{module.__name__}.{name}"
        if not hasattr(module, name) and PathFinder.find_spec(full, list(module.__path__)):
            with contextlib.suppress(Exception):  # whoever uses it will say so
                importlib.import_module(full)


def _with_names(module: Any, wanted: Sequence[str]) -> Any:
    """Return a module that has all wanted names, be they stand-ins."""
    from nnlint.linter.load.lazy import LazyModule

    if isinstance(module, (LazyModule, standin.StandIn)) or not isinstance(
        module, types.ModuleType
    ):
        return module
    absent = [name for name in wanted if name != "*" and not hasattr(module, name)]
    if not absent:
        return module
    found = types.ModuleType(module.__name__)
    for name in wanted:
        if name not in absent:
            setattr(found, name, getattr(module, name))
            continue
        origin = f"{module.__name__}.{name}"
        setattr(found, name, standin.for_package(origin, "there is no such name"))
    return found
