"""Export and import of whole indexes through the stub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from google.api import httpbody_pb2

from lakehouse.vector.v1 import vector_pb2
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from services.mesh import Mesh
from services.runtime.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    ServiceError,
    TooLarge,
)
from services.runtime.floats import set_floats

PIECE = 100_000


@pytest.fixture
def stub(mesh: Mesh) -> VectorServiceStub:
    return VectorServiceStub(mesh.connect("vectord"))


async def filled(stub: VectorServiceStub, name: str = "workers", count: int = 400) -> None:
    await stub.CreateIndex(vector_pb2.CreateIndexRequest(name=name, dimension=64))
    request = vector_pb2.AddItemsRequest(name=name)
    for row, vector in enumerate(np.random.default_rng(0).standard_normal((count, 64)).astype(np.float32)):
        item = request.items.add(id=f"{row:05d}")
        set_floats(item, "vector", vector)
        if row % 2:
            item.metadata.update({"row": row})
    await stub.AddItems(request)


async def exported(stub: VectorServiceStub, name: str = "workers") -> bytes:
    call = stub.ExportIndex(vector_pb2.ExportIndexRequest(name=name))
    data = b"".join([piece.data.data async for piece in call])
    assert dict(await call.initial_metadata())["x-lakehouse-size"] == str(len(data))
    return data


async def pieces(data: bytes, name: str, **fields: str) -> AsyncIterator[vector_pb2.ImportIndexRequest]:
    first = vector_pb2.ImportIndexRequest(name=name, data=httpbody_pb2.HttpBody(data=data[:PIECE]), **fields)
    yield first
    for begin in range(PIECE, len(data), PIECE):
        body = httpbody_pb2.HttpBody(data=data[begin : begin + PIECE])
        yield vector_pb2.ImportIndexRequest(data=body)


async def items(stub: VectorServiceStub, name: str) -> list[vector_pb2.Item]:
    request = vector_pb2.ListItemsRequest(name=name, page_size=10_000, with_vectors=True)
    return list((await stub.ListItems(request)).items)


@pytest.mark.requirement("V6")
async def test_an_index_is_exported_and_imported_under_another_name(stub: VectorServiceStub) -> None:
    await filled(stub)
    made = (await stub.ImportIndex(pieces(await exported(stub), "Copy of 100%"))).index
    assert (made.name, made.dimension, made.count, made.bucket) == ("Copy of 100%", 64, 400, "primary")
    before = await items(stub, "workers")
    assert await items(stub, "Copy of 100%") == before
    assert len(before) == 400
    vector = list(before[7].vector)
    hits = (await stub.Search(vector_pb2.SearchRequest(name="copy of 100%", vector=vector, k=1))).hits
    assert [hit.id for hit in hits] == ["00007"]


@pytest.mark.requirement("V6")
async def test_what_cannot_be_exported_or_imported_is_refused_and_leaves_nothing(stub: VectorServiceStub) -> None:
    await filled(stub)
    data = await exported(stub)
    with pytest.raises(NotFound):
        await exported(stub, "nobody")
    refusals: list[tuple[bytes, str, type[ServiceError], str]] = [
        (data, "WORKERS", AlreadyExists, "INDEX_EXISTS"),
        (data, "a/b", InvalidArgument, "INVALID_FIELD"),
        (b"", "new", InvalidArgument, "NOT_LHV1"),
        (b"id,name\n1,ana\n", "new", InvalidArgument, "NOT_LHV1"),
        (data[:-1], "new", InvalidArgument, "DAMAGED_SEGMENT"),
        (data.replace(b'"version":2', b'"version":9'), "new", InvalidArgument, "NEWER_VERSION"),
    ]
    for sent, name, error, reason in refusals:
        with pytest.raises(error) as refused:
            await stub.ImportIndex(pieces(sent, name))
        assert refused.value.reason == reason
    with pytest.raises(NotFound) as unknown:
        await stub.ImportIndex(pieces(data, "new", bucket="nowhere"))
    assert unknown.value.reason == "BUCKET_NOT_FOUND"
    listed = await stub.ListIndexes(vector_pb2.ListIndexesRequest())
    assert [index.name for index in listed.indexes] == ["workers"]


@pytest.mark.requirement("X7")
@pytest.mark.settings(vector={"max_import_bytes": 10_000})
async def test_an_import_over_the_cap_is_refused_while_it_arrives(stub: VectorServiceStub) -> None:
    with pytest.raises(TooLarge) as refused:
        await stub.ImportIndex(pieces(b"LHV1" + b"x" * 5_000_000, "new"))
    assert refused.value.reason == "IMPORT_TOO_LARGE"


@pytest.mark.requirement("V2", "X7")
async def test_items_that_are_too_much_are_refused_and_the_index_goes_on(stub: VectorServiceStub) -> None:
    await filled(stub, count=10)

    async def refused(*given: vector_pb2.Item) -> ServiceError:
        with pytest.raises(ServiceError) as error:
            await stub.AddItems(vector_pb2.AddItemsRequest(name="workers", items=given))
        return error.value

    def item(item_id: str = "x", metadata: str = "") -> vector_pb2.Item:
        made = vector_pb2.Item(id=item_id, vector=[1.0] * 64)
        if metadata:
            made.metadata.update({"text": metadata})
        return made

    assert (await refused(item(), item(""))).reason == "EMPTY_ID"
    assert (await refused(item(), item("x" * 10_000))).reason == "ID_TOO_LONG"
    large = await refused(item(), item("y", "z" * 10_000_000))
    assert (large.reason, isinstance(large, TooLarge)) == ("METADATA_TOO_LARGE", True)
    assert large.violations[0].field == "items[1].metadata"
    many = vector_pb2.AddItemsRequest(name="workers")
    many.items.extend([vector_pb2.Item(id="m")] * 100_001)
    with pytest.raises(InvalidArgument):
        await stub.AddItems(many)
    assert len(await items(stub, "workers")) == 10
    await stub.AddItems(vector_pb2.AddItemsRequest(name="workers", items=[item("y" * 1024, "z" * 1_000_000)]))
    assert len(await items(stub, "workers")) == 11


@pytest.mark.requirement("V8")
@pytest.mark.settings(vector={"quiet_seconds": 0.05, "hot_bytes": 1})
async def test_recall_is_checked_in_the_background_and_when_asked(stub: VectorServiceStub) -> None:
    await stub.CreateIndex(vector_pb2.CreateIndexRequest(name="empty", dimension=2))
    assert not (await stub.CheckRecall(vector_pb2.CheckRecallRequest(name="empty"))).HasField("recall")
    await filled(stub)
    asked = (await stub.CheckRecall(vector_pb2.CheckRecallRequest(name="workers", sample=20, k=5))).recall
    assert (asked.recall, asked.sample, asked.k) == (1, 20, 5)
    await filled(stub, "others")

    async def seen() -> bool:
        index = (await stub.GetIndex(vector_pb2.GetIndexRequest(name="others"))).index
        return index.recall.recall == 1 and index.recall.sample == 100 and index.recall.checked_at.seconds > 0

    async with asyncio.timeout(20):
        while not await seen():  # noqa: ASYNC110 - asks the daemon
            await asyncio.sleep(0.02)
