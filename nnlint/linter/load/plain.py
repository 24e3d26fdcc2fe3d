"""Which statements are left alone when a module is read for its models.

A file that is imported for its definitions need not train, ask, show or fetch anything. What a
name needs is run, unless it is one of these; what it then still tries is caught by `guard`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nnlint.linter.load.standin import StandIn

# By their last name, whatever the object is.
_METHODS = {
    "backward": "it trains",
    "step": "it trains",
    "zero_grad": "it trains",
    "fit": "it trains",
    "savefig": "it writes",
    "show": "it shows something",
    "imshow": "it shows something",
    "input": "it asks the user",
    "breakpoint": "it asks the user",
    "exit": "it ends the program",
    "_exit": "it ends the program",
    "quit": "it ends the program",
    "abort": "it ends the program",
    "sleep": "it waits",
    "urlopen": "it uses the network",
    "urlretrieve": "it uses the network",
    "download": "it uses the network",
    "init_process_group": "it starts processes",
}
# By the module that defines the function or class.
_MODULES = {
    "torchvision.datasets": "it loads data",
    "torchtext": "it loads data",
    "torchaudio.datasets": "it loads data",
    "torch_geometric.datasets": "it loads data",
    "datasets": "it loads data",
    "torch.utils.data.dataloader": "it loads data",
    "torch.utils.tensorboard": "it writes",
    "tensorboardX": "it writes",
    "wandb": "it uses the network",
    "requests": "it uses the network",
    "urllib": "it uses the network",
    "socket": "it uses the network",
    "subprocess": "it starts programs",
    "multiprocessing": "it starts processes",
    "torch.multiprocessing": "it starts processes",
    "torch.distributed": "it starts processes",
    "threading": "it starts threads",
    "concurrent.futures": "it starts threads",
    "matplotlib.pyplot": "it shows something",
    "shutil": "it writes",
}
_HARMLESS = frozenset({"urllib.parse"})


def refusal(node: ast.stmt, names: Mapping[str, Any]) -> str:
    """Say why a statement is left out, "" where it may run.

    Args:
        node: The statement.
        names: What the module's names stand for so far.
    """
    if isinstance(
        node,
        (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom),
    ):
        return ""
    for part in _at_once(node):
        match part:
            case ast.While():
                return "it is a loop without a bound"
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith() | ast.Yield() | ast.YieldFrom():
                return "it waits for something"
            case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
                reason = _METHODS.get(name) or _by_module(_resolve(part.func, names))
                if reason:
                    return reason
            case _:
                pass
    return ""


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs with a statement, so not the bodies of functions."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield from _at_once(child)


def _resolve(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the object that a dotted name stands for, None where it is not known."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=inner, attr=name):
            base = _resolve(inner, names)
            if isinstance(base, StandIn):
                return None
            # Anything but a module or class might run code of the user when it is asked.
            return getattr(base, "__dict__", {}).get(name) if _is_plain(base) else None
        case _:
            return None


def _is_plain(value: object) -> bool:
    return isinstance(value, (type, type(ast)))


def _by_module(value: object) -> str:
    name = getattr(value, "__module__", None) if _is_callable(value) else None
    if not isinstance(name, str):
        return ""
    while name:
        if name in _HARMLESS:
            return ""
        if name in _MODULES:
            return _MODULES[name]
        name = name.rpartition(".")[0]
    return ""


def _is_callable(value: object) -> bool:
    return isinstance(value, (type, Callable))  # type: ignore[arg-type] # an abstract class of typing
