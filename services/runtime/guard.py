"""What stands before and after every method of every daemon, on both legs.

Once, at registration, each handler is wrapped: authorise, limit the size, parse, check the contract's
rules, run, and turn whatever is raised into one error shape. Handlers get raw bytes from gRPC, so
that a denied or oversized call is never parsed, and bad bytes never show a Python name (X3, X4, X7).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from lakehouse.options.v1 import options_pb2

from services.runtime import fields
from services.runtime.auth import Policy
from services.runtime.errors import (
    STATUS_KEY,
    Internal,
    MalformedMessage,
    ServiceError,
    TooLarge,
    Unimplemented,
    to_status,
    trailers,
)
from services.runtime.telemetry import TRACE_ID_KEY, Call, current_call, enter_call

log = logging.getLogger(__name__)

DEFAULT_REQUEST_BYTES = 4 << 20
HARD_MESSAGE_BYTES = 64 << 20
"""The core's own limit, above every limit of a method."""

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class MessageTooLarge(TooLarge):
    """A request is larger than its method allows."""

    reason = "MESSAGE_TOO_LARGE"


class NotInThisRelease(Unimplemented):
    """The contract has the method, this release does not."""

    reason = "RPC_NOT_AVAILABLE"


@dataclass(frozen=True, slots=True)
class ErrorStatus(grpc.Status):
    """What `abort_with_status` sends."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Method:
    """All that the guard needs to know of one method."""

    path: str
    parse: Callable[[bytes], Message] | None
    max_request_bytes: int
    public: bool

    @classmethod
    def of(cls, path: str, pool: DescriptorPool, parse: Any) -> Method:
        """Reads the method's options from its descriptor."""
        service, _, name = path[1:].partition("/")
        descriptor: MethodDescriptor = pool.FindServiceByName(service).methods_by_name[name]
        rule = descriptor.GetOptions().Extensions[options_pb2.method]
        return cls(path, parse, rule.max_request_bytes or DEFAULT_REQUEST_BYTES, rule.public)


class Collector:
    """Stands in for a server while generated code registers a servicer, and keeps the handlers."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Part of grpc's server interface; the registered handlers say the same."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Keeps the handlers of a service."""
        self.services[service] = handlers


class Guard:
    """Wraps handlers with the mesh's rules."""

    def __init__(self, policy: Policy, pool: DescriptorPool) -> None:
        self._policy = policy
        self._pool = pool

    def wrap(self, services: Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]) -> dict[str, Any]:
        """Returns guarded handlers by full path (`/package.Service/Method`)."""
        wrapped = {}
        for service, handlers in services.items():
            for name, handler in handlers.items():
                path = f"/{service}/{name}"
                method = Method.of(path, self._pool, handler.request_deserializer)
                wrapped[path] = self._wrap_one(method, handler)
        return wrapped

    def _wrap_one(self, method: Method, handler: Any) -> Any:
        serializer = _serialize if handler.response_serializer else None
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if behaviour.__module__.endswith("_pb2_grpc"):
            # The generated base class answers: this daemon does not implement the method.
            behaviour = _unavailable(method, bool(handler.response_streaming))
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream_stream(method, behaviour), response_serializer=serializer
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._stream_unary(method, behaviour), response_serializer=serializer
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._unary_stream(method, behaviour), response_serializer=serializer
            )
        return grpc.unary_unary_rpc_method_handler(self._unary_unary(method, behaviour), response_serializer=serializer)

    def _enter(self, method: Method, context: Context) -> Call:
        """Makes the call current and authorises it."""
        metadata = dict(context.invocation_metadata())
        call = Call(method.path, metadata, context.time_remaining())
        enter_call(call)
        if TRACE_ID_KEY in metadata:
            context.set_trailing_metadata(((TRACE_ID_KEY, call.trace_id),))
        if not method.public:
            self._policy.authorize(metadata, context.peer())
        return call

    def _unary_unary(self, method: Method, behaviour: Any) -> Any:
        async def handle(data: bytes, context: Context) -> Any:
            try:
                call = self._enter(method, context)
                return await behaviour(_parse(method, data, call.bucket), context)
            except (Exception, asyncio.CancelledError) as error:
                await _fail(error, context)

        return handle

    def _unary_stream(self, method: Method, behaviour: Any) -> Any:
        async def handle(data: bytes, context: Context) -> AsyncIterator[Any]:
            try:
                call = self._enter(method, context)
                async with aclosing(behaviour(_parse(method, data, call.bucket), context)) as responses:
                    async for response in responses:
                        yield response
            except (Exception, asyncio.CancelledError) as error:
                await _fail(error, context)

        return handle

    def _stream_unary(self, method: Method, behaviour: Any) -> Any:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> Any:
            try:
                call = self._enter(method, context)
                async with aclosing(_parse_stream(method, requests, call.bucket, context)) as messages:
                    return await behaviour(messages, context)
            except (Exception, asyncio.CancelledError) as error:
                await _fail(error, context)

        return handle

    def _stream_stream(self, method: Method, behaviour: Any) -> Any:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            try:
                call = self._enter(method, context)
                async with aclosing(_parse_stream(method, requests, call.bucket, None)) as messages:
                    async for response in behaviour(messages, context):
                        yield response
            except (Exception, asyncio.CancelledError) as error:
                await _fail(error, context)

        return handle


