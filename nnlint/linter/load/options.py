"""Gives programs their default options: nobody has typed a command line for them."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from nnlint.linter.load import standin
from nnlint.linter.replacing import replaced


@contextlib.contextmanager
def defaults() -> Iterator[None]:
    """Make every parser parse an empty command line, without an error for what it requires."""
    parser = argparse.ArgumentParser
    with (
        replaced(parser, "parse_args", _parse_args),
        replaced(parser, "parse_known_args", _parse_known_args),
    ):
        yield


def _parse_args(
    self: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None
) -> Any:
    return _parse_known_args(self, args, namespace)[0]


def _parse_known_args(
    self: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None
) -> tuple[Any, list[str]]:
    if args:
        with contextlib.suppress(SystemExit, argparse.ArgumentError):
            return _original(self, args, namespace)
    result = argparse.Namespace() if namespace is None else namespace
    for action in self._actions:
        if argparse.SUPPRESS in (action.dest, action.default) or hasattr(result, action.dest):
            continue
        setattr(result, action.dest, _value(self, action))
    for name, value in self._defaults.items():
        if not hasattr(result, name):
            setattr(result, name, value)
    return result, []


_original = argparse.ArgumentParser.parse_known_args


def _value(parser: argparse.ArgumentParser, action: argparse.Action) -> Any:
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - it has no public name
        return None
    default = action.default
    if isinstance(default, str):
        with contextlib.suppress(argparse.ArgumentError):
            return parser._get_value(action, default)  # noqa: SLF001 - as argparse does it
    if default is not None or not _is_required(action):
        return default
    if action.choices:
        return next(iter(action.choices))
    return _assumed(action)


def _is_required(action: argparse.Action) -> bool:
    optional = action.nargs in (argparse.OPTIONAL, argparse.ZERO_OR_MORE)
    return action.required or (not action.option_strings and not optional)


def _assumed(action: argparse.Action) -> Any:
    kind = action.type if isinstance(action.type, type) else str
    try:
        one = kind("1")
    except Exception:  # noqa: BLE001 - the user's own type
        one = standin.for_value(action.dest, "the command line has to give it")
    many = isinstance(action.nargs, int) or action.nargs in (argparse.ONE_OR_MORE, "*")
    if not many:
        return one
    return [one] * (action.nargs if isinstance(action.nargs, int) else 1)


functools.update_wrapper(_parse_args, argparse.ArgumentParser.parse_args)
functools.update_wrapper(_parse_known_args, _original)
