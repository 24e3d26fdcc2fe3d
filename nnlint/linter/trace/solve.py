"""Find arguments that forward accepts, by real runs that are led by what goes wrong in them.

Each failed run names a call and what it would have needed. What takes the run further is followed
first.
"""

from __future__ import annotations

import heapq
import inspect
import itertools
import math
import operator
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators import linear as lin
from nnlint.linter.operators import moving
from nnlint.linter.trace.arguments import (
    Drawn,
    Path,
    State,
    Value,
    at,
    make,
    put,
    rebatched,
    tensors,
)
from nnlint.linter.trace.convert import BuiltAt
from nnlint.linter.trace.ghost import Ghost
from nnlint.linter.trace.hints import Facts, alternatives, takes_videos, videos
from nnlint.linter.trace.positions import UserCode
from nnlint.linter.trace.recorded import Run, run
from nnlint.linter.trace.repair import SIZED, SURE, UNSURE, repairs, sources
from nnlint.linter.trace.wishes import is_fixed, misfit, needed

# Not 2 or 3, which is what a tuple of inputs is unpacked into.
BATCH = 4
MAX_RUNS = 120
# Runs after which large inputs are tried.
LARGE_RUNS = 12
_BEFORE_ALL = 1 << 30
# The time of a search that comes further and further, as a multiple of that of one that does not.
MOST_TIMES = 5.0
# Runs that end in the very same error, after which no other argument is expected to help.
MAX_ALIKE = 20
# Seconds of processor time for the search, and for one run.
SEARCH_SECONDS = 8.0
RUN_SECONDS = 4.0
# The largest size of an image or sequence that is looked for.
MAX_SIZE = 1024
MAX_ELEMENTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Solved:
    """Arguments that forward accepts, with the run.

    Attributes:
        state: The arguments.
        run: The run with them.
        batch: Their batch.
    """

    state: State
    run: Run
    batch: int


@dataclass(frozen=True, slots=True)
class _Sized:
    """A size that is to be found: the one for which a call gets what it needs.

    Attributes:
        state: Arguments with which the call is reached.
        path: The input whose size is changed.
        dims: Its dimensions that change together.
        call: The call.
        wanted: What it needs.
        exact: Whether it goes through with other numbers as well, but should not.
    """

    state: State
    path: Path
    dims: tuple[int, ...]
    call: tuple[Any, ...]
    wanted: int
    exact: bool


