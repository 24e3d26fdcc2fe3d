"""What stands before every call: the token, drain, and words for errors that nobody foresaw."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from nnlint.probe_service.server.metrics import Metrics
from nnlint.probe_service.server.refusals import RefusedError, Violation

_LOG = logging.getLogger(__name__)
# Load balancers and orchestrators ask this without a token.
_OPEN = frozenset({"/grpc.health.v1.Health/Check"})
_SERVICE = "/nnlint.protos.v1.ProbeService/"
# What still works while the server drains, for the probes that run.
_WHILE_DRAINING = frozenset({*_OPEN, f"{_SERVICE}AttachProbe", f"{_SERVICE}CancelProbe"})
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

T = TypeVar("T")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def client_of(context: Context) -> str:
    """Return who calls: by token, by certificate, or by address."""
    token = _token(context.invocation_metadata())
    if token:
        return f"token {hashlib.sha256(token).hexdigest()[:8]}"
    for name in (context.auth_context() or {}).get("x509_common_name", ()):
        return f"certificate {name.decode(errors='replace')}"
    peer = context.peer()
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


def _token(metadata: Any) -> bytes:
    for name, value in metadata or ():
        if name.lower() == "authorization":
            text = value.encode() if isinstance(value, str) else bytes(value)
            scheme, _, token = text.partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip()
    return b""


class Guard(grpc.aio.ServerInterceptor):
    """Admits calls, counts them, and turns exceptions into statuses without their text.

    Attributes:
        draining: Whether new work is refused.
        calls: Calls under way, without health checks.
    """

    def __init__(self, tokens: tuple[str, ...], metrics: Metrics) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._metrics = metrics
        self.draining = False
        self.calls = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        name = str(handler_call_details.method)

        async def call(request: Any, context: Context) -> Any:
            return await self._call(name, handler, request, context)

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[bool(handler.request_streaming), bool(handler.response_streaming)]
        # Requests arrive as bytes: a malformed one is answered with words of ours.
        return make(call, None, handler.response_serializer)

    async def _call(
        self,
        name: str,
        handler: Handler,
        request: Any,
        context: Context,
    ) -> Any:
        self._metrics.calls_started.labels(name).inc()
        started, code = time.monotonic(), "OK"
        counted = name not in _OPEN
        self.calls += counted
        try:
            self._admit(name, context)
            decode = handler.request_deserializer
            assert decode is not None
            if handler.request_streaming:
                message: Any = _decode_all(request, decode)
            else:
                message = _decode(request, decode)
            return await _answer(_behaviour(handler), message, context)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except RefusedError as error:
            code = error.code.name
            await context.abort(error.code, error.message, error.metadata())
        except grpc.aio.AbortError:
            code = _name_of(context.code())
            raise
        except Exception:  # noqa: BLE001 - the last line of defence: no text of ours for clients
            code = "INTERNAL"
            _LOG.exception("a call failed", extra={"method": name, "trace": _trace(context)})
            refusal = RefusedError(grpc.StatusCode.INTERNAL, "internal error", "INTERNAL")
            await context.abort(refusal.code, refusal.message, refusal.metadata())
        finally:
            self.calls -= counted
            seconds = time.monotonic() - started
            self._metrics.calls_handled.labels(name, code).inc()
            self._metrics.call_seconds.labels(name).observe(seconds)
            if counted:
                extra = {
                    "method": name.rpartition("/")[2],
                    "code": code,
                    "client": client_of(context),
                    "seconds": round(seconds, 4),
                    "trace": _trace(context),
                }
                _LOG.info("call", extra=extra)

    def _admit(self, name: str, context: Context) -> None:
        if self._tokens and name not in _OPEN:
            given = _token(context.invocation_metadata())
            # All of them, so that time does not tell which one it is.
            if not sum(hmac.compare_digest(given, token) for token in self._tokens):
                raise RefusedError(
                    grpc.StatusCode.UNAUTHENTICATED, "missing or wrong token", "UNAUTHENTICATED"
                )
        if self.draining and name not in _WHILE_DRAINING:
            raise RefusedError.unavailable("the server is being stopped", "DRAINING")


def _behaviour(handler: Handler) -> Callable[[Any, Context], Any]:
    behaviour: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return cast("Callable[[Any, Context], Any]", behaviour)


async def _answer(behaviour: Callable[[Any, Context], Any], message: Any, context: Context) -> Any:
    if inspect.isasyncgenfunction(behaviour):
        async for response in behaviour(message, context):
            await context.write(response)
        return None
    return await behaviour(message, context)


def _decode(data: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(data)
    except DecodeError as error:
        text = "not the message that this method takes"
        raise RefusedError.invalid([Violation("request", text)]) from error


async def _decode_all(
    stream: AsyncIterator[bytes], decode: Callable[[bytes], T]
) -> AsyncIterator[T]:
    async for data in stream:
        yield _decode(data, decode)


def _name_of(code: Any) -> str:
    if isinstance(code, grpc.StatusCode):
        return code.name
    for each in grpc.StatusCode:
        if each.value[0] == code:
            return each.name
    return "UNKNOWN"


def _trace(context: Context) -> str:
    """Return the W3C trace context that came with a call, where it is well-formed."""
    for name, value in context.invocation_metadata() or ():
        if name == "traceparent" and isinstance(value, str) and _TRACE.fullmatch(value):
            return value
    return ""
