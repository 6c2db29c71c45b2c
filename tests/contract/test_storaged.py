"""storaged through its contract, on both legs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
from google.api import httpbody_pb2

from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.mesh import Mesh
from services.runtime.connect import connect_remote
from services.runtime.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceError,
    TooLarge,
    Unavailable,
)

MIB = 1 << 20
AWKWARD_KEYS = ["Größe 100%/a:b?c#d.csv", "日本語/🙂", "a%2Fb", 'it\'s "quoted"', "x" * 255 + "/" + "é" * 127]


@pytest.fixture
def stub(mesh: Mesh) -> storage_pb2_grpc.StorageServiceStub:
    return storage_pb2_grpc.StorageServiceStub(mesh.connect("storaged"))


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[storage_pb2_grpc.StorageServiceStub]:
    """A stub of somebody outside the mesh, whatever the leg under test."""
    channel = connect_remote(f"127.0.0.1:{mesh.port('storaged')}")
    yield storage_pb2_grpc.StorageServiceStub(channel)
    await channel.close()


async def requests(
    data: bytes, *, content_type: str = "", piece: int = MIB, **fields: object
) -> AsyncIterator[storage_pb2.PutObjectRequest]:
    first = httpbody_pb2.HttpBody(content_type=content_type, data=data[:piece])
    yield storage_pb2.PutObjectRequest(data=first, **fields)  # type: ignore[arg-type]  # names are the contract's
    for start in range(piece, len(data), piece):
        yield storage_pb2.PutObjectRequest(data=httpbody_pb2.HttpBody(data=data[start : start + piece]))


async def put(
    stub: storage_pb2_grpc.StorageServiceStub,
    key: str,
    data: bytes,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
    **fields: object,
) -> storage_pb2.PutObjectResponse:
    return await stub.PutObject(requests(data, key=key, **fields), metadata=metadata)  # type: ignore[arg-type]


async def get(stub: storage_pb2_grpc.StorageServiceStub, key: str, **fields: object) -> bytes:
    request = storage_pb2.GetObjectRequest(key=key, **fields)  # type: ignore[arg-type]  # names are the contract's
    return b"".join([response.data.data async for response in stub.GetObject(request)])


async def keys(stub: storage_pb2_grpc.StorageServiceStub, bucket: str = "", prefix: str = "") -> list[str]:
    response = await stub.ListObjects(storage_pb2.ListObjectsRequest(bucket=bucket, prefix=prefix))
    return [part.key for part in response.objects if not part.key.startswith("_")]


class Slow:
    """An upload that has begun and goes on when it is told to."""

    def __init__(self, stub: storage_pb2_grpc.StorageServiceStub, key: str) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.call = asyncio.ensure_future(self._call(stub, key))

    async def _call(self, stub: storage_pb2_grpc.StorageServiceStub, key: str) -> storage_pb2.PutObjectResponse:
        return await stub.PutObject(self._requests(key))

    async def _requests(self, key: str) -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(key=key, data=httpbody_pb2.HttpBody(data=b"x" * 2 * MIB))
        self.begun.set()
        await self.go_on.wait()
        yield storage_pb2.PutObjectRequest(data=httpbody_pb2.HttpBody(data=b"y"))


async def nothing_is_left_of_uploads(tmp_path: Path) -> bool:
    """Waits for it: an upload that fails is cleaned up behind its answer."""
    for _ in range(500):
        if not list((tmp_path / "data" / "storaged").glob("file/*/incoming/*")):
            return True
        await asyncio.sleep(0.01)
    return False


async def turned_away(client: storage_pb2_grpc.StorageServiceStub) -> Unavailable | None:
    """The refusal of an upload; waits for it until the server has taken up those before."""
    for number in range(500):
        try:
            await put(client, f"more/{number}", b"x")
        except Unavailable as error:
            return error
    return None


@pytest.mark.requirement("S1")
async def test_an_object_comes_back_with_everything_known_of_it(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    data = bytes(range(256)) * 12_000
    stored = await put(stub, "a/b.csv", data, content_type="text/csv")
    assert stored.created
    known = stored.object
    assert (known.bucket, known.key, known.size, known.content_type) == ("primary", "a/b.csv", len(data), "text/csv")
    assert known.sha256 == hashlib.sha256(data).hexdigest()
    assert (await stub.StatObject(storage_pb2.StatObjectRequest(key="a/b.csv"))).object == known
    call = stub.GetObject(storage_pb2.GetObjectRequest(key="a/b.csv"))
    responses = [response async for response in call]
    metadata = dict(await call.initial_metadata())
    assert metadata["x-lakehouse-size"] == str(len(data))
    assert metadata["etag"] == f'"{known.sha256}"'
    assert responses[0].object == known
    assert responses[0].data.content_type == "text/csv"
    assert not any(response.HasField("object") for response in responses[1:])
    assert all(len(response.data.data) <= MIB for response in responses)
    assert b"".join(response.data.data for response in responses) == data


@pytest.mark.requirement("S3")
@pytest.mark.parametrize("key", AWKWARD_KEYS)
async def test_a_legal_key_survives_unchanged(stub: storage_pb2_grpc.StorageServiceStub, key: str) -> None:
    await put(stub, key, b"x")
    assert await get(stub, key) == b"x"
    assert await keys(stub, prefix=key[:3]) == [key]


@pytest.mark.requirement("S3")
@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a\nb", "a/", "."])
async def test_an_illegal_key_is_refused_on_every_route(stub: storage_pb2_grpc.StorageServiceStub, key: str) -> None:
    with pytest.raises(InvalidArgument):
        await put(stub, key, b"x")
    with pytest.raises(InvalidArgument):
        await get(stub, key)
    with pytest.raises(InvalidArgument):
        await stub.StatObject(storage_pb2.StatObjectRequest(key=key))
    with pytest.raises(InvalidArgument):
        await stub.DeleteObject(storage_pb2.DeleteObjectRequest(key=key))


async def test_an_upload_without_a_body_makes_an_empty_object(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    async def only_fields() -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(key="empty")

    stored = await stub.PutObject(only_fields())
    assert stored.object.size == 0
    call = stub.GetObject(storage_pb2.GetObjectRequest(key="empty"))
    (response,) = [response async for response in call]
    assert response.object.sha256 == hashlib.sha256().hexdigest()
    assert response.data.content_type == "application/octet-stream"


async def test_an_upload_without_any_message_is_refused(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    async def nothing() -> AsyncIterator[storage_pb2.PutObjectRequest]:
        none: list[storage_pb2.PutObjectRequest] = []
        for request in none:
            yield request

    with pytest.raises(InvalidArgument):
        await stub.PutObject(nothing())


async def test_only_the_first_message_names_the_object(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    async def changing() -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(key="a", data=httpbody_pb2.HttpBody(data=b"1"))
        yield storage_pb2.PutObjectRequest(key="b", create_only=True, data=httpbody_pb2.HttpBody(data=b"2"))

    await stub.PutObject(changing())
    assert await keys(stub) == ["a"]
    assert await get(stub, "a") == b"12"


@pytest.mark.requirement("S1")
async def test_ranges(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    await put(stub, "a", b"0123456789")
    assert await get(stub, "a", offset=3, length=4) == b"3456"
    assert await get(stub, "a", offset=8) == b"89"
    assert await get(stub, "a", length=0) == b""
    call = stub.GetObject(storage_pb2.GetObjectRequest(key="a", offset=8, length=100))
    assert [response.data.data async for response in call] == [b"89"]
    assert dict(await call.initial_metadata())["x-lakehouse-size"] == "2"
    with pytest.raises(InvalidArgument) as caught:
        await get(stub, "a", offset=11)
    assert caught.value.reason == "RANGE_NOT_SATISFIABLE"


@pytest.mark.requirement("S1")
async def test_listing_goes_through_pages_in_byte_order(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    names = ["l/a", "l/a-b", "l/a.b", "l/a/b", "l/a0", "l/é", "m"]
    for name in reversed(names):
        await put(stub, name, b"x")
    found: list[str] = []
    token = ""
    while True:
        request = storage_pb2.ListObjectsRequest(prefix="l/", page_size=2, page_token=token)
        response = await stub.ListObjects(request)
        assert len(response.objects) <= 2
        found += [part.key for part in response.objects]
        token = response.next_page_token
        if not token:
            break
    assert found == names[:-1]


async def test_a_page_token_of_another_kind_is_refused(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    with pytest.raises(InvalidArgument):
        await stub.ListObjects(storage_pb2.ListObjectsRequest(page_token="§"))


async def test_deleting_twice_is_fine_and_says_so(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    await put(stub, "a", b"x")
    assert (await stub.DeleteObject(storage_pb2.DeleteObjectRequest(key="a"))).deleted
    assert not (await stub.DeleteObject(storage_pb2.DeleteObjectRequest(key="a"))).deleted
    with pytest.raises(NotFound) as caught:
        await get(stub, "a")
    assert caught.value.reason == "OBJECT_NOT_FOUND"


@pytest.mark.requirement("S6")
async def test_of_concurrent_creators_exactly_one_wins(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    creating = [put(stub, "a", b"%d" % number, create_only=True) for number in range(8)]
    outcomes = await asyncio.gather(*creating, return_exceptions=True)
    losers = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    assert [loser.reason for loser in losers] == ["OBJECT_EXISTS"] * 7
    (winner,) = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert await get(stub, "a") == b"%d" % winner


async def test_if_none_match_means_create_only(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    await put(stub, "a", b"1", metadata=(("if-none-match", "*"),))
    with pytest.raises(AlreadyExists) as caught:
        await put(stub, "a", b"2", metadata=(("if-none-match", "*"),))
    assert caught.value.reason == "OBJECT_EXISTS"
    with pytest.raises(InvalidArgument):
        await put(stub, "a", b"2", metadata=(("if-none-match", '"abc"'),))
    assert not (await put(stub, "a", b"3")).created


@pytest.mark.requirement("S4")
@pytest.mark.settings(storage={"max_object_bytes": 100, "prefix_caps": {"_vectors/": 200}})
async def test_an_object_over_its_cap_is_refused_declared_or_not(
    stub: storage_pb2_grpc.StorageServiceStub, tmp_path: Path
) -> None:
    async def endless() -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(key="a")
        while True:
            yield storage_pb2.PutObjectRequest(data=httpbody_pb2.HttpBody(data=b"x" * 30))

    refused: list[Awaitable[object]] = [
        put(stub, "a", b"x" * 101),
        put(stub, "a", b"", size=101),
        put(stub, "a", b"", metadata=(("x-lakehouse-content-length", "101"),)),
        put(stub, "_vectors/a", b"x" * 201),
        stub.PutObject(endless()),
    ]
    for attempt in refused:
        with pytest.raises(TooLarge) as caught:
            await attempt
        assert caught.value.reason == "OBJECT_TOO_LARGE"
    await put(stub, "a", b"x" * 100)
    await put(stub, "_vectors/a", b"x" * 200)
    assert await keys(stub) == ["a"]
    assert await nothing_is_left_of_uploads(tmp_path)


@pytest.mark.parametrize("declared", ["9", "11"])
async def test_another_size_than_declared_is_refused_and_leaves_nothing(
    stub: storage_pb2_grpc.StorageServiceStub, declared: str
) -> None:
    for fields, metadata in (({"size": int(declared)}, ()), ({}, (("x-lakehouse-content-length", declared),))):
        with pytest.raises(InvalidArgument) as caught:
            await put(stub, "a", b"x" * 10, metadata=metadata, **fields)
        assert caught.value.reason == "SIZE_MISMATCH"
    assert await keys(stub) == []


async def test_a_declared_size_that_is_no_number_is_refused(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    with pytest.raises(InvalidArgument):
        await put(stub, "a", b"x", metadata=(("x-lakehouse-content-length", "-1"),))


@pytest.mark.requirement("S5")
@pytest.mark.settings(storage={"max_uploads": 2})
async def test_clients_over_the_limit_are_turned_away_while_daemons_are_not(
    stub: storage_pb2_grpc.StorageServiceStub, client: storage_pb2_grpc.StorageServiceStub
) -> None:
    running = [Slow(client, f"slow/{number}") for number in range(2)]
    await asyncio.gather(*(slow.begun.wait() for slow in running))
    refusal = await turned_away(client)
    assert refusal is not None
    assert refusal.reason == "TOO_MANY_UPLOADS"
    await put(stub, "internal", b"x")
    for slow in running:
        slow.go_on.set()
    stored = await asyncio.gather(*(slow.call for slow in running))
    assert [each.object.size for each in stored] == [2 * MIB + 1] * 2
    await put(client, "after", b"x")


@pytest.mark.requirement("S5")
async def test_the_refusal_says_when_to_come_back(client: storage_pb2_grpc.StorageServiceStub) -> None:
    running = [Slow(client, f"slow/{number}") for number in range(4)]
    await asyncio.gather(*(slow.begun.wait() for slow in running))
    assert await turned_away(client)
    call = client.PutObject(requests(b"x", key="fifth"))
    with pytest.raises(Unavailable):
        await call
    assert dict(await call.trailing_metadata())["retry-after"] == "5"
    for slow in running:
        slow.go_on.set()
    await asyncio.gather(*(slow.call for slow in running))


@pytest.mark.settings(storage={"max_internal_uploads": 1})
async def test_a_daemon_waits_for_its_turn_within_its_deadline(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    slow = Slow(stub, "slow")
    await slow.begun.wait()
    with pytest.raises(DeadlineExceeded):
        await stub.PutObject(requests(b"x", key="late"), timeout=0.2)
    waiting = asyncio.ensure_future(put(stub, "next", b"x"))
    slow.go_on.set()
    assert (await slow.call).created
    assert (await waiting).created


async def test_an_upload_its_caller_abandons_is_never_taken_for_a_whole_one(
    stub: storage_pb2_grpc.StorageServiceStub, client: storage_pb2_grpc.StorageServiceStub, tmp_path: Path
) -> None:
    for number in range(10):
        for each in (stub, client):
            slow = Slow(each, f"{number}")
            await slow.begun.wait()
            slow.call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow.call
    assert await nothing_is_left_of_uploads(tmp_path)
    assert await keys(stub) == []


async def test_a_download_its_caller_abandons_ends(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    await put(stub, "a", b"x" * 8 * MIB)
    async for response in stub.GetObject(storage_pb2.GetObjectRequest(key="a")):
        assert response.object.size == 8 * MIB
        break
    assert (await stub.DeleteObject(storage_pb2.DeleteObjectRequest(key="a"))).deleted


async def test_a_damaged_object_fails_before_its_last_piece(
    stub: storage_pb2_grpc.StorageServiceStub, tmp_path: Path
) -> None:
    await put(stub, "a", b"x" * 3 * MIB)
    (file,) = (tmp_path / "data" / "storaged").glob("file/primary-*/objects/a.object")
    file.write_bytes(file.read_bytes()[:-1] + b"y")
    received = 0
    call = stub.GetObject(storage_pb2.GetObjectRequest(key="a"))
    with pytest.raises(Internal) as caught:
        async for response in call:
            received += len(response.data.data)
    assert caught.value.reason == "OBJECT_DAMAGED"
    assert received < 3 * MIB


@pytest.mark.requirement("S7")
async def test_buckets_come_and_go(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    name = "Größe 100%"
    made = (await stub.CreateBucket(storage_pb2.CreateBucketRequest(name=name))).bucket
    assert (made.name, made.backend, made.removable) == (name, "file", True)
    assert (await stub.GetBucket(storage_pb2.GetBucketRequest(bucket=name))).bucket == made
    listed = await stub.ListBuckets(storage_pb2.ListBucketsRequest())
    assert [bucket.name for bucket in listed.buckets] == [name, "primary", "rescue"]
    with pytest.raises(AlreadyExists) as taken:
        await stub.CreateBucket(storage_pb2.CreateBucketRequest(name=name.upper()))
    assert taken.value.reason == "BUCKET_EXISTS"
    await put(stub, "a", b"x", bucket=name)
    assert await keys(stub, name) == ["a"]
    assert await keys(stub) == []
    with pytest.raises(FailedPrecondition) as full:
        await stub.DeleteBucket(storage_pb2.DeleteBucketRequest(bucket=name))
    assert full.value.reason == "BUCKET_NOT_EMPTY"
    await stub.DeleteObject(storage_pb2.DeleteObjectRequest(bucket=name, key="a"))
    await stub.DeleteBucket(storage_pb2.DeleteBucketRequest(bucket=name))
    with pytest.raises(NotFound) as gone:
        await put(stub, "a", b"x", bucket=name)
    assert gone.value.reason == "BUCKET_NOT_FOUND"
    assert gone.value.metadata["buckets"] == "primary, rescue"


@pytest.mark.requirement("S7")
@pytest.mark.parametrize("name", ["primary", "rescue"])
async def test_a_protected_bucket_stays(stub: storage_pb2_grpc.StorageServiceStub, name: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await stub.DeleteBucket(storage_pb2.DeleteBucketRequest(bucket=name))
    assert caught.value.reason == "BUCKET_PROTECTED"


async def test_a_back_end_that_is_not_there_is_refused(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await stub.CreateBucket(storage_pb2.CreateBucketRequest(name="b", backend="s3"))
    assert caught.value.reason == "BACKEND_NOT_CONFIGURED"


async def test_buckets_are_listed_in_pages(stub: storage_pb2_grpc.StorageServiceStub) -> None:
    first = await stub.ListBuckets(storage_pb2.ListBucketsRequest(page_size=1))
    second = await stub.ListBuckets(storage_pb2.ListBucketsRequest(page_size=1, page_token=first.next_page_token))
    assert [bucket.name for bucket in (*first.buckets, *second.buckets)] == ["primary", "rescue"]
    assert second.next_page_token == ""


async def test_readers_of_an_object_being_overwritten_see_one_state_or_the_other(
    stub: storage_pb2_grpc.StorageServiceStub,
) -> None:
    await put(stub, "a", b"0" * 2 * MIB)

    async def overwrite() -> None:
        for number in range(1, 10):
            await put(stub, "a", b"%d" % number * 2 * MIB)

    writing = asyncio.create_task(overwrite())
    while not writing.done():
        data = await get(stub, "a")
        assert (len(data), len(set(data))) == (2 * MIB, 1)
    await writing
