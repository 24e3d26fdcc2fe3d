"""Options that programs declare: what they are for an empty command line.

The parsers of the standard library, and those made after them, declare one option a call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from nnlint.linter.discover.plain import as_usual, lift
from nnlint.linter.discover.targets import UNKNOWN
from nnlint.linter.discover.values import (
    Arguments,
    Constant,
    Function,
    Ref,
    Sequence,
    Value,
    Wanted,
    is_none,
    literal,
    options,
)

# How a text is turned into what an option holds, where that is a function of the project.
Convert = Callable[[Value, Value], Value | None]

_TEXTS = frozenset(("builtins.str", "pathlib.Path", "pathlib.PurePath", "os.path.expanduser"))
_PARSED: dict[str, Callable[[str], Any]] = {
    "builtins.int": int,
    "builtins.float": float,
    "builtins.complex": complex,
    "builtins.eval": ast.literal_eval,
    "ast.literal_eval": ast.literal_eval,
    "json.loads": ast.literal_eval,
}
_TRUE = frozenset(("true", "yes", "y", "t", "on", "1"))
_FALSE = frozenset(("false", "no", "n", "f", "off", "0"))
_NO_OPTION = frozenset(("help", "version", "callback"))
_LIST_FLAG = re.compile(r"list|multi")


def declared(arguments: Arguments, convert: Convert) -> tuple[str, Value] | None:
    """Return the name and the default of an option of argparse, optparse or click."""
    flags = [literal(value) for value in arguments.positional]
    name = _name([flag for flag in flags if isinstance(flag, str)], arguments.keywords.get("dest"))
    if not name:
        return None
    action = arguments.keywords.get("action")
    kind = literal(action)
    if kind in _NO_OPTION:
        return None
    default = arguments.keywords.get("default")
    if isinstance(default, Ref) and default.dotted.endswith("SUPPRESS"):
        return None
    if default is not None:
        return name, as_usual(_converted(default, arguments, convert))
    if kind in ("store_true", "store_false"):
        return name, Constant(kind == "store_false", usual=True)
    if literal(arguments.keywords.get("is_flag")) is True:
        return name, Constant(value=False, usual=True)
    return name, as_usual(_without_default(name, flags, arguments))


def flag(dotted: str, arguments: Arguments) -> tuple[str, Value] | None:
    """Return the name and the default of a flag of absl: DEFINE_integer(name, default, help)."""
    name = literal(arguments.get(0, "name"))
    if not isinstance(name, str):
        return None
    default = arguments.get(1, "default")
    if default is None or is_none(default):
        return name, Wanted(name=name)
    text = literal(default)
    if isinstance(text, str) and _LIST_FLAG.search(dotted.rpartition("DEFINE_")[2]):
        return name, Sequence(tuple(Constant(part.strip()) for part in text.split(",")), "list")
    return name, as_usual(default)


def _name(flags: list[str], dest: Value | None) -> str:
    given = literal(dest)
    if isinstance(given, str):
        return given
    plain = [flag for flag in flags if not flag.startswith("-")]
    if plain:
        return plain[-1]
    # click's "--shout/--no-shout" has a name for each side of the switch.
    long = [flag.partition("/")[0] for flag in flags if flag.startswith("--")]
    short = [flag.partition("/")[0] for flag in flags]
    return next((flag.strip("-").replace("-", "_") for flag in (*long, *short)), "")


def _without_default(name: str, flags: list[Any], arguments: Arguments) -> Value:
    choices = arguments.keywords.get("choices") or arguments.keywords.get("type")
    if isinstance(choices, Sequence) and choices.items:
        return choices.items[0]
    positional = not any(isinstance(flag, str) and flag.startswith("-") for flag in flags)
    kind = arguments.keywords.get("type")
    is_text = kind is None or (isinstance(kind, Ref) and kind.dotted in _TEXTS)
    required = literal(arguments.keywords.get("required")) is True
    if positional or required or not is_text:
        return Wanted(name=name)
    return Constant(None)


def _converted(default: Value, arguments: Arguments, convert: Convert) -> Value:
    """Return a default as it is read: a text goes through the option's type."""
    text = literal(default)
    kind = arguments.keywords.get("type")
    if not isinstance(text, str) or kind is None:
        return default
    if isinstance(kind, Ref):
        parse = _PARSED.get(kind.dotted)
        if parse is None:
            return default
        try:
            return lift(parse(text)) or default
        except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
            return default
    if not isinstance(kind, Function):
        return default
    given = convert(kind, default)
    if given is not None and all(literal(one) is not UNKNOWN for one in options(given)):
        answers = {literal(one) for one in options(given)}
        if not {True, False} <= answers:
            return given
        # Which of the two the function gives was not followed; its texts mean what they say.
        return Constant(text.lower() in _TRUE) if text.lower() in _TRUE | _FALSE else given
    return default
