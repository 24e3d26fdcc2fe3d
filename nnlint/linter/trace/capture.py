"""Take the graph of a model by the cheapest way that works.

1. A symbolic torch.fx trace: needs no inputs.
2. A torch.fx trace for inferred or given input shapes: code may branch on sizes.
3. torch.export with such inputs.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import inspect
import itertools
import math
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node, ShapeFailure
from nnlint.linter.operators.shapes import Tensor
from nnlint.linter.settings import InputSpec
from nnlint.linter.trace import inputs as guess
from nnlint.linter.trace import propagate
from nnlint.linter.trace.concrete import SizedTracer, sized_trace
from nnlint.linter.trace.convert import BuiltAt, convert
from nnlint.linter.trace.exported import export_nodes
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.symbolic import symbolic_trace

# How many input shapes are tried on a model that cannot be traced without inputs.
MAX_SIZED_TRIES = 24
# Seconds after which no further input shape is tried; one try of a video model takes seconds.
SEARCH_SECONDS = 8.0
# Elements beyond which an input that is only a guess is not tried by really running the model.
MAX_ELEMENTS = 1_000_000


class ForwardError(Exception):
    """Forward raises, whatever the input is.

    Attributes:
        location: The user's line.
        related: Other places of the user's code that the error went through.
    """

    def __init__(
        self, message: str, location: Location | None, related: Sequence[Location] = ()
    ) -> None:
        super().__init__(message)
        self.location = location
        self.related = tuple(related)


class NotTraceableError(Exception):
    """No way of capture works; the message says what stops it.

    Attributes:
        location: The user's line that stopped it, if known.
    """

    def __init__(self, message: str, location: Location | None) -> None:
        super().__init__(message)
        self.location = location


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to capture, with all that is known of it.

    Attributes:
        model: The module; it is not changed.
        code: Tells the user's frames.
        built_at: Tells where a layer was built.
        specs: The user's input shapes, None to infer them.
        passed: Optional forward parameters that become inputs.
        stitch: Appends the loss to freshly made nodes, before shapes are computed.
    """

    model: torch.nn.Module
    code: UserCode
    built_at: BuiltAt
    specs: Sequence[InputSpec] | None = None
    passed: frozenset[str] = frozenset()
    stitch: Callable[[list[Node]], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured graph: nodes with shapes where inputs were found."""

    nodes: list[Node]
    capture: Literal["fx", "export"]
    failure: ShapeFailure | None = None
    created: tuple[tuple[torch.nn.Module, Location | None], ...] = ()


def capture(subject: Subject) -> Captured:
    """Capture a model in the mode it is in.

    Raises:
        ForwardError: Forward fails for certain.
        NotTraceableError: Nothing works.
    """
    named = frozenset(spec.name for spec in subject.specs or () if spec.name)
    with _preserved(subject.model):
        return _capture(replace(subject, passed=subject.passed | named))


@contextlib.contextmanager
def _preserved(model: torch.nn.Module) -> Iterator[None]:
    """Take back what tracing leaves on the modules: traced values in attributes, constants."""
    before = [
        (module, {k: copy.copy(v) if k in _REGISTRIES else v for k, v in vars(module).items()})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)


# Where torch.nn.Module keeps what is registered; all else in a module's dict is kept as it is.
_REGISTRIES = frozenset({"_parameters", "_buffers", "_modules"})


def _capture(subject: Subject) -> Captured:
    try:
        trace = symbolic_trace(subject.model, subject.code, passed=subject.passed)
    except Exception as error:  # noqa: BLE001 - the user's forward and fx may raise anything
        if (certain := _certain(error, subject.code)) and _confirmed(error, subject):
            raise certain from None
        return _with_inputs(subject, error)
    nodes = convert(trace, subject.model, subject.built_at)
    subject.stitch(nodes)
    if subject.specs is not None:
        chosen: dict[str, Tensor] | None = guess.given(nodes, subject.specs)
        failure = None
    else:
        chosen, failure = guess.search(nodes)
    if chosen is not None:
        first, failure = propagate.run(nodes, chosen)
        second, _ = propagate.run(nodes, guess.with_batch(chosen, 3))
        batch = guess.batch_of(chosen)
        propagate.annotate(nodes, first, second, (batch, 3 * batch))
    if failure is not None:
        sample = chosen or {
            n.name: next(guess.candidates(n)) for n in nodes if n.kind == "input" and n.users
        }
        failure = replace(failure, certain=_fails(subject, sample))
    return Captured(nodes, "fx", failure, tuple(trace.created))


def _with_inputs(subject: Subject, first_error: Exception) -> Captured:
    """Capture with input shapes, given or guessed, by a sized trace or else by export."""
    names = _needed(subject)
    last, accepted = first_error, False
    for chosen in _choices(subject, names):
        try:
            tracer = _sized_trace(subject, chosen)
            if tracer.failure is not None:
                continue
            again = _sized_trace(subject, guess.with_batch(chosen, 3))
        except Exception as error:  # noqa: BLE001 - as above
            last = error
            continue
        return _sized(subject, tracer, again, chosen)
    for chosen in _choices(subject, names):
        if subject.specs is None and _elements(chosen) > MAX_ELEMENTS:
            continue
        args, kwargs = _examples(subject.model, chosen)
        real = _raises(subject.model, args, kwargs)
        if real is not None:
            if subject.specs is not None:
                at, related = subject.code.raised(real.__traceback__)
                raise ForwardError(_text(real), at, related)
            continue
        accepted = True
        try:
            nodes = export_nodes(subject.model, args, kwargs, subject.code, subject.built_at)
        except Exception as error:  # noqa: BLE001 - as above
            last = error
            break
        subject.stitch(nodes)
        return Captured(nodes, "export")
    location, _ = subject.code.raised(first_error.__traceback__)
    raise NotTraceableError(_obstacle(first_error, last, accepted=accepted), location)


def _obstacle(first: Exception, last: Exception, *, accepted: bool) -> str:
    """Say what stops a trace, in the user's terms where the error is one of fx's own."""
    if isinstance(first, torch.fx.proxy.TraceError) or "symbolic tracing" in str(first):
        return "forward decides or loops on a value that is only known when it runs"
    if not accepted:
        return "no input was found that forward accepts"
    return _text(last)


def _sized_trace(subject: Subject, chosen: dict[str, Tensor]) -> SizedTracer:
    return sized_trace(subject.model, subject.code, subject.built_at, chosen, passed=subject.passed)


def _choices(subject: Subject, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    if subject.specs is not None:
        slots = [Node(i, "input", name=name) for i, name in enumerate(names)]
        yield guess.given(slots, subject.specs)
        return
    deadline = time.monotonic() + SEARCH_SECONDS
    for count, option in enumerate(guess.by_registration(subject.model, len(names))):
        if count >= MAX_SIZED_TRIES or time.monotonic() > deadline:
            return
        yield dict(zip(names, option, strict=True))


def _sized(
    subject: Subject, tracer: SizedTracer, again: SizedTracer, chosen: dict[str, Tensor]
) -> Captured:
    nodes, others = tracer.converter.nodes, again.converter.nodes
    subject.stitch(nodes)
    subject.stitch(others)
    first, _ = propagate.run(nodes, chosen)
    batch = guess.batch_of(chosen)
    second = None
    if [n.target for n in nodes] == [n.target for n in others]:
        found, _ = propagate.run(others, guess.with_batch(chosen, 3))
        second = {n: found[o] for n, o in zip(nodes, others, strict=True)}
    propagate.annotate(nodes, first, second, (batch, 3 * batch))
    return Captured(nodes, "fx", None, tuple(tracer.created))


def _elements(chosen: dict[str, Tensor]) -> int:
    return sum(math.prod(t.shape) for t in chosen.values() if t.shape)


def _needed(subject: Subject) -> list[str]:
    """Return the names of the forward parameters that need a value."""
    return [
        name
        for name, p in inspect.signature(subject.model.forward).parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and (p.default is p.empty or name in subject.passed)
    ]


def _examples(
    model: torch.nn.Module, chosen: dict[str, Tensor]
) -> tuple[list[Any], dict[str, Any]]:
    """Make real tensors: positional up to the first keyword-only parameter."""
    generator = torch.Generator().manual_seed(0)
    kwargs = {}
    for name, tensor in chosen.items():
        shape = tensor.shape or (guess.BATCH,)
        if tensor.kind == "float" or tensor.kind is None:
            kwargs[name] = torch.randn(shape, generator=generator)
        else:
            kwargs[name] = torch.randint(0, 2, shape, generator=generator)
            if tensor.kind == "bool":
                kwargs[name] = kwargs[name].bool()
    parameters = inspect.signature(model.forward).parameters
    args = []
    for name, parameter in parameters.items():
        if name not in kwargs or parameter.kind == parameter.KEYWORD_ONLY:
            break
        args.append(kwargs.pop(name))
    return args, kwargs


def _raises(
    model: torch.nn.Module, args: Sequence[Any], kwargs: dict[str, Any]
) -> Exception | None:
    """Run a copy of the model for real and return what it raises."""
    with torch.no_grad():
        try:
            copy.deepcopy(model)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the user's forward may raise anything
            return error
    return None


def _fails(subject: Subject, chosen: dict[str, Tensor]) -> bool:
    """Confirm a predicted shape failure by a real run."""
    needed = _needed(subject)
    args, kwargs = _examples(subject.model, {n: t for n, t in chosen.items() if n in needed})
    error = _raises(subject.model, args, kwargs)
    return isinstance(error, (RuntimeError, ValueError))


def _certain(error: Exception, code: UserCode) -> ForwardError | None:
    """Tell whether an error met while tracing would come in a real run as well.

    fx replaces tensors by proxies, so a TypeError or a TraceError says nothing of the model. A
    missing name or attribute, and an exception that the user's own `raise` makes before anything
    was asked of a proxy, would come with real tensors too.
    """
    innermost = _innermost(error)
    at, related = code.raised(error.__traceback__)
    if at is None or innermost is None:
        return None
    text = str(error)
    own = code.rank(innermost.tb_frame.f_code.co_filename) is not None
    missing = isinstance(error, AttributeError) and isinstance(error.obj, torch.nn.Module)
    genuine = (
        (isinstance(error, NameError) and own) or missing or (own and _at_raise(innermost, at))
    )
    if not genuine or "Proxy" in text or isinstance(error, torch.fx.proxy.TraceError):
        return None
    return ForwardError(_text(error), at, related)


def _confirmed(error: Exception, subject: Subject) -> bool:
    """Tell whether real runs on plausible inputs end in the same error."""
    names = _needed(subject)
    choices = list(itertools.islice(_choices(subject, names), 4))
    for chosen in choices or [dict.fromkeys(names, Tensor((guess.BATCH, 8), "float"))]:
        args, kwargs = _examples(subject.model, chosen)
        real = _raises(subject.model, args, kwargs)
        if type(real) is not type(error) or str(real) != str(error):
            return False
    return True


def _at_raise(traceback: types.TracebackType, at: Location) -> bool:
    """Tell whether the innermost instruction is a `raise` statement."""
    code = traceback.tb_frame.f_code
    for instruction in dis.get_instructions(code):
        if instruction.offset == traceback.tb_lasti:
            return instruction.opname == "RAISE_VARARGS" and at.line > 0
    return False


def _innermost(error: Exception) -> types.TracebackType | None:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _text(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}" if line else type(error).__name__
