"""The seam between daemons, remote leg: a channel whose calls carry ids, deadline and token, and
whose failures are the same error classes that the other daemon raised.

The local leg (`local.py`) is a channel with the same behaviour and no socket. A daemon gets stubs
over either and cannot tell which.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from services.runtime.auth import AUTHORIZATION_KEY
from services.runtime.errors import STATUS_KEY, ServiceError, from_status
from services.runtime.guard import HARD_MESSAGE_BYTES
from services.runtime.telemetry import INTERNAL_KEY, REQUEST_ID_KEY, current_call, new_id

Metadata = tuple[tuple[str, str | bytes], ...]

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", HARD_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.service_config", "{}"),
    # A daemon that restarts is back within a second; the default back-off would hide it for longer.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What every call over one channel carries."""

    token: str | None = None
    internal: bool = True
    fixed: Metadata = field(init=False)

    def __post_init__(self) -> None:
        fixed: Metadata = ((AUTHORIZATION_KEY, f"Bearer {self.token}"),) if self.token else ()
        object.__setattr__(self, "fixed", fixed)

    def metadata(self, given: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
        """The metadata of one call: ids of the call that runs, the token, and what the caller gave."""
        extra = tuple(given) if given else ()
        call = current_call()
        if call is not None:
            return (*call.outgoing, *self.fixed, *extra)
        if self.internal:
            return ((REQUEST_ID_KEY, new_id()), (INTERNAL_KEY, "1"), *self.fixed, *extra)
        return (*self.fixed, *extra)

    def timeout(self, given: float | None) -> float | None:
        """The seconds one call may take: never more than the running call has left."""
        call = current_call()
        remaining = call.remaining() if call is not None else None
        if given is None or remaining is None:
            return given if remaining is None else remaining
        return min(given, remaining)


def connect_remote(address: str, *, token: str | None = None) -> aio.Channel:
    """Opens a client's channel to `host:port`. Calls raise ServiceError subclasses instead of AioRpcError."""
    return RemoteChannel(aio.insecure_channel(address, options=CHANNEL_OPTIONS), Outgoing(token=token, internal=False))


def connect_internal(address: str, *, token: str | None = None) -> aio.Channel:
    """Opens a channel between two daemons, whose calls say that they come from inside the mesh."""
    return RemoteChannel(aio.insecure_channel(address, options=CHANNEL_OPTIONS), Outgoing(token=token, internal=True))


class RemoteChannel(aio.Channel):
    """Wraps a grpc.aio channel. grpc's own client interceptors cost a task for each call; this does not."""

    def __init__(self, inner: aio.Channel, outgoing: Outgoing) -> None:
        self._inner = inner
        self._outgoing = outgoing

    async def __aenter__(self) -> RemoteChannel:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _Callable(self._inner.unary_unary(*args, **kwargs), self._outgoing, UnaryCall)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Callable(self._inner.unary_stream(*args, **kwargs), self._outgoing, StreamCall)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _Callable(self._inner.stream_unary(*args, **kwargs), self._outgoing, UnaryCall)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Callable(self._inner.stream_stream(*args, **kwargs), self._outgoing, StreamCall)


class _Callable:
    """A multi-callable: starts a call with the channel's metadata and deadline."""

    def __init__(self, inner: Any, outgoing: Outgoing, call_class: type[_RemoteCall]) -> None:
        self._inner = inner
        self._outgoing = outgoing
        self._call_class = call_class

    def __call__(
        self,
        request: Any | AsyncIterable[Any],
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] | None = None,
    ) -> _RemoteCall:
        outgoing = self._outgoing
        call = self._inner(request, timeout=outgoing.timeout(timeout), metadata=outgoing.metadata(metadata))
        return self._call_class(call)


class _RemoteCall:
    """What both kinds of answer share."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> bool:
        """Ends the call; the other side's task is cancelled."""
        return bool(self._call.cancel())

    async def initial_metadata(self) -> dict[str, str | bytes]:
        """The metadata that came before the first message."""
        return dict(await _translated(self._call.initial_metadata()) or ())

    async def trailing_metadata(self) -> dict[str, str | bytes]:
        """The metadata that came after the last message."""
        return dict(await _translated(self._call.trailing_metadata()) or ())


class UnaryCall(_RemoteCall):
    """Awaitable: the one answer."""

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._call.__await__())
        except aio.AioRpcError as error:
            raise to_service_error(error) from None


class StreamCall(_RemoteCall):
    """Asynchronously iterable: the answers. An abandoned iteration cancels the call."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except aio.AioRpcError as error:
            raise to_service_error(error) from None
        finally:
            self._call.cancel()


async def _translated(awaitable: Any) -> Any:
    try:
        return await awaitable
    except aio.AioRpcError as error:
        raise to_service_error(error) from None


def to_service_error(error: aio.AioRpcError) -> ServiceError:
    """The error class the other side raised, rebuilt."""
    details: bytes | None = None
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            details = value
    return from_status(error.code(), error.details() or "", details)
