"""Blobs that arrive on a stream, several in a message or one in many messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import TypeVar

import grpc

from nnlint.probe_service.server import requests
from nnlint.probe_service.server.blobs import Key
from nnlint.probe_service.server.refusals import RefusedError, Violation
from nnlint.probe_service.server.settings import Limits
from nnlint.probe_service.server.store import ContentError, Lease, Store, StoreFullError, Upload
from nnlint.protos.v1 import probe_service_pb2

# A client that sends nothing holds room in the store and an open file.
_IDLE_SECONDS = 60.0
_RETRY_SECONDS = 30.0

T = TypeVar("T")


async def receive(
    messages: AsyncIterator[probe_service_pb2.UploadBlobsRequest],
    store: Store,
    limits: Limits,
    threads: Executor,
) -> int:
    """Store the blobs of a stream and return how many there were.

    One message is written by a thread while the next arrives. What is stored stays pinned until
    the end, so that a model larger than the store is refused and does not push itself out.

    Raises:
        RefusedError: See UploadBlobs.
    """
    receiver = _Receiver(store, limits)
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] | None = None
    try:
        while (message := await _next(messages)) is not None:
            if writing is not None:
                await writing
            writing = loop.run_in_executor(threads, receiver.take, message)
        if writing is not None:
            await writing
        receiver.finish()
        return receiver.stored
    finally:
        try:
            if writing is not None:
                with contextlib.suppress(Exception):
                    await finished(writing)
        finally:
            await finished(loop.run_in_executor(threads, receiver.close))


async def finished(future: asyncio.Future[T]) -> T:
    """Wait for a thread even when this task is cancelled meanwhile; then raise that."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()


async def _next(
    messages: AsyncIterator[probe_service_pb2.UploadBlobsRequest],
) -> probe_service_pb2.UploadBlobsRequest | None:
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            return await anext(messages, None)
    except TimeoutError:
        raise RefusedError(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"nothing has arrived for {_IDLE_SECONDS:.0f} seconds",
            "IDLE",
        ) from None


class _Receiver:
    """The state between two messages. Used by one thread at a time."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.stored = 0
        self._store = store
        self._limits = limits
        self._lease = Lease()
        self._upload: Upload | None = None

    def take(self, message: probe_service_pb2.UploadBlobsRequest) -> None:
        """Write the pieces of one message."""
        for number, part in enumerate(message.parts):
            try:
                self._take_part(part, f"parts[{number}]")
            except ContentError as error:
                text = str(error)
                raise RefusedError.invalid([Violation(f"parts[{number}]", text)]) from error
            except StoreFullError as error:
                raise RefusedError.exhausted(
                    str(error), "STORE_FULL", retry_seconds=_RETRY_SECONDS
                ) from error

    def finish(self) -> None:
        """Check that the stream did not end within a blob."""
        if self._upload is not None:
            text = f"the stream ended within blob {self._upload.key}"
            raise RefusedError.invalid([Violation("parts", text)])

    def close(self) -> None:
        """Drop what is incomplete and let go of the rest."""
        if self._upload is not None:
            self._upload.abort()
            self._upload = None
        self._store.release(self._lease)

    def _take_part(self, part: probe_service_pb2.UploadBlobsRequest.Part, field: str) -> None:
        if part.HasField("digest"):
            self._begin(Key.of(part.digest), field)
        if self._upload is None:
            text = "the first piece of a blob has a digest"
            raise RefusedError.invalid([Violation(f"{field}.digest", text)])
        self._upload.write(part.data)
        if part.last:
            self._upload.commit()
            self._upload = None
            self.stored += 1

    def _begin(self, key: Key, field: str) -> None:
        violations = list(requests.digest_violations(key, f"{field}.digest"))
        if self._upload is not None:
            text = f"blob {self._upload.key} has had no last piece"
            violations.append(Violation(f"{field}.digest", text))
        if violations:
            raise RefusedError.invalid(violations)
        if key.size > self._limits.blob_bytes:
            raise RefusedError(
                grpc.StatusCode.OUT_OF_RANGE,
                f"a blob of {key.size} bytes; at most {self._limits.blob_bytes}",
                "BLOB_TOO_LARGE",
            )
        self._upload = self._store.begin(key, self._lease)
