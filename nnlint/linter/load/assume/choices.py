"""The values to try for an argument, the likeliest first."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from nnlint.linter.load.assume.forms import NUMBERS, Form, annotated, forms_by_use
from nnlint.linter.load.assume.kinds import Kind, core, is_count, is_weak, kinds_of
from nnlint.linter.load.assume.namespace import Namespace
from nnlint.linter.load.assume.uses import Uses

WIDTH = 64
_MOST = 12
_DEEPEST = 4
_NUMBERS: Mapping[Kind, tuple[float, ...]] = {
    Kind.INPUTS: (3, WIDTH, 1),
    Kind.CLASSES: (10, 2, 1, WIDTH),
    Kind.VOCABULARY: (100, 1000),
    Kind.DEPTH: (2, 1, 3, 4, 6),
    Kind.HEADS: (4, 8, 2, 1),
    Kind.KERNEL: (3, 1, 5, 2, 7),
    Kind.STRIDE: (1, 2),
    Kind.PADDING: (1, 0, 2),
    Kind.DILATION: (1, 2),
    Kind.GROUPS: (1, 2, 4, 8, 32),
    Kind.RATE: (0.1, 0.5, 0),
    Kind.REDUCTION: (4, 2, 16, 1),
    Kind.EXPANSION: (2, 4, 1, 0.5),
    Kind.FACTOR: (1.0, 0.1, 2),
    Kind.EPSILON: (1e-5,),
    Kind.IMAGE: (32, 64, 224, 28, 256, 512),
    Kind.PATCH: (4, 8, 16, 2),
    Kind.LENGTH: (16, 32, 64, 10, 128, 512),
    Kind.BATCH: (4, 1),
    Kind.INDEX: (0, 1),
    Kind.SIZE: (WIDTH, 16, 128, 256, 512, 8, 4),
}
_SEQUENCES = (3, 4, 2, 1, 5)
_TEXTS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ACTIVATION: ("relu", "gelu", "ReLU"),
    Kind.NORM: ("batch", "bn", "instance", "layer", "BN"),
    Kind.POOL: ("max", "mean", "avg"),
    Kind.CELL: ("LSTM", "lstm", "GRU"),
    Kind.CONVOLUTION: ("conv",),
    Kind.PADDING: ("zeros", "same", "reflect"),
    Kind.DEVICE: ("cpu",),
}
_CLASSES: Mapping[Kind, tuple[type[nn.Module], ...]] = {
    Kind.ACTIVATION: (nn.ReLU, nn.GELU),
    Kind.NORM: (nn.BatchNorm2d, nn.LayerNorm, nn.BatchNorm1d, nn.InstanceNorm2d),
    Kind.POOL: (nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    Kind.CONVOLUTION: (nn.Conv2d, nn.Conv1d),
    Kind.CELL: (nn.LSTM, nn.GRU),
    Kind.MODULE: (nn.Linear, nn.Identity),
    Kind.BLOCK: (nn.Linear, nn.Identity),
}
# What each kind usually is, where neither use nor annotation says it.
_NATURAL: Mapping[Kind, tuple[Form, ...]] = {
    Kind.RATE: (Form.FLOAT, Form.SEQUENCE),
    Kind.FACTOR: (Form.FLOAT, Form.INT),
    Kind.EPSILON: (Form.FLOAT,),
    Kind.FLAG: (Form.BOOL, Form.NONE),
    Kind.SHAPE: (Form.SEQUENCE, Form.INT),
    Kind.ACTIVATION: (Form.FUNCTION, Form.CLASS, Form.TEXT),
    Kind.NORM: (Form.CLASS, Form.TEXT, Form.BOOL),
    Kind.POOL: (Form.TEXT, Form.CLASS, Form.BOOL, Form.INT),
    Kind.CONVOLUTION: (Form.CLASS, Form.TEXT),
    Kind.CELL: (Form.TEXT, Form.CLASS),
    Kind.BLOCK: (Form.CLASS, Form.FUNCTION, Form.INT),
    Kind.LOSS: (Form.MODULE, Form.FUNCTION, Form.TEXT),
    Kind.MODULE: (Form.MODULE, Form.INT, Form.CLASS, Form.NONE),
    Kind.OPTIONS: (Form.OBJECT, Form.MAPPING, Form.SEQUENCE),
    Kind.DEVICE: (Form.OBJECT, Form.TEXT, Form.INT),
    Kind.DTYPE: (Form.OBJECT,),
    Kind.TENSOR: (Form.TENSOR, Form.FLOAT, Form.NONE),
    Kind.TABLE: (Form.MAPPING, Form.OBJECT),
    Kind.TEXT: (Form.TEXT, Form.INT, Form.BOOL),
    Kind.PATH: (Form.NONE, Form.TEXT),
}
_MAY_BE_NONE = frozenset({
    Kind.FLAG, Kind.TENSOR, Kind.TABLE, Kind.MODULE, Kind.PATH, Kind.NORM, Kind.ACTIVATION,
    Kind.TEXT,
})  # fmt: skip
_NUMERIC = (Form.INT, Form.SEQUENCE)
_LIKE_TENSORS = frozenset({Form.INT, Form.SEQUENCE, Form.TENSOR})
# In which order forms are tried of which nothing is known.
_ANY = (Form.INT, Form.OBJECT, Form.SEQUENCE, Form.NONE, Form.BOOL, Form.TEXT)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value to try.

    Attributes:
        form: What it is.
        make: Makes it afresh, since a model may change or keep it.
        text: How a report shows it, "" for what is shown by its parts.
    """

    form: Form
    make: Callable[[], Any]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A value that is asked for.

    Attributes:
        key: How a report calls it: "Net(num_classes)", "config.hidden_size".
        names: What it is called, the best name first.
        uses: What is done with it.
        annotation: Of the parameter.
        namespace: The names of the module that asks for it.
        siblings: The names of the other parameters.
        depth: How many sequences it stands in.
    """

    key: str
    names: tuple[str, ...]
    uses: Uses = field(default_factory=Uses)
    annotation: Any = inspect.Parameter.empty
    namespace: Namespace = field(default_factory=Namespace)
    siblings: frozenset[str] = frozenset()
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Makers:
    """How values that consist of others are made.

    Attributes:
        ask: Returns an assumed value.
        options: Makes an object that assumes what it is asked for.
        construct: Calls a class, with assumed arguments for those without a default.
        known: Returns the values that the source gives to things of a name.
    """

    ask: Callable[[Question], Any]
    options: Callable[[Question], Any]
    construct: Callable[[Callable[..., Any]], Any]
    known: Callable[[str], Sequence[Any]] = lambda _: ()


_OF_LAYERS = frozenset({"weight", "bias", "in_features", "out_features", "reduction"})


def choices(question: Question, makers: Makers) -> list[Choice]:
    """Return the values to try for a question."""
    asked = _Asked(question, makers)
    found: dict[tuple[Form, str], Choice] = {}
    for choice in itertools.islice(asked.all(), 4 * _MOST):
        found.setdefault((choice.form, choice.text), choice)
    return list(found.values())[:_MOST]


class _Asked:
    """A question in the course of being answered."""

    def __init__(self, question: Question, makers: Makers) -> None:
        self.question = question
        self.makers = makers
        self.uses = question.uses
        self.annotated = annotated(question.annotation, question.namespace)
        self.kinds = self._kinds()

    def all(self) -> Iterator[Choice]:
        forms = self.forms()
        yield from map(plain, self.annotated.literals)
        for value in self.makers.known(self.question.names[0]):
            choice = plain(value)
            if not forms or choice.form in forms or {choice.form, forms[0]} <= NUMBERS:
                yield choice
        allowed = [self.of_form(form) for form in forms]
        # A rest of each form, so that no form with many values hides the others.
        for each in allowed:
            yield from itertools.islice(each, 3)
        for each in allowed:
            yield from each
        for form in self._natural():
            if form not in forms:
                yield from itertools.islice(self.of_form(form), 2)

    def forms(self) -> tuple[Form, ...]:
        """Return the forms that annotation and uses allow, else the ones that the name means."""
        by_use = forms_by_use(self.uses)
        if self.annotated.forms:
            both = [form for form in self.annotated.forms if form in by_use]
            forms = tuple(dict.fromkeys((*both, *self.annotated.forms)))
            # None says nothing of what the code does otherwise.
            return tuple(sorted(forms, key=lambda form: form is Form.NONE))
        natural = self._natural()
        if self.uses.none and self.kinds[0] in _MAY_BE_NONE:
            # The code goes on without it, and nothing has to be made up.
            return tuple(dict.fromkeys((Form.NONE, *natural, *by_use)))
        if not by_use:
            return natural
        both = [form for form in natural if form in by_use]
        if Form.INT in by_use and Form.FLOAT in natural[:1]:
            both.insert(0, Form.FLOAT)
        unpacked = self.uses.parts or (self.uses.item is not None and self.uses.item.parts)
        if natural[0] is Form.TENSOR and set(by_use) <= _LIKE_TENSORS and not unpacked:
            both.insert(0, Form.TENSOR)  # it has a length, items, and is computed with
        if natural[0] is Form.MODULE and by_use[:1] == (Form.OBJECT,) and self._may_be_module():
            both.insert(0, Form.MODULE)
        if natural[0] is Form.MAPPING and by_use == (Form.SEQUENCE,):
            both.insert(0, Form.MAPPING)  # it has a length, and words are looked for in it
        return tuple(dict.fromkeys((*both, *by_use)))

    def of_form(self, form: Form) -> Iterator[Choice]:
        """Yield values of one form."""
        match form:
            case Form.INT | Form.FLOAT:
                yield from self._numbers(form)
            case Form.BOOL:
                yield from map(plain, (False, True))
            case Form.TEXT:
                yield from map(plain, self._texts())
            case Form.NONE:
                yield plain(None)
            case Form.SEQUENCE:
                yield from self._sequences()
            case Form.MAPPING:
                yield from self._mappings()
            case Form.CLASS:
                yield from self._classes()
            case Form.FUNCTION:
                yield from self._functions()
            case Form.MODULE:
                yield from self._modules()
            case Form.OBJECT:
                yield from self._objects()
            case Form.TENSOR:
                yield from self._tensors()

    def _kinds(self) -> tuple[Kind, ...]:
        first, *others = self.question.names
        by_name = kinds_of(first)
        by_use = [
            kind for each in self.uses.handed for kind in _handed(each.callee, each.parameter)
        ]
        further = [
            kind
            for name in (*others, *self.uses.names)
            if len(core(name)) > 1  # a loop's `s` or `p` says nothing
            for kind in kinds_of(name)
        ]
        found = (*by_name, *by_use, *further)
        numeric = [kind for kind in by_use if kind in _NUMBERS]
        if numeric and by_name[:1] and by_name[0] not in _NUMBERS:
            # `embed` may be a layer, but as a library's `embedding_dim` it is a number.
            found = (*numeric, *found)
        elif is_weak(first):
            # What a library takes it for says most, then what else it is called.
            specific = [kind for kind in by_use or further if kind is not Kind.SIZE]
            found = (*specific, *(by_use if len(core(first)) < 2 else ()), *found)
        return tuple(dict.fromkeys(found)) or (Kind.SIZE,)

    def _natural(self) -> tuple[Form, ...]:
        first = self.question.names[0]
        if not kinds_of(first) and not self.uses.handed and not self.uses.names:
            return _ANY
        forms = _NATURAL.get(self.kinds[0], _NUMERIC)
        if forms is _NUMERIC and _is_plural(first):
            return (Form.SEQUENCE, Form.INT)
        return forms

    def _numbers(self, form: Form) -> Iterator[Choice]:
        kind = next((kind for kind in self.kinds if kind in _NUMBERS), Kind.SIZE)
        values = list(_NUMBERS[kind])
        if kind is Kind.INPUTS and (self._has_output() or self.question.depth):
            values = [WIDTH, 3, 1]
        if self.uses.counted and kind in (Kind.SIZE, Kind.VOCABULARY, Kind.IMAGE):
            values = [2, 4, *values]  # as many layers would take long
        if form is Form.FLOAT:
            yield from (plain(float(value)) for value in values)
        else:
            yield from map(plain, values)

    def _has_output(self) -> bool:
        """Tell whether the model looks like a block: it says how many channels come out."""
        others = [kinds_of(name) for name in self.question.siblings]
        return any(Kind.SIZE in kinds for kinds in others) and not any(
            kinds[:1] == (Kind.CLASSES,) for kinds in others
        )

    def _texts(self) -> Iterator[str]:
        yield from (each for each in self.uses.literals if isinstance(each, str))
        for kind in self.kinds:
            yield from _TEXTS.get(kind, ())
        yield "a"

    def _sequences(self) -> Iterator[Choice]:
        uses = self.uses
        depth = self.question.depth
        if depth >= _DEEPEST or (depth and not (uses.sequence or self.annotated.items)):
            return  # sequences of sequences are only made where the code asks for them
        kind = self.kinds[0]
        if kind is Kind.SHAPE and not uses.item:
            for shape in ((3, 32, 32), (WIDTH,), (32, 32)):
                if not uses.exact or uses.exact == len(shape):
                    yield plain(shape)
        least = max(uses.length, len(uses.parts))
        sizes = (
            [uses.exact] if uses.exact else [n for n in (least, *_SEQUENCES) if n >= max(least, 1)]
        )
        for size in dict.fromkeys(sizes):
            yield self._sequence(size)

    def _sequence(self, size: int) -> Choice:
        question = self.question
        annotations = self.annotated.items
        items = []
        for index in range(size):
            part = question.uses.parts[index] if index < len(question.uses.parts) else ("", Uses())
            uses = part[1] if index < len(question.uses.parts) else question.uses.item or Uses()
            names = tuple(
                filter(None, (part[0], _singular(question.names[0]), *question.names[1:]))
            )
            annotation = annotations[min(index, len(annotations) - 1)] if annotations else None
            if annotation is Ellipsis:
                annotation = annotations[0]
            child = Question(
                f"{question.key}[{index}]",
                names,
                uses,
                inspect.Parameter.empty if annotation is None else annotation,
                question.namespace,
                depth=question.depth + 1,
            )
            items.append(next(_Asked(child, self.makers).all(), plain(WIDTH)))

        def make() -> list[Any]:
            return [item.make() for item in items]

        return Choice(Form.SEQUENCE, make, f"[{', '.join(item.text or '...' for item in items)}]")

    def _mappings(self) -> Iterator[Choice]:
        uses, question = self.uses, self.question
        if uses.keys:
            yield Choice(Form.MAPPING, lambda: self.makers.options(question), "")
        if self.kinds[0] is not Kind.OPTIONS:
            yield Choice(Form.MAPPING, _words, "a dict of 100 words")

    def _classes(self) -> Iterator[Choice]:
        for kind in self.kinds:
            for cls in _CLASSES.get(kind, ()):
                if _takes(cls, self.uses):
                    yield _named(Form.CLASS, cls)
        for value in self._own_classes():
            if _takes(value, self.uses):
                yield _named(Form.CLASS, value)
        for cls in (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.Identity):
            if _takes(cls, self.uses):
                yield _named(Form.CLASS, cls)

    def _own_classes(self) -> Iterator[type]:
        """Yield the layers of the module, first those whose name resembles the question's."""
        words = [core(name).replace("_", "") for name in self.question.names]
        yield from sorted(
            self.question.namespace.layers(),
            key=lambda cls: not any(_alike(cls.__name__, word) for word in words),
        )

    def _functions(self) -> Iterator[Choice]:
        if Kind.ACTIVATION in self.kinds or self.kinds[0] in (Kind.FLAG, Kind.TEXT):
            yield Choice(Form.FUNCTION, nn.ReLU, "nn.ReLU()")
            yield Choice(Form.FUNCTION, lambda: F.relu, "F.relu")
        yield Choice(Form.FUNCTION, nn.Identity, "nn.Identity()")

    def _may_be_module(self) -> bool:
        """Tell whether a module has the attributes that are read: one of the project's may."""
        return any(True for _ in self._modules_of_the_project()) or all(
            hasattr(nn.Module, name) or name in _OF_LAYERS for name in self.uses.attributes
        )

    def _modules_of_the_project(self) -> Iterator[type]:
        words = [core(name).replace("_", "") for name in self.question.names]
        for cls in (*self.annotated.classes, *self._own_classes()):
            if any(_alike(cls.__name__, word) for word in words):
                yield cls

    def _modules(self) -> Iterator[Choice]:
        for cls in self._modules_of_the_project():
            yield Choice(Form.MODULE, _constructing(self.makers, cls), f"{cls.__name__}(...)")
        if Kind.ACTIVATION in self.kinds:
            yield Choice(Form.MODULE, nn.ReLU, "nn.ReLU()")
        if Kind.LOSS in self.kinds:
            yield Choice(Form.MODULE, nn.MSELoss, "nn.MSELoss()")
        yield Choice(Form.MODULE, lambda: nn.Linear(WIDTH, WIDTH), f"nn.Linear({WIDTH}, {WIDTH})")
        yield Choice(Form.MODULE, nn.Identity, "nn.Identity()")

    def _objects(self) -> Iterator[Choice]:
        for cls in self.annotated.classes:
            yield Choice(Form.OBJECT, _constructing(self.makers, cls), f"{cls.__name__}(...)")
        if self.kinds[0] is Kind.DEVICE:
            yield Choice(Form.OBJECT, lambda: torch.device("cpu"), "cpu")
            return
        if self.kinds[0] is Kind.DTYPE:
            yield Choice(Form.OBJECT, lambda: torch.float32, "torch.float32")
            return
        yield Choice(Form.OBJECT, lambda: self.makers.options(self.question), "")

    def _tensors(self) -> Iterator[Choice]:
        yield Choice(Form.TENSOR, lambda: torch.rand(WIDTH, WIDTH), f"torch.rand({WIDTH}, {WIDTH})")
        yield Choice(Form.TENSOR, lambda: torch.ones(WIDTH), f"torch.ones({WIDTH})")


