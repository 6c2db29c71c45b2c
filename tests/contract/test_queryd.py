"""queryd through its contract, over real objects in storaged and manifests in catalogd."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api import httpbody_pb2
from google.protobuf import duration_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.query.v1 import query_pb2, query_pb2_grpc
from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.mesh import Mesh
from services.queryd.pieces import cut
from services.runtime.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    TooLarge,
    Unavailable,
    Unimplemented,
)

ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r"


class Lake:
    """The three daemons that a query needs."""

    def __init__(self, mesh: Mesh) -> None:
        self.storage = storage_pb2_grpc.StorageServiceStub(mesh.connect("storaged"))
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(mesh.connect("catalogd"))
        self.query = query_pb2_grpc.QueryServiceStub(mesh.connect("queryd"))

    async def put(self, name: str, *tables: pa.Table, bucket: str = "", mode: str = "replace") -> None:
        """Stores one object for each table and registers them as a dataset."""
        objects = [await self.store(table, bucket) for table in tables]
        await self.register(name, tables[0].schema, objects, mode)

    async def store(self, table: pa.Table, bucket: str = "") -> catalog_pb2.DataObject:
        """Stores a table as a Parquet object."""
        sink = io.BytesIO()
        pq.write_table(table, sink)
        data = sink.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"datasets/{sha256}.parquet"

        async def pieces() -> AsyncIterator[storage_pb2.PutObjectRequest]:
            for piece in cut(data):
                body = httpbody_pb2.HttpBody(data=piece)
                yield storage_pb2.PutObjectRequest(bucket=bucket, key=key, size=len(data), data=body)

        await self.storage.PutObject(pieces())
        return catalog_pb2.DataObject(bucket=bucket, key=key, size=len(data), sha256=sha256, row_count=table.num_rows)

    async def register(
        self, name: str, schema: pa.Schema, objects: list[catalog_pb2.DataObject], mode: str = "replace"
    ) -> None:
        """Registers objects as a dataset."""
        request = catalog_pb2.RegisterDatasetRequest(
            name=name,
            schema_fingerprint=hashlib.sha256(str(schema).encode()).hexdigest(),
            columns=[catalog_pb2.Column(name=column, type="string") for column in schema.names],
            objects=objects,
            mode=mode,
        )
        await self.catalog.RegisterDataset(request)

    async def json(self, sql: str, timeout: duration_pb2.Duration | None = None) -> dict[str, Any]:
        """The JSON answer."""
        response = await self.query.Query(query_pb2.QueryRequest(sql=sql, timeout=timeout))
        assert response.body.content_type == "application/json"
        answer: dict[str, Any] = orjson.loads(response.body.data)
        return answer

    async def rows(self, sql: str) -> list[list[Any]]:
        """The rows of the JSON answer."""
        rows: list[list[Any]] = (await self.json(sql))["rows"]
        return rows

    async def arrow(self, sql: str) -> pa.Table:
        """The Arrow answer."""
        received = b""
        async for response in self.query.QueryArrow(query_pb2.QueryArrowRequest(sql=sql)):
            received += response.data.data
        return pa.ipc.open_stream(received).read_all()


@pytest.fixture
async def lake(mesh: Mesh) -> Lake:
    return Lake(mesh)


def numbers(*values: int) -> pa.Table:
    """A table with one column."""
    return pa.table({"n": pa.array(values, pa.int64())})


@pytest.mark.requirement("Q1", "X13")
async def test_an_answer_is_json_with_columns_rows_and_row_count(lake: Lake) -> None:
    await lake.put("big", numbers(9007199254740993, -1))
    assert await lake.json("SELECT n, n / 2 AS half, 'nan'::DOUBLE AS x FROM big ORDER BY n DESC") == {
        "columns": [
            {"name": "n", "type": "BIGINT"},
            {"name": "half", "type": "DOUBLE"},
            {"name": "x", "type": "DOUBLE"},
        ],
        "rows": [[9007199254740993, 4503599627370496.5, None], [-1, -0.5, None]],
        "row_count": 2,
    }


@pytest.mark.requirement("Q1")
async def test_arrow_streams_what_json_refuses(lake: Lake) -> None:
    await lake.put("many", pa.table({"n": range(300_000)}))
    with pytest.raises(ResourceExhausted) as caught:
        await lake.json("FROM many")
    assert caught.value.reason == "ROW_LIMIT"
    assert (await lake.json("FROM many LIMIT 10000"))["row_count"] == 10_000
    assert (await lake.arrow("FROM many"))["n"].to_pylist() == list(range(300_000))


@pytest.mark.requirement("Q2")
async def test_every_change_of_the_catalog_is_seen_by_the_next_query(lake: Lake) -> None:
    with pytest.raises(InvalidArgument):
        await lake.json("FROM t")
    await lake.put("t", numbers(1))
    assert await lake.rows("FROM t") == [[1]]
    await lake.put("t", numbers(2))
    assert await lake.rows("FROM t") == [[2]]
    await lake.put("t", numbers(3), mode="append")
    assert await lake.rows("FROM t ORDER BY n") == [[2], [3]]
    await lake.catalog.DeregisterDataset(catalog_pb2.DeregisterDatasetRequest(name="t"))
    with pytest.raises(InvalidArgument) as caught:
        await lake.json("FROM t")
    assert caught.value.reason == "UNKNOWN_TABLE"


@pytest.mark.requirement("Q2", "C1")
async def test_readers_see_the_old_rows_or_the_new_and_never_both(lake: Lake) -> None:
    def half(version: int, part: int) -> pa.Table:
        return pa.table({"n": [version] * 500, "part": [part] * 500})

    await lake.put("t", half(0, 1), half(0, 2))
    wrong: list[Any] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            [[count, low, high]] = await lake.rows("SELECT count(*), min(n), max(n) FROM t")
            if count != 1_000 or low != high:
                wrong.append((count, low, high))

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for version in range(1, 15):
        await lake.put("t", half(version, 1), half(version, 2))
    done.set()
    await asyncio.gather(*readers)
    assert wrong == []
    assert await lake.rows("SELECT DISTINCT n FROM t") == [[14]]


@pytest.mark.requirement("X14")
@pytest.mark.parametrize("name", ['Zoë\'s "list" %41:', "データ 2026", "; SELECT 1", "duckdb_settings"])
async def test_any_legal_name_is_a_table(lake: Lake, name: str) -> None:
    await lake.put(name, numbers(7))
    quoted = name.replace('"', '""')
    assert await lake.rows(f'SELECT n FROM "{quoted}"') == [[7]]
    assert await lake.rows("SHOW TABLES") == [[name]]


@pytest.mark.requirement("Q7")
async def test_datasets_of_different_buckets_join(lake: Lake) -> None:
    await lake.storage.CreateBucket(storage_pb2.CreateBucketRequest(name="north"))
    await lake.put("left side", pa.table({"id": [1, 2], "a": ["x", "y"]}))
    await lake.put("right side", pa.table({"id": [2, 3], "b": ["p", "q"]}), bucket="north")
    assert await lake.rows('SELECT a, b FROM "left side" JOIN "right side" USING (id)') == [["y", "p"]]


@pytest.mark.requirement("Q2")
async def test_a_dataset_whose_object_is_lost_blocks_no_other(lake: Lake) -> None:
    await lake.put("good", numbers(1))
    lost = await lake.store(numbers(2))
    await lake.storage.DeleteObject(storage_pb2.DeleteObjectRequest(key=lost.key))
    await lake.register("lost", numbers().schema, [lost])
    with pytest.raises(Unavailable) as caught:
        await lake.json("FROM lost JOIN good ON true")
    assert (caught.value.reason, caught.value.metadata["dataset"]) == ("DATASET_UNREADABLE", "lost")
    assert await lake.rows("FROM good") == [[1]]
    await lake.store(numbers(2))
    assert await lake.rows("FROM lost") == [[2]]


@pytest.mark.requirement("Q5")
@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("", "MISSING_FIELD"),
        (" -- nothing\n;", "EMPTY_STATEMENT"),
        ("SELEC 1", "SYNTAX_ERROR"),
        ("FROM tt", "UNKNOWN_TABLE"),
        ("SELECT m FROM t", "UNKNOWN_COLUMN"),
        ("SELECT sum('x') FROM t", "INVALID_QUERY"),
        ("SELECT 'x'::INT", "INVALID_QUERY"),
        ("INSERT INTO t VALUES (1)", "STATEMENT_NOT_ALLOWED"),
        ("DROP VIEW t", "STATEMENT_NOT_ALLOWED"),
        ("COPY t TO '/tmp/x'", "STATEMENT_NOT_ALLOWED"),
        ("SET threads = 1", "STATEMENT_NOT_ALLOWED"),
        ("FROM read_text('/etc/passwd')", "STATEMENT_NOT_ALLOWED"),
        ("FROM '/etc/passwd'", "UNKNOWN_TABLE"),
        ("SELECT 1; DROP VIEW t", "STATEMENT_NOT_ALLOWED"),
    ],
)
async def test_each_refusal_has_its_reason_on_both_routes(lake: Lake, sql: str, reason: str) -> None:
    await lake.put("t", numbers(1))
    for answer in (lake.json, lake.arrow):
        with pytest.raises(InvalidArgument) as caught:
            await answer(sql)
        assert caught.value.reason == reason
    assert await lake.rows("FROM t") == [[1]]


@pytest.mark.requirement("Q5", "X7")
@pytest.mark.parametrize(("size", "reason"), [(64 << 10, "STATEMENT_TOO_LARGE"), (128 << 10, "MESSAGE_TOO_LARGE")])
async def test_a_long_statement_is_413(lake: Lake, size: int, reason: str) -> None:
    with pytest.raises(TooLarge) as caught:
        await lake.json("SELECT 1" + " " * size)
    assert caught.value.reason == reason


@pytest.mark.requirement("Q4")
async def test_a_caller_may_ask_for_less_time(lake: Lake) -> None:
    short = duration_pb2.Duration(nanos=100_000_000)
    with pytest.raises(DeadlineExceeded) as caught:
        await lake.json(ENDLESS, timeout=short)
    assert caught.value.reason == "QUERY_TIMEOUT"
    assert await lake.json("SELECT 1", timeout=duration_pb2.Duration(seconds=1_000_000))
    for seconds in (0, -1):
        with pytest.raises(InvalidArgument) as refused:
            await lake.json("SELECT 1", timeout=duration_pb2.Duration(seconds=seconds))
        assert refused.value.metadata["field"] == "timeout"


@pytest.mark.requirement("Q4")
@pytest.mark.settings(query={"statement_timeout": 0.1, "workers": 1})
async def test_nobody_gets_more_time_than_is_configured(lake: Lake) -> None:
    with pytest.raises(DeadlineExceeded):
        await lake.json(ENDLESS, timeout=duration_pb2.Duration(seconds=600))


@pytest.mark.requirement("X6")
@pytest.mark.settings(query={"workers": 1})
async def test_work_stops_when_the_caller_goes_away(lake: Lake) -> None:
    unary = asyncio.create_task(lake.json(ENDLESS))
    await asyncio.sleep(0.1)
    unary.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unary
    assert await lake.rows("SELECT 1") == [[1]]
    with pytest.raises(DeadlineExceeded):
        await lake.query.Query(query_pb2.QueryRequest(sql=ENDLESS), timeout=0.1)
    assert await lake.rows("SELECT 2") == [[2]]
    call = lake.query.QueryArrow(query_pb2.QueryArrowRequest(sql="SELECT i, hash(i) FROM range(100_000_000_000) t(i)"))
    async for _ in call:
        break
    call.cancel()
    assert await lake.rows("SELECT 3") == [[3]]


@pytest.mark.requirement("X3")
async def test_a_stream_that_fails_late_is_recognisable_by_its_bytes_alone(lake: Lake) -> None:
    sql = "SELECT CASE WHEN i = 2000000 THEN error('late') ELSE i END AS i FROM range(3000000) t(i)"
    received = b""
    with pytest.raises(ServiceError) as caught:
        async for response in lake.query.QueryArrow(query_pb2.QueryArrowRequest(sql=sql)):
            received += response.data.data
    assert caught.value.reason == "INVALID_QUERY"
    with pytest.raises((pa.ArrowInvalid, OSError)):
        pa.ipc.open_stream(received).read_all()


@pytest.mark.requirement("Q1")
async def test_arrow_pieces_say_their_media_type_and_stay_small(lake: Lake) -> None:
    sql = "SELECT i, repeat('x', 100) FROM range(50_000) t(i)"
    pieces = [r.data async for r in lake.query.QueryArrow(query_pb2.QueryArrowRequest(sql=sql))]
    assert pieces[0].content_type == "application/vnd.apache.arrow.stream"
    assert max(len(piece.data) for piece in pieces) <= 1 << 20


@pytest.mark.requirement("Q3", "Q6")
async def test_data_files_are_fetched_when_they_are_needed_and_then_kept(lake: Lake) -> None:
    await lake.put("used", numbers(1))
    await lake.put("unused", numbers(2))
    await lake.rows("SHOW TABLES")
    assert (await lake.query.GetCache(query_pb2.GetCacheRequest())).files == 0
    for _ in range(3):
        await lake.rows("FROM used")
    cache = await lake.query.GetCache(query_pb2.GetCacheRequest())
    assert (cache.files, cache.misses, cache.hits, cache.evictions) == (1, 1, 2, 0)
    assert 0 < cache.size <= cache.budget


@pytest.mark.requirement("Q3")
@pytest.mark.settings(query={"cache_bytes": 1_000})
async def test_a_cache_that_is_too_small_says_which_setting_to_raise(lake: Lake) -> None:
    await lake.put("large", pa.table({"n": range(10_000)}))
    with pytest.raises(ServiceError, match=r"query\.cache_bytes") as caught:
        await lake.json("FROM large")
    assert caught.value.reason == "CACHE_TOO_SMALL"
    assert await lake.rows("SELECT 1") == [[1]]


@pytest.mark.requirement("Q3")
@pytest.mark.settings(query={"cache_bytes": 3_000})
async def test_datasets_larger_than_the_cache_are_read_one_after_the_other(lake: Lake) -> None:
    for n in range(8):
        await lake.put(f"t{n}", pa.table({"n": range(n, n + 100)}))
    for n in range(8):
        assert await lake.rows(f"SELECT min(n), count(*) FROM t{n}") == [[n, 100]]
    cache = await lake.query.GetCache(query_pb2.GetCacheRequest())
    assert cache.evictions > 0
    assert cache.size <= 3_000


async def test_what_is_not_in_this_release_says_so(lake: Lake) -> None:
    with pytest.raises(Unimplemented):
        await lake.query.PinDataset(query_pb2.PinDatasetRequest(dataset="t"))
    with pytest.raises(Unimplemented):
        await lake.query.EvictDataset(query_pb2.EvictDatasetRequest(dataset="t"))
