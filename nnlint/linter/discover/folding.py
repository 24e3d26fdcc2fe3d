"""Plain Python values computed from plain Python values, with bounds on size and time.

Only what is pure and cheap is carried out. Whatever raises, or would get large, gives UNKNOWN.
"""

from __future__ import annotations

import ast
import math
import operator
import posixpath
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from nnlint.linter.discover.targets import UNKNOWN

MAX_LENGTH = 256
_MAX_TEXT = 4096
_MAX_PRODUCT = 4 * _MAX_TEXT
_MAX_BITS = 512
_MAX_FACTORIAL = 64
_MAX_DIGITS = 64

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_SINGLETONS = (type(None), bool, type(...))
# A width of four digits in a format makes a text too long; a nested one is not known beforehand.
_WIDE_FORMAT = re.compile(r"\d{4,}|\{[^{}]*\{|\*")

_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        [
            "capitalize",
            "casefold",
            "count",
            "endswith",
            "find",
            "format",
            "index",
            "isalnum",
            "isalpha",
            "isdigit",
            "islower",
            "isnumeric",
            "isupper",
            "join",
            "lower",
            "lstrip",
            "partition",
            "removeprefix",
            "removesuffix",
            "replace",
            "rfind",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "swapcase",
            "title",
            "upper",
        ]
    ),
    int: frozenset(("bit_length", "is_integer")),
    float: frozenset(("is_integer",)),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
    PurePosixPath: frozenset(
        ("as_posix", "is_absolute", "joinpath", "with_name", "with_stem", "with_suffix")
    ),
}
_CONVERSIONS: dict[str, Callable[[Any], str]] = {"a": ascii, "r": repr, "s": str}
_PATH_ITSELF = frozenset(("absolute", "expanduser", "resolve"))
_ATTRIBUTES: dict[type, frozenset[str]] = {
    PurePosixPath: frozenset(("name", "parent", "parents", "parts", "stem", "suffix")),
    int: frozenset(("real", "imag")),
    float: frozenset(("real", "imag")),
}


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    """Return `left op right`, or UNKNOWN."""
    function = _BINARY.get(type(op))
    if function is None or not _affordable(op, left, right):
        return UNKNOWN
    return _run(function, left, right)


def unary(op: ast.unaryop, value: Any) -> Any:
    """Return `op value`, or UNKNOWN."""
    if isinstance(op, ast.Invert) and isinstance(value, bool):
        return UNKNOWN  # Python warns of it.
    return _run(_UNARY[type(op)], value)


def compare(op: ast.cmpop, left: Any, right: Any) -> Any:
    """Return `left op right`, or UNKNOWN; identity is told for None, booleans and `...` alone."""
    if isinstance(op, ast.Is | ast.IsNot):
        if not isinstance(left, _SINGLETONS) and not isinstance(right, _SINGLETONS):
            return UNKNOWN
        return (left is right) == isinstance(op, ast.Is)
    return _run(_COMPARE[type(op)], left, right)


def item(base: Any, key: Any) -> Any:
    """Return `base[key]`, or UNKNOWN."""
    return _run(operator.getitem, base, key)


def attribute(base: Any, name: str) -> Any:
    """Return an attribute of a plain value, or UNKNOWN."""
    allowed = _ATTRIBUTES.get(type(base), frozenset())
    return _run(getattr, base, name) if name in allowed else UNKNOWN