def _handed(callee: str, parameter: str) -> tuple[Kind, ...]:
    """Return what a library's parameter means."""
    if "Dropout" in callee or "dropout" in callee:
        return (Kind.RATE,)
    if callee.startswith("Embedding") and parameter == "num_embeddings":
        return (Kind.VOCABULARY,)
    return kinds_of(parameter)[:1] if parameter else ()


def _is_plural(name: str) -> bool:
    return not is_count(name) and core(name).endswith(_PLURALS)


_PLURALS = ("sizes", "dims", "strides", "shapes", "widths", "rates", "dropouts", "list", "lengths")


def _singular(name: str) -> str:
    return name.removesuffix("s") or name


def _alike(class_name: str, word: str) -> bool:
    name = class_name.lower()
    return len(word) > 2 and (word in name or name in word)


def suggested(value: Any) -> Choice:
    """Return the choice of a plain value that the source suggests."""
    return plain(value)


def plain(value: Any) -> Choice:
    """Return a number, text or the like as a choice."""
    form = {
        bool: Form.BOOL, int: Form.INT, float: Form.FLOAT, str: Form.TEXT, type(None): Form.NONE,
        tuple: Form.SEQUENCE, list: Form.SEQUENCE,
    }.get(type(value), Form.OBJECT)  # fmt: skip
    return Choice(form, lambda: value, repr(value))


def _named(form: Form, value: Any) -> Choice:
    prefix = "nn." if value.__module__.startswith("torch.nn.") else ""
    return Choice(form, lambda: value, prefix + value.__name__)


def _constructing(makers: Makers, cls: type) -> Callable[[], Any]:
    return lambda: makers.construct(cls)


def _words() -> dict[str, int]:
    return {f"word{index}": index for index in range(100)}


def _takes(function: Callable[..., Any], uses: Uses) -> bool:
    """Tell whether a class can be called as the code calls it, and has what is asked of it."""
    if not all(hasattr(function, name) for name in uses.attributes):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    open_args = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    open_kwargs = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = {p.name for p in parameters}
    needed = [p for p in positional if p.default is p.empty]
    for call in uses.calls:
        if call.count > len(positional) and not open_args:
            return False
        if not call.keywords <= names and not open_kwargs:
            return False
        if any(p.name not in call.keywords for p in needed[call.count :]) and not open_args:
            return False
    return True