class Solver:
    """Searches for arguments of one model.

    Attributes:
        last: The furthest run that failed.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        code: UserCode,
        built_at: BuiltAt,
        *,
        passed: frozenset[str] = frozenset(),
        seconds: float = SEARCH_SECONDS,
    ) -> None:
        self.last: Run | None = None
        self._model = model
        self._ghost = Ghost(model)
        self._code = code
        self._built_at = built_at
        self._passed = passed
        self._seconds = seconds
        self._until = self._latest = 0.0
        self._runs: dict[str, Run] = {}
        self._parameters = tuple(_needed(model, passed))
        self._optional = tuple(_optional(model, passed))

    @property
    def runs(self) -> int:
        """How many different arguments were tried."""
        return len(self._runs)

    def solve(self) -> Solved | None:
        """Return the first arguments found."""
        now = time.thread_time()
        self._until, self._latest = now + self._seconds, now + MOST_TIMES * self._seconds
        for batch in self._batches():
            found = self._with_batch(batch)
            if found is not None:
                return found
            if self.last is not None and _is_hopeless(self.last):
                return None
        return None

    def check(self, state: State, batch: int) -> Solved | None:
        """Run with arguments that are given."""
        tried = self.try_out(state)
        if tried.error is None:
            return Solved(state, tried, batch)
        self.last = tried
        return None

    def try_out(self, state: State, made: Mapping[str, Any] | None = None) -> Run:
        """Run with given arguments; `made` are their real values."""
        key = repr(state)
        if (known := self._runs.get(key)) is not None:
            return known
        made = made if made is not None else make(state)
        args, kwargs = self._call(made)
        names = {id(t): ".".join(map(str, path)) for path, t in tensors(state, made)}
        until = time.thread_time() + RUN_SECONDS
        found = self._runs[key] = run(
            self._ghost, self._code, self._built_at, args, kwargs, names=names, until=until
        )
        return found

    def _call(self, made: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Split arguments into those passed by place and by keyword."""
        args: list[Any] = []
        kwargs = dict(made)
        for name, parameter in inspect.signature(self._model.forward).parameters.items():
            if parameter.kind == parameter.VAR_POSITIONAL and name in kwargs:
                found = kwargs.pop(name)
                args += found if isinstance(found, (tuple, list)) else [found]
                break
            if name not in kwargs or parameter.kind == parameter.KEYWORD_ONLY:
                break
            args.append(kwargs.pop(name))
        return args, kwargs

    def _batches(self) -> Iterator[int]:
        """Yield batches: the one that the model was built for, a small one, a single sample."""
        told = getattr(self._model, "batch_size", None)
        found = [told] if isinstance(told, int) and 0 < told <= 64 else []
        # Of videos one is enough: four would take seconds each time.
        usual = (1, BATCH) if takes_videos(self._model) else (BATCH, 1)
        yield from dict.fromkeys((*found, *usual))

    def _with_batch(self, batch: int) -> Solved | None:
        facts = Facts.of(self._model, batch)
        options = {p.name: alternatives(p, facts) for p in self._parameters}
        further = {p.name: alternatives(p, facts)[:2] for p in self._optional}
        queue: list[tuple[int, int, int, State | _Sized]] = []
        order = itertools.count()
        seen: set[str] = set()
        count = itertools.count()
        alike = 0
        fallback: Solved | None = None

        def push(progress: int, certainty: int, candidate: State | _Sized) -> None:
            if isinstance(candidate, _Sized):
                key = repr(candidate)
            else:
                key = repr(sorted(candidate.items(), key=operator.itemgetter(0)))
            if key not in seen:
                seen.add(key)
                heapq.heappush(queue, (-progress, certainty, next(order), candidate))

        push(0, SURE, {name: values[0] for name, values in options.items()})
        while queue and (number := next(count)) < MAX_RUNS and time.thread_time() < self._until:
            if number == LARGE_RUNS:
                for video, name in itertools.product(videos(facts), options):
                    push(_BEFORE_ALL, SURE, {**{n: v[0] for n, v in options.items()}, name: video})
            progress, _, _, candidate = heapq.heappop(queue)
            if isinstance(candidate, _Sized):
                found = self._size(candidate)
                if found is None:
                    continue
                candidate = found
            if _elements(candidate) > MAX_ELEMENTS:
                continue
            made = make(candidate)
            tried = self.try_out(candidate, made)
            paths = _paths(candidate)
            if tried.error is None:
                wrong = _inflated(tried, batch)
                if wrong is None or fallback is not None:
                    return Solved(candidate, tried, batch)
                fallback = Solved(candidate, tried, batch)
                for sized in _sizes_for(wrong, candidate, paths):
                    push(tried.progress, SIZED, sized)
                continue
            if self.last is None or tried.progress > self.last.progress:
                self.last = tried
                # A search that comes further is worth as much time again.
                self._until = min(time.thread_time() + self._seconds, self._latest)
            alike = alike + 1 if _alike(self.last, tried) else 0
            if alike >= MAX_ALIKE:
                break
            reached = tried.progress
            for certainty, better in repairs(tried, candidate, paths, made, batch):
                push(reached, certainty, better)
            if (wrong := _number(tried)) is not None:
                for sized in _sizes_for(wrong, candidate, paths):
                    push(reached, SIZED, sized)
            for name, values in (*options.items(), *further.items()):
                for value in values:
                    push(min(reached, -progress), UNSURE, {**candidate, name: value})
        return fallback

    def _size(self, sized: _Sized) -> dict[str, Value] | None:
        """Find the size for which the call gets what it needs, or is passed."""
        value = at(sized.state, sized.path)
        assert isinstance(value, Drawn)
        start = value.shape[sized.dims[0]]
        low, high = 0, 0
        size = start
        for _ in range(24):
            if time.thread_time() > self._until or not 0 < size <= MAX_SIZE:
                return None
            shape = tuple(size if i in sized.dims else s for i, s in enumerate(value.shape))
            state = put(sized.state, sized.path, replace(value, shape=shape, guessed=False))
            if _elements(state) > MAX_ELEMENTS:
                return None
            tried = self.try_out(state)
            got, passed = _measure(tried, sized.call)
            if got == sized.wanted or (passed and not sized.exact):
                return state
            if got is None or got < sized.wanted:
                low = size
                size = size * 2 if not high else (low + high) // 2
            else:
                high = size
                size = (low + high) // 2
            if size in (low, high):
                return None
        return None


def _needed(model: torch.nn.Module, passed: frozenset[str]) -> Iterator[inspect.Parameter]:
    parameters = list(inspect.signature(model.forward).parameters.values())
    for parameter in parameters:
        if parameter.kind == parameter.VAR_KEYWORD:
            continue
        if parameter.kind == parameter.VAR_POSITIONAL:
            if len(parameters) == 1 or all(
                p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
            ):
                yield parameter
        elif parameter.default is parameter.empty or parameter.name in passed:
            yield parameter


def _optional(model: torch.nn.Module, passed: frozenset[str]) -> Iterator[inspect.Parameter]:
    """Yield the parameters that stand for nothing as long as nobody passes them."""
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.default is None and parameter.name not in passed:
            yield parameter


