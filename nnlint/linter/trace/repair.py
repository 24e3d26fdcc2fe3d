"""From a run that failed to other arguments that may take it further."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import torch

from nnlint.linter.graph import Node
from nnlint.linter.operators.arithmetic import ASSERT
from nnlint.linter.operators.moving import GETITEM
from nnlint.linter.trace.arguments import (
    Drawn,
    Fixed,
    Keyed,
    Path,
    Several,
    State,
    Value,
    at,
    leaves,
    put,
)
from nnlint.linter.trace.asserted import numbers
from nnlint.linter.trace.hints import FEATURES, IMAGE, LENGTH, states
from nnlint.linter.trace.recorded import Run
from nnlint.linter.trace.wishes import Sizes, Wish, wishes

# How sure a suggestion is. Between them stand the sizes that are searched for.
SURE, SIZED, UNSURE = range(3)
# How many things are on an image.
OBJECTS = 3


def repairs(
    run: Run, state: State, paths: Mapping[str, Path], made: Mapping[str, Any], batch: int
) -> Iterator[tuple[int, dict[str, Value]]]:
    """Yield arguments that what went wrong suggests, each with how sure that is.

    Args:
        run: The run that failed.
        state: Its arguments.
        paths: The way to the input of each name among the run's nodes.
        made: The real values that the arguments were.
        batch: The batch.
    """
    if run.error is None:
        return
    if run.failed is not None and run.failed.node.op is not ASSERT:
        node = run.failed.node
        for wish in wishes(node, run.error, batch):
            yield from _granted(wish, state, paths, batch)
        for better in (*_as_number(node, state, paths), *_as_container(node, state, paths, batch)):
            yield SURE, better
    else:
        for better in _misused(run.error, state, made, batch):
            yield SURE, better


def sources(node: Node, paths: Mapping[str, Path]) -> list[Path]:
    """Return the ways to the inputs that a value comes from, the nearest first."""
    found: dict[Path, None] = {}
    queue, seen = [node], {node}
    while queue:
        current = queue.pop(0)
        if current.kind == "input" and current.name in paths:
            found[paths[current.name]] = None
        for source in current.inputs:
            if source not in seen:
                seen.add(source)
                queue.append(source)
    return list(found)


def _granted(
    wish: Wish, state: State, paths: Mapping[str, Path], batch: int
) -> Iterator[tuple[int, dict[str, Value]]]:
    for path in sources(wish.node, paths)[:3]:
        old = at(state, path)
        if not isinstance(old, Drawn):
            continue
        if wish.state is not None:
            for better in _states(wish.state, state, path, batch):
                yield SURE, better
            continue
        got = wish.node.info.shape
        kind = wish.kind or old.kind
        high = wish.high if wish.high is not None else old.high
        if wish.shape is None or got is None:
            if wish.shape is None:
                changed = replace(old, kind=kind, high=high, guessed=False)
                if changed != old:
                    yield SURE, put(state, path, changed)
            continue
        fill = wish.fill if wish.fill is not None else old.fill
        for certainty, shape in lifted(old.shape, got, wish.shape):
            changed = Drawn(shape, kind, high, _batch_of(old, shape, batch), fill)
            if changed != old:
                yield certainty, put(state, path, changed)


def _batch_of(old: Drawn, shape: Sizes, batch: int) -> tuple[int, ...]:
    """Tell which dimensions of a new shape grow with the batch."""
    if len(shape) == len(old.shape) and all(shape[i] == batch for i in old.batch):
        return old.batch
    if shape[:1] == (batch,):
        return (0,)
    return (1,) if shape[1:2] == (batch,) else ()


def _states(layer: Any, state: State, path: Path, batch: int) -> Iterator[dict[str, Value]]:
    # The state may be one tensor of a tuple that is the whole argument.
    whole = path[:-1] if len(path) > 1 else path
    for value in states(layer, batch):
        yield put(state, whole, value)
    yield put(state, whole, Fixed(None))


def lifted(shape: Sizes, got: Sizes, wanted: Sizes) -> Iterator[tuple[int, Sizes]]:
    """Yield shapes of an input that may turn a value of shape `got` into one of shape `wanted`.

    Each comes with how sure that is.
    """
    if any(size < 1 for size in wanted):
        return
    if shape == got or not shape:
        yield SURE, wanted
    elif len(got) != len(wanted):
        # Dimensions are added or dropped in the same way at the input.
        rank = len(shape) + len(wanted) - len(got)
        if rank >= 1:
            yield SURE, _with_rank(shape, rank)
        yield UNSURE, wanted
    elif wanted[:2] == got[1::-1] and shape[:2] == got[:2] and got[:2] != wanted[:2]:
        yield SURE, (shape[1], shape[0], *shape[2:])
    else:
        if (larger := _scaled(shape, got, wanted)) is not None:
            yield SURE, larger
        for g, w in zip(got, wanted, strict=True):
            if g != w:
                yield from _resized(shape, g, w)


def _scaled(shape: Sizes, got: Sizes, wanted: Sizes) -> Sizes | None:
    """Enlarge an image or a signal as much as what was made of it should be larger."""
    image = len(shape) == len(got) > 3
    signal = len(got) == 3 and 1 < len(shape) <= 3
    if not (image or signal) or got[:2] != wanted[:2] or shape[2:] == got[2:]:
        return None
    ratios = {Fraction(w, g) for g, w in zip(got[2:], wanted[2:], strict=True) if g}
    if len(ratios) != 1 or (ratio := ratios.pop()) <= 1:
        return None
    lead = 2 if image else len(shape) - 1
    return (*shape[:lead], *(math.ceil(size * ratio) for size in shape[lead:]))


def _resized(shape: Sizes, got: int, wanted: int) -> Iterator[tuple[int, Sizes]]:
    """Change the size that the value's size seems to come from."""
    places = range(len(shape) - 1, 0, -1) if len(shape) > 1 else range(1)
    for place in places:
        if shape[place] == got:
            yield SURE, _with(shape, place, wanted)
    for place in places:
        size = shape[place]
        if size != got and size and got and got % size == 0 and wanted % (got // size) == 0:
            yield UNSURE, _with(shape, place, wanted // (got // size))
    for place in places:
        if shape[place] != got and (other := shape[place] + wanted - got) > 0:
            yield UNSURE, _with(shape, place, other)


def _with(shape: Sizes, place: int, size: int) -> Sizes:
    return (*shape[:place], size, *shape[place + 1 :])


def _with_rank(shape: Sizes, rank: int) -> Sizes:
    if rank < len(shape):
        return (*shape[: rank - 1], shape[-1])
    if rank == 4:
        return (
            (shape[0], *shape[1:2], IMAGE, IMAGE)[:4]
            if len(shape) > 1
            else (shape[0], 3, IMAGE, IMAGE)
        )
    return (*shape[:1], *(LENGTH,) * (rank - len(shape)), *shape[1:])


def _as_number(node: Node, state: State, paths: Mapping[str, Path]) -> Iterator[dict[str, Value]]:
    """A tensor that is asked for its truth or taken as an index is a plain value."""
    choices = {
        "__bool__": (Fixed(value=False), Fixed(value=True)),
        "__index__": (Fixed(2), Fixed(1)),
        "__int__": (Fixed(2), Fixed(1)),
        "__float__": (Fixed(0.5),),
        "item": (Fixed(1),),
    }.get(node.name, ())
    for path in sources(node, paths)[:2] if choices else ():
        old = at(state, path)
        for choice in choices:
            yield put(state, path, choice)
        if isinstance(old, Drawn) and len(old.shape) > 1:
            yield put(state, path, replace(old, shape=old.shape[:1]))
        if isinstance(old, Drawn):
            yield put(state, path, replace(old, shape=(), batch=()))


def _as_container(
    node: Node, state: State, paths: Mapping[str, Path], batch: int
) -> Iterator[dict[str, Value]]:
    """A tensor that is asked for an item by name is a dict, or its rows are."""
    index, asked = node.args.get("index"), node.args.get("input")
    if node.op is not GETITEM or not isinstance(index, str):
        return
    for path in sources(node, paths)[:1]:
        if isinstance(asked, Node) and asked.kind == "input":
            yield put(state, path, Keyed(((index, item_named(index, batch)),)))
        else:
            record = Keyed(((index, part_of_sample(index)),))
            yield put(state, path, Several("list", (record,) * batch, samples=True))


# --- errors of Python: a value is not what the code takes it for ------------------------------


# How the user's own code says what it misses in a dict.
_LACKING = re.compile(r"(?:key|field)s? ['\"]?(\w+)|['\"]?(\w+)['\"]? (?:key|field)")
_SMALL = re.compile("too (small|short)|at least|larger|not enough|smaller than")
_UNPACKED = re.compile(r"expected (?:at least )?(\d+)")


def _misused(
    error: Exception, state: State, made: Mapping[str, Any], batch: int
) -> Iterator[dict[str, Value]]:
    if isinstance(error, KeyError) and (name := _keyword(error)) and name not in state:
        for value in (item_named(name, batch), Drawn((batch, FEATURES))):
            yield {**state, name: value}
    suspects = list(_suspects(error, state, made))
    if isinstance(error, KeyError) or _LACKING.search(str(error)):
        # What was asked may be a copy of what was passed.
        suspects += [
            p for n, v in state.items() for p, w in _wholes(v, (n,)) if isinstance(w, Keyed)
        ]
    text = str(error)
    for path in suspects:
        old = at(state, path)
        if isinstance(error, AttributeError) and isinstance(error.name, str):
            yield from _with_attribute(state, path, old, error.name, batch)
        elif (
            isinstance(error, (KeyError, IndexError, TypeError))
            and (key := _key(error)) is not None
        ):
            yield from _with_key(state, path, old, key, batch)
        if isinstance(old, Keyed) and (named := _LACKING.search(text)):
            yield from _with_key(state, path, old, named[1] or named[2], batch)
        if isinstance(error, ValueError) and (found := _UNPACKED.search(text)):
            yield from _with_count(state, path, old, int(found[1]), batch)
        if isinstance(old, Drawn):
            yield from _told(state, path, old, text)
        if isinstance(old, Drawn) and len(old.shape) > 1 and _SMALL.search(text):
            lead = min(2, len(old.shape) - 1)
            for factor in (2, 4, 8):
                shape = (*old.shape[:lead], *(size * factor for size in old.shape[lead:]))
                yield put(state, path, replace(old, shape=shape, guessed=False))
        if isinstance(error, AssertionError):
            if isinstance(old, Drawn):
                yield from _asserted(state, path, old, numbers(error))
            yield from _other_ranks(state, path, old, batch)
        if isinstance(old, Drawn):
            if "ambiguous" in text or "only one element" in text:
                yield put(state, path, Fixed(value=False))
            if (
                "integer" in text
                or "index" in text
                or "'Tensor' object cannot be interpreted" in text
            ):
                yield put(state, path, Fixed(2))
                yield put(state, path, replace(old, kind="int"))
            if "must be tuple" in text or "must be list" in text or "not iterable" in text:
                yield put(state, path, Several("list", (old, old)))
        elif isinstance(old, Fixed):
            yield put(state, path, Drawn((batch, FEATURES)))


def _keyword(error: KeyError) -> str:
    """Return the keyword argument that is asked for in vain, "" where it is something else."""
    key = _key(error)
    for traceback in _frames(error.__traceback__):
        code, values = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
        if code.co_name == "forward" and code.co_flags & inspect.CO_VARKEYWORDS:
            positional = bool(code.co_flags & inspect.CO_VARARGS)
            place = code.co_argcount + code.co_kwonlyargcount + positional
            given = values.get(code.co_varnames[place], {})
            return key if isinstance(key, str) and key.isidentifier() and key not in given else ""
    return ""


def _told(state: State, path: Path, old: Drawn, text: str) -> Iterator[dict[str, Value]]:
    """A message of the user's code that names a size of the input names the wanted one as well."""
    numbers = list(dict.fromkeys(int(n) for n in re.findall(r"(?<![\w.])\d{1,5}(?![\w.])", text)))
    for got in numbers:
        places = [i for i, size in enumerate(old.shape) if size == got and i not in old.batch]
        for wanted in numbers if places else ():
            if wanted not in (got, 0):
                sizes = tuple(wanted if i in places else s for i, s in enumerate(old.shape))
                yield put(state, path, replace(old, shape=sizes, guessed=False))


def _asserted(
    state: State, path: Path, old: Drawn, wanted: Sequence[int]
) -> Iterator[dict[str, Value]]:
    """What the user's code asserts may be the size of an image, or of one dimension."""
    rank = len(old.shape)
    groups = [range(2, rank)] if rank > 3 else []
    groups += [range(place, place + 1) for place in range(1, rank)]
    for number in wanted:
        for places in groups:
            sizes = tuple(number if i in places else s for i, s in enumerate(old.shape))
            if number > rank and sizes != old.shape:
                yield put(state, path, replace(old, shape=sizes, guessed=False))


def _other_ranks(state: State, path: Path, old: Value, batch: int) -> Iterator[dict[str, Value]]:
    """What the user's code asserts is mostly a rank or a kind."""
    for shape in (
        (batch, 3, IMAGE, IMAGE),
        (batch, LENGTH, FEATURES),
        (batch, FEATURES),
        (batch,),
    ):
        if not isinstance(old, Drawn) or len(shape) != len(old.shape):
            yield put(state, path, Drawn(shape))
    if isinstance(old, Drawn) and old.kind == "float":
        yield put(state, path, replace(old, kind="int"))


def _suspects(error: Exception, state: State, made: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the ways to the arguments that the failing line of the code speaks of, else to all."""
    places: dict[int, Path] = {}
    for name, value in state.items():
        for path in (p for p, _ in (*leaves(value, (name,)), *_wholes(value, (name,)))):
            places.setdefault(id(_look(made, path)), path)
    found: dict[Path, None] = {}
    owner = getattr(error, "obj", None)
    if owner is not None and id(owner) in places:
        found[places[id(owner)]] = None
    for frame in reversed(list(_frames(error.__traceback__))):
        for name in _mentioned(frame):
            held = frame.tb_frame.f_locals.get(name)
            if id(held) in places and not isinstance(held, (bool, int, float, type(None))):
                found[places[id(held)]] = None
        if found:
            break
    yield from found or dict.fromkeys((name,) for name in state)


def _wholes(value: Value, path: Path) -> Iterator[tuple[Path, Value]]:
    match value:
        case Several(items=items):
            yield path, value
            for i, item in enumerate(items):
                yield from _wholes(item, (*path, i))
        case Keyed(items=items):
            yield path, value
            for key, item in items:
                yield from _wholes(item, (*path, key))


def _look(made: Mapping[str, Any], path: Path) -> Any:
    found: Any = made[path[0]]
    for key in path[1:]:
        found = getattr(found, key) if isinstance(found, SimpleNamespace) else found[key]
    return found


def _frames(traceback: types.TracebackType | None) -> Iterable[types.TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _mentioned(traceback: types.TracebackType) -> Iterator[str]:
    """Yield the local names that the line under way reads."""
    code = traceback.tb_frame.f_code
    for start, line in _lines(code):
        if line == traceback.tb_lineno:
            argument = code.co_code[start + 1]
            if code.co_code[start] in _LOADS and argument < len(code.co_varnames):
                yield code.co_varnames[argument]


def _lines(code: types.CodeType) -> Iterator[tuple[int, int]]:
    for start, end, line in code.co_lines():
        if line is not None:
            for offset in range(start, end, 2):
                yield offset, line


def _load_instructions() -> frozenset[int]:
    import dis

    return frozenset(code for name, code in dis.opmap.items() if name.startswith("LOAD_FAST"))


_LOADS = _load_instructions()


def _key(error: Exception) -> Any:
    """Return the key or attribute that was asked for in vain."""
    if isinstance(error, KeyError) and error.args:
        return error.args[0]
    return None


def _with_attribute(
    state: State, path: Path, old: Value, name: str, batch: int
) -> Iterator[dict[str, Value]]:
    guess = item_named(name, batch)
    if isinstance(old, Keyed):
        yield put(state, path, replace(old.with_item(name, guess), attributes=True))
    elif isinstance(old, Drawn) and not hasattr(torch.Tensor, name):
        if name in ("items", "keys", "values", "get", "pop", "update"):
            yield put(state, path, Keyed(()))
        elif hasattr(str, name):
            yield put(state, path, Fixed("word"))
        elif name in ("append", "extend", "insert"):
            yield put(state, path, Several("list", (old, old)))
        else:
            yield put(state, path, Keyed(((name, guess),), attributes=True))
    elif isinstance(old, (Fixed, Several)):
        yield put(state, path, Drawn((batch, FEATURES)))


def part_of_sample(name: str) -> Value:
    """Return a first guess of what a data set tells of one image under a name."""
    if "box" in name:
        return Drawn((OBJECTS, 4), batch=(), rising=True)
    if "mask" in name:
        return Drawn((OBJECTS, IMAGE, IMAGE), "int", batch=())
    if "point" in name:
        return Drawn((OBJECTS, 17, 3), batch=())
    return Drawn((OBJECTS,), "int", batch=())


def item_named(name: Any, batch: int) -> Value:
    """Return a first guess of what a dict or an object holds under a name."""
    from nnlint.linter.trace.hints import Facts, alternatives

    if not isinstance(name, str) or not name.isidentifier():
        return Drawn((batch, FEATURES))
    parameter = inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return alternatives(parameter, Facts(batch))[0]


def _with_key(
    state: State, path: Path, old: Value, key: Any, batch: int
) -> Iterator[dict[str, Value]]:
    if isinstance(old, Keyed):
        owner = at(state, path[:-1]) if len(path) > 1 else old
        if isinstance(owner, Several) and owner.samples:
            changed = old.with_item(key, part_of_sample(str(key)))
            yield put(state, path[:-1], replace(owner, items=(changed,) * len(owner.items)))
        else:
            yield put(state, path, old.with_item(key, item_named(key, batch)))
    elif isinstance(old, Drawn):
        yield put(state, path, Keyed(((key, item_named(key, batch)),)))


def _with_count(
    state: State, path: Path, old: Value, count: int, batch: int
) -> Iterator[dict[str, Value]]:
    if isinstance(old, Drawn):
        if len(old.shape) != count:
            shape = _with_rank(old.shape or (batch,), count)
            yield put(state, path, replace(old, shape=shape))
        yield put(state, path, Several("tuple", (old,) * count))
    elif isinstance(old, (Several, Fixed)):
        item = old.items[0] if isinstance(old, Several) and old.items else Drawn((batch, FEATURES))
        yield put(state, path, Several("tuple", (item,) * count))
