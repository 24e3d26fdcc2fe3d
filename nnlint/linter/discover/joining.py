"""What a value may be after branches of which only one ran."""

from __future__ import annotations

import dataclasses

from nnlint.linter.discover.values import (
    MAX_DEPTH,
    MAX_OPTIONS,
    NOTHING,
    Bound,
    ClassRef,
    Constant,
    Either,
    Function,
    Made,
    Opaque,
    Output,
    Ref,
    Sequence,
    Value,
    options,
)

_MAX_NUMBERS = 4


def _same(left: Value, right: Value) -> bool:
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, Constant) and isinstance(right, Constant):
        if type(left.value) is not type(right.value):
            return False
        return isinstance(left.value, str | int | bool | None) and bool(left.value == right.value)
    if isinstance(left, Opaque) and isinstance(right, Opaque):
        return left == right
    if isinstance(left, Ref) and isinstance(right, Ref):
        return left.dotted == right.dotted
    if isinstance(left, ClassRef) and isinstance(right, ClassRef):
        return left.info is right.info
    if isinstance(left, Function) and isinstance(right, Function):
        return left.node is right.node
    if isinstance(left, Bound) and isinstance(right, Bound):
        return left.me is right.me and left.function.node is right.function.node
    return False


def _is_number(value: Value) -> bool:
    return isinstance(value, Constant) and isinstance(value.value, int | float)


def _alternatives(left: Output, right: Output) -> Output:
    """Join two outputs of which only one is there: where they differ, neither is certain."""
    shared = [flow for flow in right.flows if any(flow is known for known in left.flows)]
    flows = list(shared)
    for side, other in ((left, right), (right, left)):
        ways = {(id(flow.made.root), flow.way) for flow in other.flows}
        roots = {number for number, _ in ways}
        for flow in side.flows:
            if any(flow is known for known in shared):
                continue
            number = id(flow.made.root)
            certain = flow.certain and (number not in roots or (number, flow.way) in ways)
            flows.append(dataclasses.replace(flow, certain=certain))
    return Output(tuple(flows[:MAX_OPTIONS]))


def join(left: Value, right: Value, depth: int = 0) -> Value:
    """Return what may be either of two values."""
    if _same(left, right):
        return left
    if isinstance(left, Output) and isinstance(right, Output):
        return _alternatives(left, right)
    if isinstance(left, Output) and isinstance(right, Opaque | Constant):
        return left
    if isinstance(right, Output) and isinstance(left, Opaque | Constant):
        return right
    if (
        isinstance(left, Sequence)
        and isinstance(right, Sequence)
        and len(left.items) == len(right.items)
        and depth < MAX_DEPTH
    ):
        pairs = zip(left.items, right.items, strict=True)
        items = tuple(join(one, other, depth + 1) for one, other in pairs)
        return Sequence(items, left.kind, left.open or right.open)
    merged = list(options(left))
    numbers = sum(map(_is_number, merged))
    for option in options(right):
        if _is_number(option):
            # Which number it is decides over no loss; the first ones are the usual ones.
            numbers += 1
            if numbers > _MAX_NUMBERS:
                continue
        if any(_same(option, known) for known in merged):
            continue
        at = next((at for at, known in enumerate(merged) if isinstance(known, Output)), None)
        known_output = merged[at] if at is not None else None
        if at is not None and isinstance(known_output, Output) and isinstance(option, Output):
            merged[at] = _alternatives(known_output, option)
        else:
            merged.append(option)
    if len(merged) == 1:
        return merged[0]
    return Either(tuple(merged if len(merged) <= MAX_OPTIONS else _fewer(merged)))


def _fewer(values: list[Value]) -> list[Value]:
    """Return one object of each class among too many values, and the rest as far as it fits."""
    first: dict[object, Value] = {}
    for value in values:
        kind = (value.info or value.dotted, value.trail) if isinstance(value, Made) else id(value)
        first.setdefault(kind, value)
    return list(first.values())[:MAX_OPTIONS]


def join_all(values: tuple[Value, ...] | list[Value]) -> Value:
    """Return what may be any of some values; nothing known when there are none."""
    if not values:
        return NOTHING
    result = values[0]
    for value in values[1:]:
        result = join(result, value)
    return result
