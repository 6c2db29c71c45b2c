"""Indexes on Lance through vectord's stub: what holds in memory holds on disk, and an index may move between both."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from lakehouse.vector.v1 import operation_pb2, vector_pb2, vector_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import FailedPrecondition
from tests.contract import vector_client as client

# The same behaviours, with the indexes made below.
from tests.contract.test_vectord import (  # noqa: F401
    test_adds_searches_and_deletes_at_the_same_time_see_whole_batches,
    test_an_index_is_created_described_listed_and_deleted,
    test_an_upsert_replaces_the_vector_and_only_given_metadata,
    test_filters_and_exclusions_cost_no_places_in_the_result,
    test_items_are_deleted_by_id,
    test_items_are_listed_in_pages_in_the_order_of_their_ids,
    test_one_bad_item_refuses_the_batch_by_its_place,
    test_one_index_is_merged_into_another,
    test_only_items_that_pass_the_filter_are_found,
    test_several_vectors_are_searched_at_once,
    test_what_is_added_is_found_by_the_next_search,
)

Stub = vector_pb2_grpc.VectorServiceStub
ITEMS = 700  # more than fit into the hot segment
SMALL = pytest.mark.settings(vector={"hot_bytes": 1, "quiet_seconds": 0.05})


class OnLance:
    """The stub, but that it makes every index on Lance."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def __getattr__(self, method: str) -> Any:
        return getattr(self._stub, method)

    async def CreateIndex(self, request: vector_pb2.CreateIndexRequest) -> vector_pb2.CreateIndexResponse:
        request.backend = "lance"
        answer = await self._stub.CreateIndex(request)
        assert answer.index.backend == "lance"
        return answer


@pytest.fixture
def plain(mesh: Mesh) -> Stub:
    return Stub(mesh.connect("vectord"))


@pytest.fixture
def stub(plain: Stub) -> OnLance:
    return OnLance(plain)


async def moved(stub: Stub, name: str, backend: str) -> None:
    started = await stub.MigrateIndex(operation_pb2.MigrateIndexRequest(name=name, backend=backend))
    job = await client.ended(stub, started.job.id)
    assert (job.kind, job.state) == ("index.migrate", "succeeded"), job


async def until_sealed(stub: Stub, name: str) -> vector_pb2.Index:
    while True:
        index = await client.info(stub, name)
        if not index.hot_count:
            return index
        await asyncio.sleep(0.02)


@SMALL
@pytest.mark.requirement("V1", "V3", "V5", "V7")
async def test_items_in_the_table_are_found_changed_deleted_and_merged(plain: Stub) -> None:
    await client.create(plain, "disk", ITEMS, backend="lance")
    index = await until_sealed(plain, "disk")
    assert (index.count, index.backend, index.segments) == (ITEMS, "lance", 1)
    given = client.vectors(ITEMS)
    hits = (await plain.Search(vector_pb2.SearchRequest(name="disk", vector=given[7], k=3, with_vectors=True))).hits
    assert (hits[0].id, hits[0].distance, list(hits[0].vector)) == ("000007", 0.0, given[7].tolist())
    await client.add(plain, "disk", [7], given[8:9])
    hits = (await plain.Search(vector_pb2.SearchRequest(name="disk", vector=given[8], k=2))).hits
    assert [(hit.id, hit.distance) for hit in hits] == [("000007", 0.0), ("000008", 0.0)]
    deleted = await plain.DeleteItems(vector_pb2.DeleteItemsRequest(name="disk", ids=["000008", "000009", "none"]))
    assert (deleted.deleted, deleted.missing, deleted.count) == (2, 1, ITEMS - 2)
    read = await plain.GetItems(vector_pb2.GetItemsRequest(name="disk", ids=["000009", "000010"]))
    assert [item.id for item in read.items] == ["000010"]
    await client.create(plain, "memory", 10)
    merged = await plain.MergeIndex(vector_pb2.MergeIndexRequest(name="disk", dest="memory"))
    assert (merged.merged, merged.skipped, merged.dest_count) == (ITEMS - 10, 8, ITEMS)
    merged = await plain.MergeIndex(vector_pb2.MergeIndexRequest(name="memory", dest="disk", clear_source=True))
    assert (merged.merged, merged.skipped, merged.dest_count, merged.source_count) == (2, ITEMS - 2, ITEMS, 0)