def _serialize(message: Message) -> bytes:
    # Not the method of one class: an answer may be a message that stands for it (`encoded.py`).
    return message.SerializeToString()


def _parse(method: Method, data: bytes, bucket: str, check: bool = True) -> Any:
    if len(data) > method.max_request_bytes:
        message = f"the request has {len(data)} bytes, {method.path} takes at most {method.max_request_bytes}"
        raise MessageTooLarge(message, size=len(data), limit=method.max_request_bytes)
    try:
        request: Any = method.parse(data) if method.parse else data
    except (DecodeError, UnicodeError, ValueError) as error:
        raise MalformedMessage(f"the request is no {method.path} message: its bytes cannot be read") from error
    if check:
        if bucket and "bucket" in request.DESCRIPTOR.fields_by_name and not request.bucket:
            request.bucket = bucket
        fields.check(request)
    return request


async def _parse_stream(
    method: Method, requests: AsyncIterator[bytes], bucket: str, context: Context | None
) -> AsyncGenerator[Any, None]:
    first = True
    async for data in requests:
        # Fields besides the payload count in the first message only.
        yield _parse(method, data, bucket, check=first)
        first = False
    if context is not None:
        # grpc.aio ends the requests of a caller that went away as it ends those of one that is done, and a
        # cut upload would pass for a whole one. Sending tells them apart: to nobody it raises CancelledError.
        await context.send_initial_metadata(())


def _unavailable(method: Method, streaming: bool) -> Any:
    error = NotInThisRelease(f"{method.path} is not available in this release", method=method.path)

    async def answer(request: Any, context: Context) -> Any:
        raise error

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        raise error
        yield  # makes this an async generator

    return stream if streaming else answer


async def _fail(error: BaseException, context: Context) -> None:
    """Ends the call with the error's status; never returns. What the caller caused or we mended is no log line."""
    if isinstance(error, asyncio.CancelledError | grpc.aio.AbortError):
        raise error
    if not isinstance(error, ServiceError):
        error = _internal(error)
    pairs: tuple[tuple[str, str | bytes], ...] = ((STATUS_KEY, to_status(error).SerializeToString()),)
    status = ErrorStatus(error.code, error.message, pairs + trailers(error))
    await context.abort_with_status(status)


def _internal(error: BaseException) -> Internal:
    log.error("unexpected error", exc_info=error)
    call = current_call()
    request_id = call.request_id if call else "unknown"
    return Internal(f"internal error; the log has it under request id {request_id}", request_id=request_id)
