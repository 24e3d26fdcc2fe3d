"""The forms that a value can have, and what annotations and uses say about them."""

from __future__ import annotations

import ast
import collections.abc
import enum
import inspect
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnlint.linter.load.assume.uses import Uses


class Form(enum.Enum):
    """What a value is."""

    INT = enum.auto()
    FLOAT = enum.auto()
    BOOL = enum.auto()
    TEXT = enum.auto()
    SEQUENCE = enum.auto()
    MAPPING = enum.auto()
    CLASS = enum.auto()  # called while the model is built: it gives a layer
    FUNCTION = enum.auto()  # called in forward
    MODULE = enum.auto()
    OBJECT = enum.auto()  # has attributes
    TENSOR = enum.auto()
    NONE = enum.auto()


NUMBERS = frozenset({Form.INT, Form.FLOAT})


@dataclass(frozen=True, slots=True)
class Annotated:
    """What an annotation allows.

    Attributes:
        forms: In the order in which they stand.
        classes: Classes of the project, or enumerations.
        literals: The values of `Literal`.
        items: The annotations of the items of a list or tuple.
    """

    forms: tuple[Form, ...] = ()
    classes: tuple[type, ...] = ()
    literals: tuple[Any, ...] = ()
    items: tuple[Any, ...] = ()


def annotated(annotation: Any, namespace: Mapping[str, Any]) -> Annotated:
    """Read an annotation; one that says nothing allows nothing in particular."""
    if annotation is inspect.Parameter.empty or annotation is None or annotation is Any:
        return Annotated()
    if isinstance(annotation, str):
        annotation = _evaluated(annotation, namespace)
    forms: list[Form] = []
    classes: list[type] = []
    literals: list[Any] = []
    items: tuple[Any, ...] = ()
    for each in _alternatives(annotation):
        origin = typing.get_origin(each)
        if origin is typing.Literal:
            literals += typing.get_args(each)
        elif origin is type or each is type:
            forms.append(Form.CLASS)
        elif origin is collections.abc.Callable or each is Callable:
            forms += [Form.FUNCTION, Form.CLASS]
        elif isinstance(kind := origin or each, type):
            form = _form_of(kind)
            forms.append(form)
            if form is Form.OBJECT:
                classes.append(kind)
            if form is Form.SEQUENCE:
                items = items or typing.get_args(each)
    return Annotated(tuple(dict.fromkeys(forms)), tuple(classes), tuple(literals), items)


_FORMS: tuple[tuple[Any, Form], ...] = (
    (bool, Form.BOOL),
    (int, Form.INT),
    (float, Form.FLOAT),
    (str, Form.TEXT),
    (types.NoneType, Form.NONE),
    (torch.Tensor, Form.TENSOR),
    (nn.Module, Form.MODULE),
    (collections.abc.Mapping, Form.MAPPING),
    (collections.abc.Collection, Form.SEQUENCE),
    (collections.abc.Iterable, Form.SEQUENCE),
    (collections.abc.Callable, Form.FUNCTION),
)


def _form_of(kind: type) -> Form:
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        return Form.TENSOR
    own = kind.__module__ not in ("builtins", "collections.abc", "typing", "torch", "collections")
    for base, form in _FORMS:
        try:
            fits = issubclass(kind, base)
        except TypeError:
            continue
        # A project's own class that happens to be iterable or callable is still that class.
        if fits and not (own and form in (Form.SEQUENCE, Form.FUNCTION, Form.MAPPING)):
            return form
    return Form.OBJECT


def _evaluated(text: str, namespace: Mapping[str, Any]) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval")
        known = ChainMap[str, Any]({}, dict(vars(typing)), namespace)  # type: ignore[arg-type] # read alone
        return eval(compile(tree, "<annotation>", "eval"), {}, known)  # noqa: S307 - the user's own code, which is run anyway
    except Exception:  # noqa: BLE001 - an annotation may say anything
        return None


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for each in typing.get_args(annotation):
            yield from _alternatives(each)
    elif origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif isinstance(annotation, typing.TypeVar):
        yield from _alternatives(annotation.__bound__)
    elif annotation is not None:
        yield annotation


_BY_TYPE: Mapping[type, Form] = {
    bool: Form.BOOL,
    int: Form.INT,
    float: Form.FLOAT,
    str: Form.TEXT,
    list: Form.SEQUENCE,
    tuple: Form.SEQUENCE,
    dict: Form.MAPPING,
}


def forms_by_use(uses: Uses) -> tuple[Form, ...]:
    """Return the forms that what is done with a value allows, the likeliest first."""
    found: list[Form] = []
    if any(not call.later for call in uses.calls):
        found.append(Form.CLASS)
    elif uses.calls:
        found += [Form.MODULE, Form.FUNCTION]
    if uses.keys or (uses.mapping and not uses.attributes):
        found.append(Form.MAPPING)
    if uses.attributes and not uses.calls:
        found.append(Form.OBJECT)
        if any(hasattr(nn.Module, name) for name in uses.attributes):
            found.insert(0, Form.MODULE)
    if uses.text or any(isinstance(each, str) for each in uses.literals):
        found.append(Form.TEXT)
    # `if isinstance(x, int): x = (x, x)` makes a sequence of a number: both are taken.
    found += [form for kind in uses.types if (form := _BY_TYPE.get(kind))]
    if uses.number or uses.counted:
        found.append(Form.INT)
    if uses.sequence or uses.length or uses.exact:
        found.append(Form.SEQUENCE)
    if any(isinstance(each, bool) for each in uses.literals):
        found.append(Form.BOOL)
    if uses.tensor and not found:
        found.append(Form.TENSOR)
    if uses.tested and not found and not uses.handed:
        found.append(Form.BOOL)
    return tuple(dict.fromkeys(found))