def _elements(state: State) -> int:
    from nnlint.linter.trace.arguments import leaves

    return sum(
        math.prod(leaf.shape)
        for value in state.values()
        for _, leaf in leaves(value)
        if isinstance(leaf, Drawn)
    )


def _paths(state: State) -> dict[str, Path]:
    from nnlint.linter.trace.arguments import leaves

    return {
        ".".join(map(str, path)): path
        for name, value in state.items()
        for path, leaf in leaves(value, (name,))
        if isinstance(leaf, Drawn)
    }


def _alike(one: Run, other: Run) -> bool:
    """Tell whether two runs end in the same error, sizes and all."""
    return type(one.error) is type(other.error) and str(one.error) == str(other.error)


def _is_hopeless(tried: Run) -> bool:
    """Tell whether other arguments would not help: a name or an attribute of a module is missing."""
    error = tried.error
    if isinstance(error, AttributeError):
        return isinstance(error.obj, torch.nn.Module)
    return isinstance(error, (NameError, NotImplementedError, ImportError))


# --- sizes that a call in the middle asks for -------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Number:
    """A call that gets a number of values and needs another one."""

    node: Node
    call: tuple[Any, ...]
    wanted: int
    exact: bool = False


def _calls(tried: Run) -> Iterator[tuple[tuple[Any, ...], Node]]:
    """Yield the calls of a run, the failed one last, each with what it is known by in other runs."""
    counts: Counter[tuple[Any, ...]] = Counter()
    failed = [tried.failed.node] if tried.failed is not None else []
    for node in (*tried.nodes, *failed):
        if node.kind == "op":
            base = (node.name, node.path, node.location)
            yield (*base, counts[base]), node
            counts[base] += 1


def _amount(node: Node) -> int | None:
    """Return the number that a call's input must have right: features, values of one sample."""
    if (found := misfit(node)) is not None:
        return (found[0].info.shape or ())[found[1]]
    value = node.args.get("input")
    shape = value.info.shape if isinstance(value, Node) else None
    if not shape:
        return None
    if node.op is moving.VIEW:
        return math.prod(shape if is_fixed(node) else shape[1:])
    return shape[-1]


def _number(tried: Run) -> _Number | None:
    """Return what a failed call needs, where that is one number that sizes decide."""
    node = tried.failed.node if tried.failed is not None else None
    if node is None or _amount(node) is None:
        return None
    wanted = needed(node)
    return None if wanted is None else _Number(node, _known_by(tried, node), wanted)


def _known_by(tried: Run, node: Node) -> tuple[Any, ...]:
    return next(known for known, call in _calls(tried) if call is node)


def _sizes_for(wrong: _Number, state: State, paths: Mapping[str, Path]) -> Iterator[_Sized]:
    for path in sources(wrong.node, paths)[:2]:
        value = at(state, path)
        if not isinstance(value, Drawn) or (value.kind != "float" and len(value.shape) < 2):
            continue
        rank = len(value.shape)
        groups: Sequence[tuple[int, ...]] = {
            2: ((1,),),
            3: ((2,), (1,)),
            4: ((2, 3), (3,), (1,)),
            5: ((3, 4), (2, 3, 4), (1,)),
        }.get(rank, ())
        for dims in groups:
            yield _Sized(state, path, dims, wrong.call, wrong.wanted, wrong.exact)


def _measure(tried: Run, call: tuple[Any, ...]) -> tuple[int | None, bool]:
    """Return what a call got in a run, and whether the run went through with it.

    Nothing is known of a call that the run did not come to.
    """
    for known, node in _calls(tried):
        if known == call:
            passed = tried.failed is None or node is not tried.failed.node
            return _amount(node), passed
    return None, False


def _inflated(tried: Run, batch: int) -> _Number | None:
    """Find a `view(-1, n)` that cuts samples into pieces, as it does for an image of another size."""
    for node in tried.nodes:
        if node.op is not moving.VIEW or node.input is None:
            continue
        before, after = node.input.info.shape, node.info.shape
        if not before or not after or len(after) != 2 or len(before) < 3:
            continue
        cut = before[0] == batch != after[0] and after[1] != before[-1]
        if cut and any(user.op is lin.LINEAR for user in node.users):
            return _Number(node, _known_by(tried, node), after[1], exact=True)
    return None


def rebatch(solver: Solver, solved: Solved, factor: int = 2) -> Run | None:
    """Run again with a larger batch; None where that fails or takes another way."""
    again = solver.try_out(rebatched(solved.state, factor))
    if again.error is not None or len(again.nodes) != len(solved.run.nodes):
        return None
    same = all(
        (a.kind, a.name, a.path) == (b.kind, b.name, b.path)
        for a, b in zip(solved.run.nodes, again.nodes, strict=True)
    )
    return again if same else None
