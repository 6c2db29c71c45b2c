"""Both legs of the seam behave the same: the parity list, through a servicer of the real storage contract."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from grpc import aio

from lakehouse.storage.v1 import storage_pb2 as pb
from lakehouse.storage.v1.storage_pb2_grpc import (
    StorageServiceServicer,
    StorageServiceStub,
    add_StorageServiceServicer_to_server,
)

from services.runtime.auth import AuthConfig
from services.runtime.connect import connect_internal
from services.runtime.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    NotFound,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)
from services.runtime.fields import InvalidField, MissingField
from services.runtime.guard import MessageTooLarge
from services.runtime.local import LocalChannel
from services.runtime.serve import DaemonServer, guarded
from services.runtime.telemetry import current_call

SERVICE = "lakehouse.storage.v1.StorageService"

Connect = Callable[[StorageServiceServicer], Awaitable[StorageServiceStub]]


class ObjectMissing(NotFound):
    """A reason of this test's own."""

    reason = "TEST_OBJECT_MISSING"


@pytest.fixture(params=["local", "remote"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Serves a servicer and returns a stub for it, over either leg."""
    servers: list[DaemonServer] = []
    channels: list[aio.Channel] = []

    async def start(servicer: StorageServiceServicer) -> StorageServiceStub:
        auth = AuthConfig()
        handlers = guarded(lambda server: add_StorageServiceServicer_to_server(servicer, server), auth)
        if request.param == "local":
            return StorageServiceStub(LocalChannel(handlers))
        server = DaemonServer(SERVICE, handlers, auth=auth, instance_id="test")
        servers.append(server)
        port = await server.start("127.0.0.1", 0)
        channels.append(connect_internal(f"127.0.0.1:{port}"))
        return StorageServiceStub(channels[0])

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(grace=0)


async def test_an_answer_arrives(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            return pb.StatObjectResponse(object=pb.ObjectInfo(key=request.key, size=3))

    stub = await connect(Servicer())
    response = await stub.StatObject(pb.StatObjectRequest(key="a"))
    assert (response.object.key, response.object.size) == ("a", 3)


async def test_messages_are_never_shared(connect: Connect) -> None:
    kept: list[Any] = []

    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            request.key = "changed"
            kept.append(pb.StatObjectResponse(object=pb.ObjectInfo(key="kept")))
            return kept[0]

    stub = await connect(Servicer())
    request = pb.StatObjectRequest(key="a")
    response = await stub.StatObject(request)
    response.object.key = "mine"
    assert (request.key, kept[0].object.key) == ("a", "kept")


async def test_an_error_arrives_as_the_class_that_was_raised(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            raise ObjectMissing("gone", violations=[Violation("key", "is gone")], key=request.key)

    stub = await connect(Servicer())
    with pytest.raises(ObjectMissing) as caught:
        await stub.StatObject(pb.StatObjectRequest(key="a"))
    assert caught.value.metadata == {"key": "a"}
    assert caught.value.violations == (Violation("key", "is gone"),)


async def test_an_error_of_each_streaming_kind_arrives_as_its_class(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def GetObject(self, request: Any, context: Any) -> AsyncIterator[Any]:
            yield pb.GetObjectResponse(object=pb.ObjectInfo(key="a"))
            raise ObjectMissing("gone", key="a")

        async def PutObject(self, requests: Any, context: Any) -> Any:
            async for _ in requests:
                raise AlreadyExists("there", key="a")

    stub = await connect(Servicer())
    seen = []
    with pytest.raises(ObjectMissing):
        async for piece in stub.GetObject(pb.GetObjectRequest(key="a")):
            seen.append(piece.object.key)
    assert seen == ["a"]
    with pytest.raises(AlreadyExists):
        await stub.PutObject(uploads(b"x"))


async def test_an_unexpected_exception_shows_nothing_but_a_request_id(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            raise KeyError("secret detail")

    stub = await connect(Servicer())
    with pytest.raises(Internal) as caught:
        await stub.StatObject(pb.StatObjectRequest(key="a"))
    assert "secret" not in caught.value.message
    assert caught.value.metadata["request_id"]


async def test_a_method_of_no_release_is_unimplemented(connect: Connect) -> None:
    stub = await connect(StorageServiceServicer())
    with pytest.raises(Unimplemented) as caught:
        await stub.StatObject(pb.StatObjectRequest(key="a"))
    assert caught.value.reason == "RPC_NOT_AVAILABLE"
    with pytest.raises(Unimplemented):
        async for _ in stub.GetObject(pb.GetObjectRequest(key="a")):
            pass


async def test_the_contract_is_checked_before_the_method(connect: Connect) -> None:
    stub = await connect(StorageServiceServicer())
    with pytest.raises(MissingField) as missing:
        await stub.StatObject(pb.StatObjectRequest())
    assert missing.value.violations == (Violation("key", "is required"),)
    with pytest.raises(InvalidField):
        await stub.StatObject(pb.StatObjectRequest(key="../etc"))


async def test_a_request_over_the_methods_limit_is_refused(connect: Connect) -> None:
    stub = await connect(StorageServiceServicer())
    with pytest.raises(MessageTooLarge) as caught:
        await stub.ListObjects(pb.ListObjectsRequest(prefix="x" * (5 << 20)))
    assert caught.value.metadata["limit"] == str(4 << 20)


async def test_a_deadline_ends_caller_and_handler(connect: Connect) -> None:
    ended = asyncio.Event()

    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    stub = await connect(Servicer())
    with pytest.raises(DeadlineExceeded):
        await stub.StatObject(pb.StatObjectRequest(key="a"), timeout=0.05)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_handler_sees_its_deadline_and_a_call_of_its_own(connect: Connect) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    seen: dict[str, Any] = {}

    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            call = current_call()
            assert call is not None
            seen.update(variable=variable.get(), remaining=call.remaining(), method=call.method)
            return pb.StatObjectResponse()

    stub = await connect(Servicer())
    variable.set("caller's")
    await stub.StatObject(pb.StatObjectRequest(key="a"), timeout=30)
    assert seen["variable"] == "fresh"
    assert 0 < seen["remaining"] <= 31
    assert seen["method"] == f"/{SERVICE}/StatObject"
    assert current_call() is None


async def test_ids_and_deadline_travel_over_two_hops(connect: Connect) -> None:
    seen: list[tuple[str, str, float | None]] = []

    class Far(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            call = current_call()
            assert call is not None
            seen.append((call.request_id, call.trace_id, call.remaining()))
            if request.key == "near":
                await stub.StatObject(pb.StatObjectRequest(key="far"), timeout=100)
            return pb.StatObjectResponse()

    stub = await connect(Far())
    metadata = (("x-lakehouse-request-id", "r-1"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    await stub.StatObject(pb.StatObjectRequest(key="near"), timeout=20, metadata=metadata)
    assert [entry[:2] for entry in seen] == [("r-1", "a" * 32), ("r-1", "a" * 32)]
    # A deadline on the wire is rounded up, by less than a second.
    assert all(remaining is not None and remaining <= 21 for _, _, remaining in seen)


async def test_the_bucket_header_fills_the_field_where_it_is_empty(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            return pb.StatObjectResponse(object=pb.ObjectInfo(bucket=request.bucket))

        async def PutObject(self, requests: Any, context: Any) -> Any:
            buckets = [request.bucket async for request in requests]
            return pb.PutObjectResponse(object=pb.ObjectInfo(bucket=",".join(buckets)))

    stub = await connect(Servicer())
    header = (("x-lakehouse-bucket", "rescue"),)
    empty = await stub.StatObject(pb.StatObjectRequest(key="a"), metadata=header)
    given = await stub.StatObject(pb.StatObjectRequest(key="a", bucket="mine"), metadata=header)
    upload = await stub.PutObject(uploads(b"a", b"b"), metadata=header)
    assert (empty.object.bucket, given.object.bucket, upload.object.bucket) == ("rescue", "mine", "rescue,")
    with pytest.raises(InvalidField):
        await stub.StatObject(pb.StatObjectRequest(key="a"), metadata=(("x-lakehouse-bucket", "a/b"),))


async def test_cancelling_the_caller_ends_the_handler(connect: Connect) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    stub = await connect(Servicer())

    async def call() -> None:
        await stub.StatObject(pb.StatObjectRequest(key="a"))

    task = asyncio.create_task(call())
    async with asyncio.timeout(5):
        await begun.wait()
        task.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_abandoned_stream_ends_the_handler(connect: Connect) -> None:
    ended = asyncio.Event()

    class Servicer(StorageServiceServicer):
        async def GetObject(self, request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                while True:
                    yield pb.GetObjectResponse(object=pb.ObjectInfo(key="a"))
            finally:
                ended.set()

    stub = await connect(Servicer())
    stream = aiter(stub.GetObject(pb.GetObjectRequest(key="a")))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # both legs iterate by async generators
    async with asyncio.timeout(5):
        await ended.wait()


async def test_initial_metadata_comes_before_the_first_message(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def GetObject(self, request: Any, context: Any) -> AsyncIterator[Any]:
            await context.send_initial_metadata((("x-lakehouse-size", "2"),))
            for size in (1, 2):
                yield pb.GetObjectResponse(object=pb.ObjectInfo(size=size))

    stub = await connect(Servicer())
    call = stub.GetObject(pb.GetObjectRequest(key="a"))
    metadata = await call.initial_metadata()
    assert metadata["x-lakehouse-size"] == "2"
    assert [piece.object.size async for piece in call] == [1, 2]


async def test_an_upload_arrives_in_order_and_in_the_callers_context(connect: Connect) -> None:
    class Servicer(StorageServiceServicer):
        async def PutObject(self, requests: Any, context: Any) -> Any:
            data = b"".join([request.data.data async for request in requests])
            return pb.PutObjectResponse(object=pb.ObjectInfo(sha256=data.decode()))

    stub = await connect(Servicer())
    response = await stub.PutObject(uploads(b"a", b"b", b"c"))
    assert response.object.sha256 == "abc"


async def test_cancelling_an_upload_ends_the_handler(connect: Connect) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Servicer(StorageServiceServicer):
        async def PutObject(self, requests: Any, context: Any) -> Any:
            try:
                async for _ in requests:
                    begun.set()
            finally:
                ended.set()

    async def endless() -> AsyncIterator[Any]:
        yield pb.PutObjectRequest(key="a")
        await asyncio.Event().wait()

    stub = await connect(Servicer())

    async def upload() -> None:
        await stub.PutObject(endless())

    task = asyncio.create_task(upload())
    async with asyncio.timeout(5):
        await begun.wait()
        task.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def uploads(*pieces: bytes) -> AsyncIterator[pb.PutObjectRequest]:
    """One message a piece; the key in the first only."""
    for number, piece in enumerate(pieces):
        request = pb.PutObjectRequest(key="" if number else "a")
        request.data.data = piece
        yield request


async def guarded_stub(auth: AuthConfig, token: str | None) -> tuple[StorageServiceStub, DaemonServer, aio.Channel]:
    """A served servicer that answers, behind a policy."""

    class Servicer(StorageServiceServicer):
        async def StatObject(self, request: Any, context: Any) -> Any:
            return pb.StatObjectResponse()

    handlers = guarded(lambda server: add_StorageServiceServicer_to_server(Servicer(), server), auth)
    server = DaemonServer(SERVICE, handlers, auth=auth, instance_id="test")
    port = await server.start("127.0.0.1", 0)
    channel = connect_internal(f"127.0.0.1:{port}", token=token)
    return StorageServiceStub(channel), server, channel


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_a_guarded_daemon_refuses_before_it_looks_at_the_body(token: str | None) -> None:
    stub, server, channel = await guarded_stub(AuthConfig(token="right"), token)
    with pytest.raises(Unauthenticated):
        await stub.StatObject(pb.StatObjectRequest())
    await channel.close()
    await server.stop(grace=0)


async def test_a_guarded_daemon_serves_the_right_token() -> None:
    stub, server, channel = await guarded_stub(AuthConfig(token="right"), "right")
    await stub.StatObject(pb.StatObjectRequest(key="a"))
    await channel.close()
    await server.stop(grace=0)


async def test_a_stopped_daemon_is_unavailable() -> None:
    stub, server, channel = await guarded_stub(AuthConfig(), None)
    await server.stop(grace=0)
    with pytest.raises(Unavailable):
        await stub.StatObject(pb.StatObjectRequest(key="a"))
    await channel.close()


async def test_a_cut_upload_never_passes_for_a_whole_one(connect: Connect) -> None:
    completed: list[int] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    class Servicer(StorageServiceServicer):
        async def PutObject(self, requests: Any, context: Any) -> Any:
            pieces = 0
            try:
                async for _ in requests:
                    pieces += 1
                    begun.set()
                completed.append(pieces)
                return pb.PutObjectResponse()
            finally:
                ended.set()

    async def endless() -> AsyncIterator[Any]:
        yield pb.PutObjectRequest(key="a")
        await asyncio.Event().wait()

    stub = await connect(Servicer())

    async def upload() -> None:
        await stub.PutObject(endless())

    async with asyncio.timeout(30):
        for _ in range(60):
            begun.clear()
            ended.clear()
            task = asyncio.create_task(upload())
            await begun.wait()
            task.cancel()
            await asyncio.wait([task])
            await ended.wait()
    assert completed == []
