"""Length-prefixed protobuf messages between the front, the keepers and the workers."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

# Events are passed on to clients, whose messages end at four MiB by default.
LIMIT = (4 << 20) - (64 << 10)
_SIZE = struct.Struct(">I")

M = TypeVar("M", bound=Message)


class FrameError(Exception):
    """The other side does not keep to the protocol."""


def encode(message: Message) -> bytes:
    """Return a message as it goes over the socket."""
    data = message.SerializeToString()
    return _SIZE.pack(len(data)) + data


def receive(connection: socket.socket, kind: type[M]) -> M | None:
    """Read one message from a blocking socket; None where the other side has closed it.

    Raises:
        FrameError: The message is too long or malformed.
    """
    header = _receive(connection, _SIZE.size)
    if header is None:
        return None
    data = _receive(connection, _length(header))
    return None if data is None else decode(data, kind)


async def read(reader: asyncio.StreamReader, kind: type[M]) -> M | None:
    """Read one message from a stream; None at its end, even within a message.

    Raises:
        FrameError: The message is too long or malformed.
    """
    try:
        header = await reader.readexactly(_SIZE.size)
        data = await reader.readexactly(_length(header))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return decode(data, kind)


class Buffer:
    """Puts together the one message that arrives on a non-blocking socket."""

    def __init__(self) -> None:
        self._data = b""

    def add(self, data: bytes, kind: type[M]) -> M | None:
        """Take in what was read; return the message once it is complete.

        Raises:
            FrameError: The message is too long or malformed.
        """
        self._data += data
        if len(self._data) < _SIZE.size:
            return None
        length = _length(self._data[: _SIZE.size])
        if len(self._data) < _SIZE.size + length:
            return None
        return decode(self._data[_SIZE.size : _SIZE.size + length], kind)


def decode(data: bytes, kind: type[M]) -> M:
    """Parse a message.

    Raises:
        FrameError: It is malformed.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise FrameError(f"malformed {kind.DESCRIPTOR.name}") from error


def _length(header: bytes) -> int:
    (length,) = _SIZE.unpack(header)
    if length > LIMIT:
        raise FrameError(f"a message of {length} bytes")
    return int(length)


def _receive(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            return None
        data += piece
    return data
