"""Take the graph of a model by the cheapest way that works.

1. A symbolic torch.fx trace: needs no inputs.
2. A recorded run on small tensors: code may branch and loop on whatever it likes.
3. A torch.fx trace for inferred or given input shapes, where a run would take too much memory
   or time: code may branch on sizes.
"""

from __future__ import annotations

import dis
import inspect
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from nnlint.linter.findings import Location
from nnlint.linter.graph import Node, ShapeFailure, TensorInfo
from nnlint.linter.operators.shapes import ShapeError, Tensor
from nnlint.linter.settings import InputSpec
from nnlint.linter.trace import inputs as guess
from nnlint.linter.trace import propagate
from nnlint.linter.trace.arguments import Drawn, Value, leaves, rebatched, shapes_of
from nnlint.linter.trace.concrete import SizedTracer, sized_trace
from nnlint.linter.trace.convert import BuiltAt, convert
from nnlint.linter.trace.ghost import preserved, undone
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.solve import Solved, Solver, rebatch
from nnlint.linter.trace.symbolic import symbolic_trace

# How many input shapes are tried on a model that cannot be traced without inputs.
MAX_SIZED_TRIES = 24
# Seconds after which no further input shape is tried; one try of a video model takes seconds.
SEARCH_SECONDS = 8.0
# Parameters of a model beyond which it is not run: a copy of it is made for that.
MAX_RUN_PARAMETERS = 200_000_000
# Seconds for the search of inputs that a run goes through with.
RUN_SECONDS = 1.25
# Seconds for the search of inputs where a graph is there already and only its shapes are wanted.
SHAPE_SECONDS = 1.0


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
        obstacle: Whether inputs are missing, or a way to follow forward.
    """

    def __init__(
        self,
        message: str,
        location: Location | None,
        obstacle: Literal["inputs", "trace", "forward"] = "trace",
    ) -> None:
        super().__init__(message)
        self.location = location
        self.obstacle = obstacle


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
    capture: Literal["fx", "run"]
    failure: ShapeFailure | None = None
    created: tuple[tuple[torch.nn.Module, Location | None], ...] = ()


def capture(subject: Subject) -> Captured:
    """Capture a model in the mode it is in.

    Raises:
        ForwardError: Forward fails for certain.
        NotTraceableError: Nothing works.
    """
    named = frozenset(spec.name for spec in subject.specs or () if spec.name)
    with preserved(subject.model):
        return _capture(replace(subject, passed=subject.passed | named))


def _capture(subject: Subject) -> Captured:
    try:
        # Traced values that forward keeps in attributes must not be met by a run.
        with preserved(subject.model):
            trace = symbolic_trace(subject.model, subject.code, passed=subject.passed)
    except Exception as error:  # noqa: BLE001 - the user's forward and fx may raise anything
        return _by_running(subject, error)
    nodes = convert(trace, subject.model, subject.built_at)
    subject.stitch(nodes)
    failure = _add_shapes(subject, nodes)
    return Captured(nodes, "fx", failure, tuple(trace.created))


def _add_shapes(subject: Subject, nodes: list[Node]) -> ShapeFailure | None:
    """Write shapes into a symbolic graph, for inputs that are given or found."""
    failure: ShapeFailure | None = None
    larger: dict[str, Any] | None = None
    batch, ran = guess.BATCH, False
    if subject.specs is not None:
        chosen: dict[str, Any] | None = guess.given(nodes, subject.specs)
    else:
        chosen, failure = guess.search(nodes)
    # A failure that all shapes agree on is the model's own: no other arguments are looked for.
    unknown = failure is None and not _complete(nodes, chosen)
    if subject.specs is None and unknown and _is_small(subject.model):
        solved = _solver(subject, SHAPE_SECONDS).solve()
        if solved is not None:
            chosen, failure = shapes_of(solved.state), None
            larger = shapes_of(rebatched(solved.state, 3))
            batch, ran = solved.batch, True
    if chosen is not None:
        if larger is None:
            larger, batch = guess.with_batch(chosen, 3), guess.batch_of(chosen)
        first, failure = propagate.run(nodes, chosen)
        second, _ = propagate.run(nodes, larger)
        propagate.annotate(nodes, first, second, (batch, 3 * batch))
    if ran:
        return None
    if failure is not None:
        sample = chosen or {
            n.name: next(guess.candidates(n)) for n in nodes if n.kind == "input" and n.users
        }
        failure = replace(failure, certain=_fails(subject, sample))
    return failure


def _complete(nodes: Sequence[Node], chosen: Mapping[str, Any] | None) -> bool:
    """Tell whether every input that is used has a shape."""
    used = [n.name for n in nodes if n.kind == "input" and n.users]
    return chosen is not None and all(
        isinstance(value := chosen.get(name), Tensor) and value.shape is not None for name in used
    )


def _is_small(model: torch.nn.Module) -> bool:
    counts = (p.numel() for p in model.parameters() if not torch.nn.parameter.is_lazy(p))
    return sum(counts) <= MAX_RUN_PARAMETERS


def _solver(subject: Subject, seconds: float) -> Solver:
    return Solver(
        subject.model, subject.code, subject.built_at, passed=subject.passed, seconds=seconds
    )


def _by_running(subject: Subject, first_error: Exception) -> Captured:
    """Capture by a real run, or else by a sized trace."""
    last: Exception = first_error
    if _is_small(subject.model):
        solver = _solver(subject, RUN_SECONDS)
        solved = solver.solve() if subject.specs is None else _given(subject, solver)
        if solved is not None:
            return _recorded(subject, solver, solved)
        if solver.last is not None and solver.last.error is not None:
            last = solver.last.error
            if not isinstance(last, TimeoutError):
                raise _obstacle(subject, first_error, last)
    names = _needed(subject)
    for chosen in _choices(subject, names):
        try:
            tracer = _sized_trace(subject, chosen)
            if tracer.failure is not None:
                continue
            again = _sized_trace(subject, guess.with_batch(chosen, 3))
        except Exception as error:  # noqa: BLE001 - the user's forward and fx may raise anything
            last = last if isinstance(last, TimeoutError) else error
            continue
        return _sized(subject, tracer, again, chosen)
    if isinstance(last, TimeoutError):
        raise NotTraceableError("forward takes too long on the CPU", None)
    raise _obstacle(subject, first_error, last)


def _obstacle(
    subject: Subject, traced: Exception, ran: Exception
) -> ForwardError | NotTraceableError:
    """Return what to say of a forward that no run goes through with.

    Args:
        subject: The model.
        traced: What stopped the symbolic trace.
        ran: What stopped the run that came furthest.
    """
    at, related = subject.code.raised(ran.__traceback__)
    if isinstance(ran, NotImplementedError):
        return NotTraceableError("it has no forward of its own", at, "forward")
    certain = _certain(traced, subject.code)
    same = type(ran) is type(traced) and str(ran) == str(traced)
    if certain is not None and same and not _may_lack_inputs(subject):
        return certain
    if subject.specs is not None:
        return ForwardError(_text(ran), at, related)
    return NotTraceableError(
        f"no input was found that forward accepts; the last try ended with {_text(ran)}",
        at,
        "inputs",
    )


def _may_lack_inputs(subject: Subject) -> bool:
    """Tell whether every input of forward is optional: it may want one of several."""
    parameters = inspect.signature(subject.model.forward).parameters.values()
    return subject.specs is None and bool(parameters) and not _needed(subject)


def _given(subject: Subject, solver: Solver) -> Solved | None:
    """Run with the inputs that the user gives."""
    names = _needed(subject)
    slots = [Node(i, "input", name=name) for i, name in enumerate(names)]
    chosen = guess.given(slots, subject.specs or ())
    batch = guess.batch_of(chosen)
    state: dict[str, Value] = {}
    for name, tensor in chosen.items():
        shape = tensor.shape or ()
        places = tuple(i for i, s in enumerate(shape) if s == batch)[:1]
        state[name] = Drawn(shape, tensor.kind or "float", batch=places)
    return solver.check(state, batch)


def _recorded(subject: Subject, solver: Solver, solved: Solved) -> Captured:
    """Make a graph of a run, and see in a second one where the batch goes."""
    nodes = solved.run.nodes
    again = rebatch(solver, solved)
    count = len(nodes)
    for each in (nodes, again.nodes if again is not None else []):
        subject.stitch(each)
        _infer(each[count:])
    _forget_guesses(nodes, solved)
    if again is not None:
        _forget_guesses(again.nodes, solved)
        batches = (solved.batch, 2 * solved.batch)
        for node, other in zip(nodes, again.nodes, strict=True):
            node.info = propagate.compared(node.info, other.info, batches)
    return Captured(nodes, "run", None, solved.run.created)


def _forget_guesses(nodes: Sequence[Node], solved: Solved) -> None:
    """Take back the shapes that come from an input of which only a guess is known."""
    guessed = {
        ".".join(map(str, path))
        for name, value in solved.state.items()
        for path, leaf in leaves(value, (name,))
        if isinstance(leaf, Drawn) and leaf.guessed
    }
    unsure: set[Node] = set()
    for node in nodes:
        if node.name in guessed if node.kind == "input" else any(i in unsure for i in node.inputs):
            unsure.add(node)
            node.info = TensorInfo(None, node.info.kind)


def _infer(stitched: Sequence[Node]) -> None:
    """Give shapes to what the training code does with the output."""
    known = {n: Tensor(n.info.shape, n.info.kind) for s in stitched for n in s.inputs}
    for node in stitched:
        try:
            known[node] = value = propagate.value_of(node, known, {})
        except ShapeError:
            continue
        if isinstance(value, Tensor):
            node.info = TensorInfo(value.shape, value.kind)


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
    """Run the model for real, take back what that leaves, and return what it raises."""
    with torch.no_grad(), undone(model):
        try:
            model(*args, **kwargs)
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
    was asked of a proxy, would come with real tensors too. An assertion, and a function that asks
    for types, may want an input of another kind.
    """
    innermost = _innermost(error)
    at, related = code.raised(error.__traceback__)
    if at is None or innermost is None:
        return None
    text = str(error)
    own = code.rank(innermost.tb_frame.f_code.co_filename) is not None
    missing = isinstance(error, AttributeError) and isinstance(error.obj, torch.nn.Module)
    genuine = (
        (isinstance(error, NameError) and own)
        or missing
        or (own and not isinstance(error, AssertionError | TypeError) and _at_raise(innermost, at))
    )
    if not genuine or "Proxy" in text or isinstance(error, torch.fx.proxy.TraceError):
        return None
    return ForwardError(_text(error), at, related)


def _at_raise(traceback: types.TracebackType, at: Location) -> bool:
    """Tell whether the innermost instruction is a `raise` statement that no type leads to."""
    code = traceback.tb_frame.f_code
    if "isinstance" in code.co_names:
        return False
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
