"""Random messages of a schema, well-formed and not, without any knowledge of what they mean."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

if TYPE_CHECKING:
    from google.protobuf.message import Message

INTEGERS = [0, 1, 2, 3, 7, -1, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63)]
REALS = [0.0, 1.0, -1.0, 1e-308, 1e308, float("inf"), float("-inf"), float("nan"), 0.5, 300.0]
TEXTS = [
    "",
    "aten.relu.default",
    "aten.from_file.default",
    "aten.save.default",
    "torch.os.system",
    "../../../../etc/passwd",
    "/dev/zero",
    "__import__('os').system('id')",
    "mean",
    "\x00",
    "ünï",
    "a" * 5000,
]
_UNSIGNED = {
    FieldDescriptor.TYPE_UINT32: 32,
    FieldDescriptor.TYPE_UINT64: 64,
}
_SIGNED = {
    FieldDescriptor.TYPE_INT32: 32,
    FieldDescriptor.TYPE_INT64: 64,
    FieldDescriptor.TYPE_SINT32: 32,
    FieldDescriptor.TYPE_SINT64: 64,
}


def fill(message: Message, chance: random.Random, depth: int = 0) -> Message:
    """Set some of the fields to anything that their type can hold."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3 or depth > 5:
            continue
        if field.is_repeated:
            for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
                _add(message, field, chance, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            fill(getattr(message, field.name), chance, depth + 1)
        else:
            setattr(message, field.name, _value(field, chance))
    return message


def _add(message: Message, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    values: Any = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        fill(values.add(), chance, depth + 1)
    else:
        values.append(_value(field, chance))


def _value(field: FieldDescriptor, chance: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return chance.choice(REALS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.choice([0, 1, 16, 16, 31, 32, 32, 33, 5000]))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice([0, 1, 2, 3, 4, 5, 11, 99])
    bits = _UNSIGNED.get(field.type)
    if bits is not None:
        return chance.choice(INTEGERS) % (1 << bits)
    bits = _SIGNED[field.type]
    return (chance.choice(INTEGERS) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def spoil(data: bytes, chance: random.Random) -> bytes:
    """Cut, flip, repeat or replace some of the bytes; often nothing."""
    what = chance.random()
    if what < 0.4:
        return data
    if what < 0.55:
        return data[: chance.randrange(len(data) + 1)]
    if what < 0.7:
        return data + chance.randbytes(chance.randrange(1, 20))
    if what < 0.75:
        return chance.randbytes(chance.randrange(200))
    spoilt = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        if spoilt:
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt)


def vary(message: Message, chance: random.Random) -> Message:
    """Change a few fields anywhere in a message that makes sense, in place."""
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        target: Message = message
        while True:
            present = [f for f, _ in target.ListFields() if f.type == FieldDescriptor.TYPE_MESSAGE]
            if not present or chance.random() < 0.2:
                break
            field = chance.choice(present)
            inner: Any = getattr(target, field.name)
            target = chance.choice(list(inner)) if field.is_repeated else inner
        _change(target, chance)
    return message


def _change(target: Message, chance: random.Random) -> None:
    descriptor: Descriptor = target.DESCRIPTOR
    if not descriptor.fields:
        return
    field = chance.choice(list(descriptor.fields))
    if chance.random() < 0.3:
        target.ClearField(field.name)
    elif field.is_repeated:
        _add(target, field, chance, 4)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        fill(getattr(target, field.name), chance, 4)
    else:
        setattr(target, field.name, _value(field, chance))