@SMALL
@pytest.mark.requirement("V6", "V10")
async def test_an_index_moves_to_lance_and_back_while_it_is_written_to(plain: Stub) -> None:
    await client.create(plain, "workers", ITEMS)
    await client.set_alias(plain, "staff", "workers")
    before = await client.info(plain, "workers")
    given = client.vectors(2 * ITEMS, seed=3)
    written = ITEMS
    for backend in ("lance", "memory"):
        moving = asyncio.create_task(moved(plain, "staff", backend))
        while not moving.done():
            await client.add(plain, "workers", [written], given[written : written + 1])
            await plain.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=[f"{written - ITEMS:06d}"]))
            hits = (await plain.Search(vector_pb2.SearchRequest(name="staff", vector=given[written], k=1))).hits
            assert [hit.id for hit in hits] == [f"{written:06d}"]
            written += 1
        await moving
        index = await client.info(plain, "workers")
        assert (index.backend, index.count, list(index.aliases)) == (backend, ITEMS, ["staff"])
        assert (index.created_at, index.metric, index.source) == (before.created_at, before.metric, before.source)
        assert await client.ids(plain, "staff") == [f"{number:06d}" for number in range(written - ITEMS, written)]
    # Where it is already, nothing happens.
    await moved(plain, "workers", "memory")


@SMALL
@pytest.mark.requirement("V10")
async def test_a_cancelled_move_leaves_the_index_where_it_was(plain: Stub) -> None:
    await client.create(plain, "workers", ITEMS)
    started = await plain.MigrateIndex(operation_pb2.MigrateIndexRequest(name="workers", backend="lance"))
    await plain.CancelJob(operation_pb2.CancelJobRequest(job_id=started.job.id))
    job = await client.ended(plain, started.job.id)
    expected = "lance" if job.state == "succeeded" else "memory"
    assert (await client.info(plain, "workers")).backend == expected
    assert len(await client.ids(plain, "workers")) == ITEMS
    await moved(plain, "workers", "lance")


async def test_what_only_graphs_have_is_refused(plain: Stub) -> None:
    await client.create(plain, "disk", 3, backend="lance")
    with pytest.raises(FailedPrecondition) as raised:
        async for _ in plain.ExportIndex(vector_pb2.ExportIndexRequest(name="disk")):
            pass
    assert raised.value.reason == "BACKEND_HAS_NO_EXPORT"
    with pytest.raises(FailedPrecondition) as raised:
        await plain.RebuildIndex(operation_pb2.RebuildIndexRequest(name="disk"))
    assert raised.value.reason == "BACKEND_HAS_NO_GRAPHS"
    checked = await plain.CheckRecall(vector_pb2.CheckRecallRequest(name="disk", sample=10))
    assert checked.recall.recall == 1


@pytest.mark.requirement("V8")
@pytest.mark.parametrize("storage_type", ["float16", "int8"])
async def test_vectors_may_be_kept_as_halves(plain: Stub, storage_type: str) -> None:
    await client.create(plain, "halves", backend="lance", storage_type=storage_type)
    vector = np.linspace(-1, 1, client.DIMENSION, dtype=np.float32)
    await client.add(plain, "halves", [1], vector[None])
    read = await plain.GetItems(vector_pb2.GetItemsRequest(name="halves", ids=["000001"]))
    assert list(read.items[0].vector) == vector.astype(np.float16).astype(np.float32).tolist()
