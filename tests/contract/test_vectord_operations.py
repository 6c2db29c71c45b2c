"""Aliases, rebuilds and their jobs through vectord's stub, on both legs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lakehouse.vector.v1 import operation_pb2, parameters_pb2, vector_pb2, vector_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ServiceError
from tests.contract.vector_client import Stub, add, create, ended, ids, info, rebuilt, set_alias, vectors


@pytest.fixture
def stub(mesh: Mesh) -> Stub:
    return vector_pb2_grpc.VectorServiceStub(mesh.connect("vectord"))


@pytest.mark.requirement("V10")
async def test_an_alias_stands_for_its_index_in_every_method(stub: Stub) -> None:
    await create(stub, "workers-1", 3)
    await create(stub, "workers-2")
    made = await set_alias(stub, "Live", "WORKERS-1")
    assert (made.created, made.alias.name, made.alias.index, list(made.alias.previous)) == (
        True,
        "Live",
        "workers-1",
        [],
    )
    await add(stub, "live", [7], vectors(1))
    assert await ids(stub, "LIVE") == ["000000", "000001", "000002", "000007"]
    assert list((await info(stub, "live")).aliases) == ["Live"]
    assert (await info(stub, "live")).name == "workers-1"
    assert not (await set_alias(stub, "live", "workers-1")).alias.previous
    moved = await set_alias(stub, "live", "workers-2")
    assert (moved.created, moved.alias.index, list(moved.alias.previous)) == (False, "workers-2", ["workers-1"])
    assert await ids(stub, "live") == []
    back = (await stub.RollbackAlias(operation_pb2.RollbackAliasRequest(name="live"))).alias
    assert (back.index, list(back.previous)) == ("workers-1", [])
    assert len(await ids(stub, "live")) == 4
    with pytest.raises(FailedPrecondition) as raised:
        await stub.RollbackAlias(operation_pb2.RollbackAliasRequest(name="live"))
    assert raised.value.reason == "NOTHING_TO_ROLL_BACK"
    listed = (await stub.ListAliases(operation_pb2.ListAliasesRequest())).aliases
    assert [(alias.name, alias.index) for alias in listed] == [("Live", "workers-1")]
    assert listed[0].updated_at.seconds > 1_700_000_000
    gone = (await stub.DeleteAlias(operation_pb2.DeleteAliasRequest(name="LIVE"))).alias
    assert gone.index == "workers-1"
    assert len(await ids(stub, "workers-1")) == 4
    with pytest.raises(NotFound):
        await ids(stub, "live")


@pytest.mark.requirement("V10")
async def test_a_name_stands_for_one_thing(stub: Stub) -> None:
    await create(stub, "one")
    await create(stub, "two")
    await set_alias(stub, "live", "one")
    refused: list[tuple[Any, type[ServiceError], str]] = [
        (set_alias(stub, "TWO", "one"), AlreadyExists, "INDEX_EXISTS"),
        (create(stub, "LIVE"), AlreadyExists, "INDEX_EXISTS"),
        (set_alias(stub, "other", "three"), NotFound, "INDEX_NOT_FOUND"),
        (set_alias(stub, "other", "live"), NotFound, "INDEX_NOT_FOUND"),
        (stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="live")), NotFound, "INDEX_NOT_FOUND"),
        (stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="one")), FailedPrecondition, "INDEX_HAS_ALIAS"),
        (stub.DeleteAlias(operation_pb2.DeleteAliasRequest(name="one")), NotFound, "ALIAS_NOT_FOUND"),
        (stub.RollbackAlias(operation_pb2.RollbackAliasRequest(name="x")), NotFound, "ALIAS_NOT_FOUND"),
    ]
    for call, error, reason in refused:
        with pytest.raises(error) as raised:
            await call
        assert raised.value.reason == reason
    await set_alias(stub, "live", "two")
    await stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="one"))
    with pytest.raises(FailedPrecondition) as raised:
        await stub.RollbackAlias(operation_pb2.RollbackAliasRequest(name="live"))
    assert raised.value.reason == "NOTHING_TO_ROLL_BACK"


@pytest.mark.requirement("V10", "V8")
async def test_an_index_is_rebuilt_in_place_with_other_parameters(stub: Stub) -> None:
    await create(stub, "workers", 5000)
    before = await ids(stub, "workers")
    job = await rebuilt(stub, name="workers", parameters=parameters_pb2.BuildParameters(m=8), storage_type="float16")
    assert dict(job.result) == {"index": "workers", "items": 5000, "alias": ""}
    seen = await info(stub, "workers")
    assert (seen.parameters.m, seen.parameters.ef_construction, seen.storage_type) == (8, 80, "float16")
    assert (seen.segments, seen.count, seen.tombstones) == (1, 5000, 0)
    assert await ids(stub, "workers") == before
    await rebuilt(stub, name="workers")
    assert (await info(stub, "workers")).parameters.m == 8
    await create(stub, "empty")
    assert (await rebuilt(stub, name="empty", parameters=parameters_pb2.BuildParameters(m=8))).done == 0
    assert (await info(stub, "empty")).parameters.m == 8


@pytest.mark.requirement("V10")
async def test_an_index_is_rebuilt_as_another_and_the_alias_moves_when_it_is_complete(stub: Stub) -> None:
    await create(stub, "workers", 300, source=vector_pb2.IndexSource(dataset="people"))
    await set_alias(stub, "live", "workers")
    job = await rebuilt(
        stub, name="workers", dest="workers 2", alias="live", parameters=parameters_pb2.BuildParameters(ef_search=99)
    )
    assert dict(job.result) == {"index": "workers 2", "items": 300, "alias": "live"}
    made = await info(stub, "live")
    assert (made.name, made.parameters.ef_search, made.source.dataset) == ("workers 2", 99, "people")
    assert await ids(stub, "live") == await ids(stub, "workers")
    assert (await info(stub, "workers")).parameters.ef_search == 0
    assert (await stub.RollbackAlias(operation_pb2.RollbackAliasRequest(name="live"))).alias.index == "workers"


@pytest.mark.requirement("V10")
async def test_a_rebuild_that_cannot_be_is_refused(stub: Stub) -> None:
    await create(stub, "workers", 300)
    await create(stub, "other")
    await set_alias(stub, "live", "workers")
    refused: list[tuple[dict[str, Any], type[ServiceError], str | None]] = [
        ({"name": "nobody"}, NotFound, "INDEX_NOT_FOUND"),
        ({"dest": "OTHER"}, AlreadyExists, "INDEX_EXISTS"),
        ({"dest": "workers"}, AlreadyExists, "INDEX_EXISTS"),
        ({"dest": "live"}, AlreadyExists, "INDEX_EXISTS"),
        ({"dest": "new", "alias": "other"}, AlreadyExists, "INDEX_EXISTS"),
        ({"dest": "new", "alias": "NEW"}, InvalidArgument, None),
        ({"alias": "live"}, InvalidArgument, None),
        ({"parameters": parameters_pb2.BuildParameters(m=1)}, InvalidArgument, None),
    ]
    for fields, error, reason in refused:
        with pytest.raises(error) as raised:
            await stub.RebuildIndex(operation_pb2.RebuildIndexRequest(**{"name": "workers", **fields}))
        assert raised.value.reason == (reason or raised.value.reason), fields
    assert not (await stub.ListJobs(operation_pb2.ListJobsRequest())).jobs


@pytest.mark.requirement("V10", "X12")
async def test_nothing_written_during_a_rebuild_is_missing_behind_the_alias(stub: Stub) -> None:
    await create(stub, "workers", 6000)
    await set_alias(stub, "live", "workers")
    started = await stub.RebuildIndex(operation_pb2.RebuildIndexRequest(name="live", dest="new", alias="live"))
    watching = asyncio.create_task(ended(stub, started.job.id))
    there = {f"{number:06d}" for number in range(6000)}
    number = 6000
    while not watching.done():
        await add(stub, "live", range(number, number + 5), vectors(5, number))
        found = await stub.Search(vector_pb2.SearchRequest(name="live", vector=vectors(5, number)[0].tolist(), k=1))
        assert [hit.id for hit in found.hits] == [f"{number:06d}"]
        gone = f"{number - 6000:06d}"
        await stub.DeleteItems(vector_pb2.DeleteItemsRequest(name="live", ids=[gone]))
        there = (there | {f"{one:06d}" for one in range(number, number + 5)}) - {gone}
        number += 5
    assert (await watching).state == "succeeded"
    assert (await info(stub, "live")).name == "new"
    assert set(await ids(stub, "live")) == there


@pytest.mark.requirement("V10")
async def test_a_cancelled_rebuild_leaves_the_source_and_no_other_index(stub: Stub) -> None:
    await create(stub, "workers", 5000)
    started = await stub.RebuildIndex(
        operation_pb2.RebuildIndexRequest(
            name="workers", dest="new", alias="live", parameters=parameters_pb2.BuildParameters(ef_construction=400)
        )
    )
    assert started.job.state in ("queued", "running")
    with pytest.raises(FailedPrecondition) as raised:
        await stub.RebuildIndex(operation_pb2.RebuildIndexRequest(name="WORKERS"))
    assert (raised.value.reason, raised.value.metadata["job_id"]) == ("INDEX_HAS_JOB", started.job.id)
    cancelled = (await stub.CancelJob(operation_pb2.CancelJobRequest(job_id=started.job.id))).job
    assert cancelled.state == "cancelled"
    assert (await stub.CancelJob(operation_pb2.CancelJobRequest(job_id=started.job.id))).job == cancelled
    with pytest.raises(NotFound):
        await info(stub, "new")
    assert not (await stub.ListAliases(operation_pb2.ListAliasesRequest())).aliases
    assert len(await ids(stub, "workers")) == 5000
    await create(stub, "new")


@pytest.mark.requirement("V10")
async def test_a_rebuild_of_an_index_that_is_deleted_meanwhile_fails(stub: Stub) -> None:
    await create(stub, "workers", 5000)
    slow = parameters_pb2.BuildParameters(ef_construction=400)
    started = await stub.RebuildIndex(operation_pb2.RebuildIndexRequest(name="workers", dest="new", parameters=slow))
    await stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    job = await ended(stub, started.job.id)
    assert (job.state, job.error.code) == ("failed", 5)
    assert not (await stub.ListIndexes(vector_pb2.ListIndexesRequest())).indexes


@pytest.mark.requirement("V10")
async def test_jobs_are_listed_newest_first_in_pages(stub: Stub) -> None:
    await create(stub, "workers", 10)
    jobs = [(await rebuilt(stub, name="workers")).id for _ in range(3)]
    page = await stub.ListJobs(operation_pb2.ListJobsRequest(page_size=2))
    rest = await stub.ListJobs(operation_pb2.ListJobsRequest(page_token=page.next_page_token))
    assert [job.id for job in [*page.jobs, *rest.jobs]] == jobs[::-1]
    assert (await stub.GetJob(operation_pb2.GetJobRequest(job_id=jobs[0]))).job == rest.jobs[0]
    for call in (
        stub.GetJob(operation_pb2.GetJobRequest(job_id="x")),
        stub.CancelJob(operation_pb2.CancelJobRequest(job_id="x")),
        ended(stub, "x"),
    ):
        with pytest.raises(NotFound) as raised:
            await call
        assert raised.value.reason == "JOB_NOT_FOUND"
    with pytest.raises(InvalidArgument):
        await stub.ListJobs(operation_pb2.ListJobsRequest(page_token="???"))