def method(base: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a method of a plain value gives, or UNKNOWN."""
    if isinstance(base, PurePosixPath) and name in _PATH_ITSELF:
        return base
    if name not in _METHODS.get(type(base), frozenset()):
        return UNKNOWN
    if name == "format" and (_WIDE_FORMAT.search(base) or not _short((*args, *kwargs.values()))):
        return UNKNOWN
    texts = [len(text) for text in (base, *args) if isinstance(text, str)]
    if name == "replace" and texts and texts[0] * max(texts) > _MAX_PRODUCT:
        return UNKNOWN
    if name == "join" and texts and texts[0] * MAX_LENGTH > _MAX_PRODUCT:
        return UNKNOWN
    return _run(lambda: getattr(base, name)(*args, **kwargs))


def formatted(value: Any, conversion: int, spec: str) -> Any:
    """Return the text of one replacement field of an f-string, or UNKNOWN."""
    if _WIDE_FORMAT.search(spec):
        return UNKNOWN
    convert = _CONVERSIONS.get(chr(conversion) if conversion > 0 else "")
    return _run(lambda: format(value if convert is None else convert(value), spec))


def function(dotted: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a pure function of Python, `math` or numpy gives, or UNKNOWN."""
    known = _FUNCTIONS.get(dotted)
    if known is None or not all(map(_countable, args)):
        return UNKNOWN
    return _run(lambda: known(*args, **kwargs))


def is_function(dotted: str) -> bool:
    """Tell whether `function` knows a name."""
    return dotted in _FUNCTIONS


def small(value: Any, depth: int = 0) -> bool:
    """Tell whether a value is plain and within the bounds."""
    if isinstance(value, bool | float | complex | type(None) | type(...)):
        return True
    if isinstance(value, int):
        return value.bit_length() <= _MAX_BITS
    if isinstance(value, str | bytes):
        return len(value) <= _MAX_TEXT
    if isinstance(value, PurePosixPath):
        return len(str(value)) <= _MAX_TEXT
    if isinstance(value, range):
        return _countable(value) and len(value) <= _MAX_TEXT
    if isinstance(value, slice):
        return all(small(bound, depth + 1) for bound in (value.start, value.stop, value.step))
    if depth > 4 or not isinstance(value, list | tuple | set | frozenset | dict):
        return False
    if len(value) > MAX_LENGTH:
        return False
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return all(small(item, depth + 1) for item in items)


def _run(function: Callable[..., Any], *args: Any) -> Any:
    try:
        result = function(*args)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return UNKNOWN
    return result if small(result) else UNKNOWN


def _affordable(op: ast.operator, left: Any, right: Any) -> bool:
    """Tell whether an operation stays within the bounds, before it is carried out."""
    if isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        return abs(right) * max(left.bit_length(), 1) <= _MAX_BITS
    if isinstance(op, ast.LShift):
        return isinstance(right, int) and right <= _MAX_BITS
    if isinstance(op, ast.Mult):
        for many, times in ((left, right), (right, left)):
            if isinstance(many, str | bytes) and isinstance(times, int):
                return len(many) * times <= _MAX_TEXT
            if isinstance(many, list | tuple) and isinstance(times, int):
                return len(many) * times <= MAX_LENGTH
    if isinstance(op, ast.Mod) and isinstance(left, str | bytes):
        text = left if isinstance(left, str) else left.decode("latin-1")
        given = right if isinstance(right, tuple) else (right,)
        return not _WIDE_FORMAT.search(text) and _short(given)
    return True


def _short(values: tuple[Any, ...]) -> bool:
    return sum(len(value) for value in values if isinstance(value, str | bytes)) <= _MAX_TEXT


def _countable(value: Any) -> bool:
    """Tell whether going through a value takes a bounded time."""
    try:
        return not isinstance(value, range) or len(value) <= _MAX_TEXT
    except OverflowError:
        return False


def _prod(values: Any) -> Any:
    result: Any = 1
    for value in values:
        result *= value
        if not small(result):
            raise OverflowError
    return result


def _rounded(value: Any, digits: Any = None) -> Any:
    if digits is not None and abs(digits) > _MAX_DIGITS:
        raise OverflowError
    return round(value, digits)


def _power(base: Any, exponent: Any) -> Any:
    return binary(ast.Pow(), base, exponent)


def _factorial(value: Any) -> Any:
    if value > _MAX_FACTORIAL:
        raise OverflowError
    return math.factorial(value)


def _rounding(function: Callable[[Any], int]) -> Callable[[Any], float]:
    # numpy's floor and ceil give floats where those of math give integers.
    return lambda value: float(function(value))


def _text(value: Any = "") -> Any:
    return str(value) if not isinstance(value, list | tuple | dict | set) else UNKNOWN


def _range(*bounds: Any) -> Any:
    made = range(*bounds)
    return made if _countable(made) else UNKNOWN


def _path(*segments: Any) -> Any:
    return PurePosixPath(*segments)


def _joined(*segments: Any) -> Any:
    return posixpath.join(*map(str, segments))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        f"builtins.{function.__name__}": function
        for function in (
            abs,
            all,
            any,
            bool,
            chr,
            complex,
            dict,
            divmod,
            float,
            hex,
            int,
            len,
            list,
            max,
            min,
            ord,
            set,
            sorted,
            sum,
            tuple,
        )
    },
    "builtins.pow": _power,
    "builtins.range": _range,
    "builtins.reversed": lambda many: list(reversed(many)),
    "builtins.round": _rounded,
    "builtins.str": _text,
    **{
        f"math.{name}": getattr(math, name)
        for name in [
            "acos",
            "asin",
            "atan",
            "atan2",
            "ceil",
            "copysign",
            "cos",
            "cosh",
            "degrees",
            "exp",
            "exp2",
            "fabs",
            "floor",
            "fmod",
            "gcd",
            "hypot",
            "isclose",
            "isfinite",
            "isinf",
            "isnan",
            "isqrt",
            "lcm",
            "log",
            "log10",
            "log1p",
            "log2",
            "radians",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
            "trunc",
        ]
        if hasattr(math, name)
    },
    "math.factorial": _factorial,
    "math.pow": math.pow,
    "math.prod": _prod,
    **{
        f"numpy.{name}": getattr(math, name)
        for name in ("cos", "exp", "log", "log10", "log2", "log1p", "sin", "sqrt", "tan", "tanh")
    },
    **{f"numpy.{name}": abs for name in ("abs", "absolute")},
    **{f"numpy.{name}": int for name in ("int_", "int8", "int16", "int32", "int64", "uint8")},
    **{f"numpy.{name}": float for name in ("float16", "float32", "float64")},
    **{f"numpy.{name}": max for name in ("amax", "max", "maximum")},
    **{f"numpy.{name}": min for name in ("amin", "min", "minimum")},
    "numpy.ceil": _rounding(math.ceil),
    "numpy.floor": _rounding(math.floor),
    "numpy.power": _power,
    "numpy.prod": _prod,
    "numpy.product": _prod,
    "numpy.round": _rounded,
    "numpy.sum": sum,
    "collections.OrderedDict": dict,
    "os.fspath": str,
    "os.path.abspath": posixpath.normpath,
    "os.path.basename": posixpath.basename,
    "os.path.dirname": posixpath.dirname,
    "os.path.expanduser": str,
    "os.path.join": _joined,
    "os.path.normpath": posixpath.normpath,
    "os.path.realpath": posixpath.normpath,
    "os.path.splitext": posixpath.splitext,
    "pathlib.Path": _path,
    "pathlib.PurePath": _path,
}
