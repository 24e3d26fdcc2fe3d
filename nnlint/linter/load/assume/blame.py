"""What the failure of an attempt says about the values that were assumed for it."""

from __future__ import annotations

import ast
import itertools
import linecache
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from torch import nn

from nnlint.linter.load.assume.forms import NUMBERS, Form

_SEQUENCES = frozenset({Form.SEQUENCE, Form.MAPPING})
_CALLABLE = frozenset({Form.CLASS, Form.FUNCTION, Form.MODULE})
_TOLD: tuple[tuple[re.Pattern[str], frozenset[Form]], ...] = tuple(
    (re.compile(pattern), forms)
    for pattern, forms in (
        (r"object is not (iterable|subscriptable)|has no len\(\)|cannot unpack non-", _SEQUENCES),
        (r"values to unpack|index out of range|argument of type '\w+' is not iterable", _SEQUENCES),
        (r"can only concatenate (list|tuple)|must be an iterable", frozenset({Form.SEQUENCE})),
        (r"object is not callable", _CALLABLE),
        (r"is not a Module subclass|not a subclass of .*Module", frozenset({Form.MODULE})),
        (
            r"cannot be interpreted as an integer|unsupported operand|can't multiply sequence",
            NUMBERS,
        ),
        (
            r"not supported between instances|must be (an? )?(int|integer|real number|float)",
            NUMBERS,
        ),
        (
            r"must be tuple of ints|failed to unpack the object|must be int|, but got \w*[Ff]loat",
            NUMBERS,
        ),
        (r"must be (an? )?str|expected str", frozenset({Form.TEXT})),
        (r"argument 'weight'|must be Tensor|expected Tensor|not Tensor", frozenset({Form.TENSOR})),
    )
)
_NO_ATTRIBUTE = re.compile(r"'(\w+)' object has no attribute '(\w+)'")
_LACKS = re.compile(r"([\w.<>]+)\(\) missing \d+ required .*?arguments?: (.*)")
_TYPES = {
    "int": Form.INT, "float": Form.FLOAT, "bool": Form.BOOL, "str": Form.TEXT,
    "list": Form.SEQUENCE, "tuple": Form.SEQUENCE, "dict": Form.MAPPING, "NoneType": Form.NONE,
}  # fmt: skip
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Blame:
    """Which values may be at fault.

    Attributes:
        names: Names that stand where it failed, innermost place first.
        wanted: The forms that would do, None where nothing is said of them.
        got: The form of the value at fault, where it is told.
        callee: Whose call lacks arguments, "" where that is not what is wrong.
        missing: The arguments that it lacks.
        owner: The object of the user's that lacks an attribute.
        attribute: The attribute.
        offered: The keys of the table that one was looked up in.
    """

    names: tuple[tuple[str, ...], ...] = ()
    wanted: frozenset[Form] | None = None
    got: Form | None = None
    callee: str = ""
    missing: tuple[str, ...] = ()
    owner: object = None
    attribute: str = ""
    offered: tuple[str, ...] = ()


def blame(error: BaseException, is_users: Callable[[str], bool]) -> Blame:
    """Read an exception that the user's code let out."""
    names = tuple(itertools.islice(_names(error.__traceback__, is_users), _DEEPEST))
    text = str(error)
    wanted, got = _said(text)
    if isinstance(error, TypeError) and (lack := _LACKS.match(text)):
        return Blame(names, wanted, got, lack[1], tuple(re.findall(r"'(\w+)'", lack[2])))
    if isinstance(error, AttributeError) and error.name and not isinstance(error.obj, nn.Module):
        return Blame(names, wanted, got, owner=error.obj, attribute=error.name)
    if isinstance(error, KeyError):
        return Blame(names, offered=_offered(error.__traceback__, is_users))
    return Blame(names, wanted, got)


def _offered(traceback: TracebackType | None, is_users: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the names in the table of which the innermost place of the user's wants an item."""
    place = None
    while traceback is not None:
        if is_users(traceback.tb_frame.f_code.co_filename):
            place = traceback
        traceback = traceback.tb_next
    if place is None:
        return ()
    frame = place.tb_frame
    for name in names_at(place):
        value = frame.f_locals.get(name, frame.f_globals.get(name))
        if isinstance(value, dict):
            return tuple(key for key in value if isinstance(key, str))[:_DEEPEST]
    return ()


def blame_line(text: str, filename: str, line: int) -> Blame:
    """Read the message of a failure that happened at a line."""
    names = names_in(linecache.getline(filename, line))
    wanted, got = _said(text)
    return Blame((names,) if names else (), wanted, got)


def _said(text: str) -> tuple[frozenset[Form] | None, Form | None]:
    found = next((forms for pattern, forms in _TOLD if pattern.search(text)), None)
    kind = re.search(r"'(\w+)'|, not (\w+)$", text)
    got = _TYPES.get(kind[1] or kind[2]) if kind else None
    if match := _NO_ATTRIBUTE.search(text):
        got = _TYPES.get(match[1])
        attribute = match[2]
        if got is not None:
            is_module = hasattr(nn.Module, attribute)
            found = frozenset(
                {Form.MODULE} if is_module else {Form.OBJECT, Form.CLASS, Form.TENSOR}
            )
    if found is not None and got in found and got is not Form.SEQUENCE:
        found = None  # the value has the form already: another one of it is wanted
    return found, got


def _names(
    traceback: TracebackType | None, is_users: Callable[[str], bool]
) -> Iterator[tuple[str, ...]]:
    places: list[TracebackType] = []
    while traceback is not None:
        if is_users(traceback.tb_frame.f_code.co_filename):
            places.append(traceback)
        traceback = traceback.tb_next
    for place in reversed(places):
        if names := names_at(place):
            yield names


def names_at(traceback: TracebackType) -> tuple[str, ...]:
    """Return the names in the expression that a traceback is about."""
    return names_in(_segment(traceback))


def _segment(traceback: TracebackType) -> str:
    """Return the expression that was being evaluated, its first line where it has several."""
    code = traceback.tb_frame.f_code
    found = next(itertools.islice(code.co_positions(), traceback.tb_lasti // 2, None), None)
    line, end_line, column, end_column = found or (None, None, None, None)
    if line is None or end_line is None or column is None or end_column is None:
        return linecache.getline(code.co_filename, traceback.tb_lineno)
    lines = [linecache.getline(code.co_filename, n).encode() for n in range(line, end_line + 1)]
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    return b"".join(lines).decode(errors="replace")


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a piece of code, those of attributes included."""
    try:
        tree: ast.AST = ast.parse(text.strip())
    except (SyntaxError, ValueError):
        found = re.findall(r"[A-Za-z_]\w*", text)  # the head of a `for` or `if`
        return tuple(dict.fromkeys(found))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, ast.Attribute):
            names.append(node.attr)
    return tuple(dict.fromkeys(names))
