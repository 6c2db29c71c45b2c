"""vectord through its stub, on both legs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from lakehouse.vector.v1 import filter_pb2, parameters_pb2, vector_pb2, vector_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceError,
    TooLarge,
)

Filter = filter_pb2.Filter


@pytest.fixture
def stub(mesh: Mesh) -> vector_pb2_grpc.VectorServiceStub:
    return vector_pb2_grpc.VectorServiceStub(mesh.connect("vectord"))


def item(item_id: str, vector: Iterable[float], metadata: dict[str, Any] | None = None) -> vector_pb2.Item:
    message = vector_pb2.Item(id=item_id, vector=list(vector))
    if metadata is not None:
        message.metadata.SetInParent()
        message.metadata.update(metadata)
    return message


async def create(stub: vector_pb2_grpc.VectorServiceStub, name: str = "workers", **fields: Any) -> vector_pb2.Index:
    request = vector_pb2.CreateIndexRequest(**{"name": name, "dimension": 2, "metric": "cosine", **fields})
    return (await stub.CreateIndex(request)).index


async def add(
    stub: vector_pb2_grpc.VectorServiceStub, items: Sequence[vector_pb2.Item], name: str = "workers"
) -> vector_pb2.AddItemsResponse:
    return await stub.AddItems(vector_pb2.AddItemsRequest(name=name, items=items))


WORKERS = [
    item("ana", [1, 0], {"role": "welder", "years": 4, "shifts": ["day", "night"], "home": {"city": "Detroit"}}),
    item("ben", [0, 1], {"role": "welder", "years": 9, "shifts": ["day"], "home": {"city": "Toledo"}}),
    item("cat", [-1, 0], {"role": "nurse", "years": 4, "active": False, "note": None}),
    item("dan", [3, 4]),
]


async def found(stub: vector_pb2_grpc.VectorServiceStub, vector: Sequence[float], **fields: Any) -> list[str]:
    request = vector_pb2.SearchRequest(name="workers", vector=vector, **fields)
    return [hit.id for hit in (await stub.Search(request)).hits]


@pytest.mark.requirement("V1", "V9")
async def test_an_index_is_created_described_listed_and_deleted(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    properties = Struct()
    properties.update({"built_by": "test"})
    source = vector_pb2.IndexSource(dataset="workers", dataset_version=3, embedding_model="hash", properties=properties)
    made = await create(stub, "Bewerber 50%", metric="", source=source)
    assert (made.name, made.dimension, made.metric, made.storage_type) == ("Bewerber 50%", 2, "cosine", "float32")
    assert (made.parameters.m, made.parameters.ef_construction, made.parameters.ef_search) == (16, 80, 0)
    assert (made.count, made.bucket, made.source, list(made.problems)) == (0, "primary", source, [])
    assert made.created_at.seconds > 1_700_000_000
    assert made.size > 0
    await create(stub, "another", metric="l2", parameters=parameters_pb2.BuildParameters(m=8, ef_search=100))
    listed = await stub.ListIndexes(vector_pb2.ListIndexesRequest(page_size=1))
    assert [index.name for index in listed.indexes] == ["Bewerber 50%"]
    listed = await stub.ListIndexes(vector_pb2.ListIndexesRequest(page_token=listed.next_page_token))
    assert [index.name for index in listed.indexes] == ["another"]
    assert listed.indexes[0].parameters.ef_search == 100
    assert listed.next_page_token == ""
    await add(stub, WORKERS, "bewerber 50%")
    deleted = await stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="BEWERBER 50%"))
    assert deleted.deleted == 4
    with pytest.raises(NotFound) as raised:
        await stub.GetIndex(vector_pb2.GetIndexRequest(name="Bewerber 50%"))
    assert (raised.value.reason, raised.value.metadata["name"]) == ("INDEX_NOT_FOUND", "Bewerber 50%")


REFUSED_INDEXES: list[tuple[dict[str, Any], type[ServiceError], str | None]] = [
    ({"name": "WORKERS"}, AlreadyExists, "INDEX_EXISTS"),
    ({"name": ""}, InvalidArgument, None),
    ({"name": "a/b"}, InvalidArgument, None),
    ({"dimension": 0}, InvalidArgument, None),
    ({"dimension": 65_537}, InvalidArgument, None),
    ({"metric": "manhattan"}, InvalidArgument, None),
    ({"storage_type": "float64"}, InvalidArgument, None),
    ({"parameters": parameters_pb2.BuildParameters(m=1)}, InvalidArgument, None),
    ({"parameters": parameters_pb2.BuildParameters(m=129)}, InvalidArgument, None),
]


@pytest.mark.requirement("V1", "X14")
async def test_an_index_that_cannot_be_is_refused(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    for fields, error, reason in REFUSED_INDEXES:
        with pytest.raises(error) as raised:
            await create(stub, **{"name": "other", **fields})
        assert raised.value.reason == (reason or raised.value.reason), fields
    assert len((await stub.ListIndexes(vector_pb2.ListIndexesRequest())).indexes) == 1


@pytest.mark.requirement("V1", "V3", "V4", "X13")
async def test_what_is_added_is_found_by_the_next_search(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    answer = await add(stub, WORKERS)
    assert (answer.added, answer.updated, answer.count) == (4, 0, 4)
    response = await stub.Search(vector_pb2.SearchRequest(name="Workers", vector=[1, 0], with_vectors=True))
    assert [hit.id for hit in response.hits] == ["ana", "dan", "ben", "cat"]
    assert [hit.distance for hit in response.hits] == pytest.approx([0, 0.4, 1, 2], abs=1e-6)
    assert list(response.hits[1].vector) == [3, 4]
    assert json_format.MessageToDict(response.hits[0].metadata) == json_format.MessageToDict(WORKERS[0].metadata)
    assert all(hit.HasField("metadata") for hit in response.hits)
    assert not any(
        hit.vector for hit in (await stub.Search(vector_pb2.SearchRequest(name="workers", vector=[1, 0]))).hits
    )


@pytest.mark.requirement("V2")
async def test_an_upsert_replaces_the_vector_and_only_given_metadata(
    stub: vector_pb2_grpc.VectorServiceStub,
) -> None:
    await create(stub)
    await add(stub, WORKERS)
    answer = await add(stub, [item("ana", [0, -1]), item("ben", [0, -1], {}), item("new", [1, 1])])
    assert (answer.added, answer.updated, answer.count) == (1, 2, 5)
    read = await stub.GetItems(vector_pb2.GetItemsRequest(name="workers", ids=["ben", "unknown", "ana"]))
    assert [one.id for one in read.items] == ["ben", "ana"]
    assert [list(one.vector) for one in read.items] == [[0, -1], [0, -1]]
    assert not read.items[0].metadata.fields
    assert read.items[1].metadata["role"] == "welder"


REFUSED_ITEMS: list[tuple[vector_pb2.Item, str, str]] = [
    (item("", [1, 2]), "EMPTY_ID", "items[1].id"),
    (item("x" * 1025, [1, 2]), "ID_TOO_LONG", "items[1].id"),
    (item("x", [1, 2, 3]), "WRONG_DIMENSION", "items[1].vector"),
    (item("x", []), "WRONG_DIMENSION", "items[1].vector"),
    (item("x", [1, math.nan]), "NOT_FINITE", "items[1].vector"),
    (item("x", [math.inf, 1]), "NOT_FINITE", "items[1].vector"),
    (item("x", [0, 0]), "ZERO_NORM", "items[1].vector"),
]


@pytest.mark.requirement("V2", "X3")
async def test_one_bad_item_refuses_the_batch_by_its_place(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    for bad, reason, field in REFUSED_ITEMS:
        with pytest.raises(InvalidArgument) as raised:
            await add(stub, [item("good", [1, 2]), bad])
        assert raised.value.reason == reason
        assert [violation.field for violation in raised.value.violations] == [field]
    assert (await stub.GetIndex(vector_pb2.GetIndexRequest(name="workers"))).index.count == 0


async def test_an_empty_batch_is_refused(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    with pytest.raises(InvalidArgument):
        await add(stub, [])


@pytest.mark.requirement("X7")
async def test_a_batch_over_the_limit_is_too_large(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub, dimension=65_536)
    with pytest.raises(TooLarge):
        await add(stub, [item(str(number), np.ones(65_536)) for number in range(129)])


@pytest.mark.requirement("V1")
async def test_items_are_deleted_by_id(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    request = vector_pb2.DeleteItemsRequest(name="workers", ids=["ana", "ana", "unknown"])
    answer = await stub.DeleteItems(request)
    assert (answer.deleted, answer.missing, answer.count) == (1, 1, 3)
    assert "ana" not in await found(stub, [1, 0])
    answer = await stub.DeleteItems(request)
    assert (answer.deleted, answer.missing, answer.count) == (0, 2, 3)


async def test_items_are_listed_in_pages_in_the_order_of_their_ids(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    request = vector_pb2.ListItemsRequest(name="workers", page_size=3, with_vectors=True)
    page = await stub.ListItems(request)
    assert [one.id for one in page.items] == ["ana", "ben", "cat"]
    assert list(page.items[0].vector) == [1, 0]
    rest = await stub.ListItems(vector_pb2.ListItemsRequest(name="workers", page_token=page.next_page_token))
    assert [(one.id, list(one.vector)) for one in rest.items] == [("dan", [])]
    assert rest.next_page_token == ""
    with pytest.raises(InvalidArgument):
        await stub.ListItems(vector_pb2.ListItemsRequest(name="workers", page_token="???"))


def equals(field: str, value: Value) -> Filter:
    return Filter(equals=filter_pb2.Equals(field=field, value=value))


def bounds(field: str, **values: float | str) -> Filter:
    made = {
        name: Value(string_value=value) if isinstance(value, str) else Value(number_value=value)
        for name, value in values.items()
    }
    return Filter(range=filter_pb2.Range(field=field, **made))


NEGATED = Filter()
getattr(NEGATED, "not").CopyFrom(equals("role", Value(string_value="welder")))
ONE_OF = Filter()
getattr(ONE_OF, "in").CopyFrom(
    filter_pb2.In(field="years", values=[Value(number_value=9), Value(string_value="4"), Value(number_value=1)])
)


FILTERS: list[tuple[Filter, list[str]]] = [
    (Filter(), ["ana", "dan", "ben", "cat"]),
    (equals("role", Value(string_value="welder")), ["ana", "ben"]),
    (equals("years", Value(number_value=4)), ["ana", "cat"]),
    (equals("years", Value(string_value="4")), []),
    (equals("active", Value(bool_value=False)), ["cat"]),
    (equals("note", Value(null_value=0)), ["cat"]),  # type: ignore[arg-type]  # null has one value
    (equals("shifts", Value(string_value="night")), ["ana"]),
    (equals("home.city", Value(string_value="Toledo")), ["ben"]),
    (ONE_OF, ["ben"]),
    (NEGATED, ["dan", "cat"]),
    (bounds("years", gt=4), ["ben"]),
    (bounds("years", gte=4, lt=9), ["ana", "cat"]),
    (bounds("role", lte="nurse"), ["cat"]),
    (bounds("years", gt="a"), []),
    (Filter(exists=filter_pb2.Exists(field="note")), []),
    (Filter(exists=filter_pb2.Exists(field="home")), ["ana", "ben"]),
    (Filter(any=filter_pb2.FilterList(filters=[ONE_OF, bounds("active", gt=0), NEGATED])), ["dan", "ben", "cat"]),
    (Filter(all=filter_pb2.FilterList(filters=[NEGATED, bounds("years", gt=0)])), ["cat"]),
]


@pytest.mark.requirement("V5")
async def test_only_items_that_pass_the_filter_are_found(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    for condition, expected in FILTERS:
        assert await found(stub, [1, 0], filter=condition) == expected, condition
        request = vector_pb2.GetItemsRequest(name="workers", ids=["ana", "ben", "cat", "dan"], filter=condition)
        assert {one.id for one in (await stub.GetItems(request)).items} == set(expected), condition


@pytest.mark.requirement("V5", "M2")
async def test_filters_and_exclusions_cost_no_places_in_the_result(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    assert await found(stub, [1, 0], k=1, exclude_ids=["ana", "dan"]) == ["ben"]
    assert await found(stub, [1, 0], k=1, filter=equals("role", Value(string_value="nurse"))) == ["cat"]
    assert await found(stub, [1, 0], k=2, ids=["cat", "ben", "unknown"], restrict_to_ids=True) == ["ben", "cat"]
    assert await found(stub, [1, 0], restrict_to_ids=True) == []
    assert await found(stub, [1, 0], exact=True, ef_search=1) == ["ana", "dan", "ben", "cat"]


def nested(levels: int) -> Filter:
    condition = Filter(exists=filter_pb2.Exists(field="role"))
    for _ in range(levels - 1):
        condition = Filter(all=filter_pb2.FilterList(filters=[condition]))
    return condition


REFUSED_SEARCHES: list[tuple[dict[str, Any], str | None, str]] = [
    ({"vector": [1]}, "WRONG_DIMENSION", "vector"),
    ({"vector": [1, math.nan]}, "NOT_FINITE", "vector"),
    ({"vector": [0, 0]}, "ZERO_NORM", "vector"),
    ({"vector": [1, 0], "filter": nested(33)}, "FILTER_TOO_DEEP", "filter"),
    ({"vector": [1, 0], "k": 0}, None, "k"),
    ({"vector": [1, 0], "k": 10_001}, None, "k"),
    ({"vector": [1, 0], "ids": ["ana"]}, None, "ids"),
    ({"vector": [1, 0], "filter": bounds("years")}, None, "filter"),
    (
        {
            "vector": [1, 0],
            "filter": Filter(any=filter_pb2.FilterList(filters=[equals("a", Value(list_value=ListValue()))])),
        },
        None,
        "filter.any.filters[0].equals.value",
    ),
    (
        {
            "vector": [1, 0],
            "filter": Filter(range=filter_pb2.Range(field="a", lt=Value(bool_value=True))),
        },
        None,
        "filter.range.lt",
    ),
]


async def test_a_bad_search_is_refused_by_its_field(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    for fields, reason, field in REFUSED_SEARCHES:
        with pytest.raises(InvalidArgument) as raised:
            await stub.Search(vector_pb2.SearchRequest(name="workers", **fields))
        assert raised.value.reason == (reason or raised.value.reason), fields
        assert [violation.field for violation in raised.value.violations] == [field]
    assert await found(stub, [1, 0], filter=nested(32)) == ["ana", "ben", "cat"]


@pytest.mark.requirement("V1")
async def test_several_vectors_are_searched_at_once(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await add(stub, WORKERS)
    vectors = [vector_pb2.QueryVector(values=values) for values in ([1, 0], [0, 1], [-1, 0])]
    request = vector_pb2.BatchSearchRequest(name="workers", vectors=vectors, k=1, exclude_ids=["ben"])
    answer = await stub.BatchSearch(request)
    assert [[hit.id for hit in result.hits] for result in answer.results] == [["ana"], ["dan"], ["cat"]]
    assert answer.results[0].hits[0].metadata["role"] == "welder"
    request.vectors[1].values.append(1)
    with pytest.raises(InvalidArgument) as raised:
        await stub.BatchSearch(request)
    assert raised.value.reason == "WRONG_DIMENSION"
    assert raised.value.violations[0].field == "vectors[1].values"


@pytest.mark.requirement("V7")
async def test_one_index_is_merged_into_another(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    await create(stub)
    await create(stub, "fresh")
    await create(stub, "long", dimension=3)
    await add(stub, WORKERS)
    await add(stub, [item("ana", [9, 9]), item("eve", [1, 1], {"role": "cook"})], "fresh")
    request = vector_pb2.MergeIndexRequest(name="fresh", dest="workers", clear_source=True)
    answer = await stub.MergeIndex(request)
    assert (answer.merged, answer.skipped, answer.failed) == (1, 1, 0)
    assert (answer.source_count, answer.dest_count) == (0, 5)
    assert await found(stub, [1, 0], k=1) == ["ana"]
    with pytest.raises(InvalidArgument) as refused:
        await stub.MergeIndex(vector_pb2.MergeIndexRequest(name="workers", dest="WORKERS"))
    assert refused.value.reason == "SELF_MERGE"
    with pytest.raises(FailedPrecondition) as differ:
        await stub.MergeIndex(vector_pb2.MergeIndexRequest(name="workers", dest="long"))
    assert differ.value.reason == "WRONG_DIMENSION"
    with pytest.raises(NotFound):
        await stub.MergeIndex(vector_pb2.MergeIndexRequest(name="workers", dest="nowhere"))


async def test_every_method_names_an_index_that_is_not_there(stub: vector_pb2_grpc.VectorServiceStub) -> None:
    calls: list[Awaitable[object]] = [
        stub.GetIndex(vector_pb2.GetIndexRequest(name="no")),
        stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="no")),
        stub.AddItems(vector_pb2.AddItemsRequest(name="no", items=WORKERS)),
        stub.DeleteItems(vector_pb2.DeleteItemsRequest(name="no", ids=["a"])),
        stub.GetItems(vector_pb2.GetItemsRequest(name="no", ids=["a"])),
        stub.ListItems(vector_pb2.ListItemsRequest(name="no")),
        stub.Search(vector_pb2.SearchRequest(name="no", vector=[1, 2])),
        stub.BatchSearch(vector_pb2.BatchSearchRequest(name="no", vectors=[vector_pb2.QueryVector(values=[1, 2])])),
    ]
    for call in calls:
        with pytest.raises(NotFound) as raised:
            await call
        assert (raised.value.reason, raised.value.metadata) == ("INDEX_NOT_FOUND", {"name": "no"})


@pytest.mark.requirement("V3")
@pytest.mark.settings(vector={"hot_bytes": 1, "quiet_seconds": 0.05})
async def test_adds_searches_and_deletes_at_the_same_time_see_whole_batches(
    stub: vector_pb2_grpc.VectorServiceStub,
) -> None:
    await create(stub, metric="l2")

    async def write(writer: int) -> None:
        for number in range(12):
            pair = [item(f"{writer}-{number}-{half}", [writer, number]) for half in "ab"]
            await add(stub, pair)
            assert await found(stub, [writer, number], k=2) == [one.id for one in pair]
            extra = [item(f"x-{writer}-{n}", [100 + writer, n]) for n in range(40)]
            await add(stub, extra)
        await stub.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=[one.id for one in extra]))

    await asyncio.gather(*(write(writer) for writer in range(6)))
    index = (await stub.GetIndex(vector_pb2.GetIndexRequest(name="workers"))).index
    assert index.count == 6 * 24
