"""ingestd through its contract: a stream of bytes becomes a registered dataset, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api import httpbody_pb2

from lakehouse.catalog.v1.catalog_pb2 import GetManifestRequest, Manifest
from lakehouse.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from lakehouse.ingest.v1.ingest_pb2 import GetInboxRequest, IngestRequest, IngestResponse
from lakehouse.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from lakehouse.storage.v1.storage_pb2 import CreateBucketRequest, GetObjectRequest, ListObjectsRequest
from lakehouse.storage.v1.storage_pb2_grpc import StorageServiceStub

from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, InvalidArgument, NotFound, TooLarge, Unimplemented

FORM = "multipart/form-data; boundary=xyz"
PEOPLE = b"id,email,rate\n1,ada@example.com,1.50\n2,,2.00\n3,bob@example.com,0.25\n"


def form(name: str, data: bytes) -> bytes:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="p.csv"\r\n\r\n'.encode() + data


async def requests(data: bytes, content_type: str, piece: int, **fields: Any) -> AsyncIterator[IngestRequest]:
    body = httpbody_pb2.HttpBody(content_type=content_type, data=data[:piece])
    yield IngestRequest(data=body, **fields)
    for start in range(piece, len(data), piece):
        yield IngestRequest(data=httpbody_pb2.HttpBody(data=data[start : start + piece]))


async def ingest(
    mesh: Mesh, data: bytes, *, content_type: str = "", piece: int = 1 << 20, metadata: Any = None, **fields: Any
) -> IngestResponse:
    stub = IngestServiceStub(mesh.connect("ingestd"))
    response: IngestResponse = await stub.Ingest(requests(data, content_type, piece, **fields), metadata=metadata)
    return response


async def manifest(mesh: Mesh, name: str) -> Manifest:
    stub = CatalogServiceStub(mesh.connect("catalogd"))
    return (await stub.GetManifest(GetManifestRequest(name=name))).manifest


async def rows(mesh: Mesh, bucket: str, key: str) -> pa.Table:
    stub = StorageServiceStub(mesh.connect("storaged"))
    pieces = [piece.data.data async for piece in stub.GetObject(GetObjectRequest(bucket=bucket, key=key))]
    return pq.read_table(io.BytesIO(b"".join(pieces)))


async def keys(mesh: Mesh) -> list[str]:
    stub = StorageServiceStub(mesh.connect("storaged"))
    return [found.key for found in (await stub.ListObjects(ListObjectsRequest(prefix="datasets/"))).objects]


@pytest.mark.requirement("I1", "I2", "X13")
async def test_a_file_becomes_a_dataset(mesh: Mesh) -> None:
    answer = await ingest(mesh, PEOPLE, name="people", file_name="people.csv", piece=5)

    assert (answer.name, answer.row_count, answer.dataset_row_count) == ("people", 3, 3)
    assert (answer.created, answer.changed, answer.bytes_received) == (True, True, len(PEOPLE))
    assert [(c.name, c.type, c.pii, c.widened) for c in answer.columns] == [
        ("id", "int64", "", ""),
        ("email", "string", "email", ""),
        ("rate", "double", "", ""),
    ]
    assert (await rows(mesh, answer.bucket, answer.key)).to_pydict() == {
        "id": [1, 2, 3],
        "email": ["ada@example.com", None, "bob@example.com"],
        "rate": [1.5, 2.0, 0.25],
    }


@pytest.mark.requirement("I9", "I13", "C5")
async def test_the_manifest_says_what_the_dataset_is_made_of(mesh: Mesh) -> None:
    answer = await ingest(mesh, PEOPLE, name="people", file_name="people.csv")

    found = await manifest(mesh, "people")
    assert found.dataset_id == answer.dataset_id
    assert found.schema_fingerprint == answer.schema_fingerprint
    assert [(c.name, c.pii, c.sensitivity) for c in found.columns] == [
        ("id", "", "internal"),
        ("email", "email", "pii"),
        ("rate", "", "internal"),
    ]
    assert [column.HasField("scale") and column.scale for column in found.columns] == [False, False, 2]
    (stored,) = found.objects
    assert (stored.bucket, stored.key, stored.size) == (answer.bucket, answer.key, answer.bytes_written)
    assert (stored.row_count, len(stored.sha256)) == (3, 64)
    assert (found.lineage.source_system, found.lineage.source) == ("csv", "people.csv")
    assert found.lineage.source_sha256 == hashlib.sha256(PEOPLE).hexdigest()


@pytest.mark.requirement("I1")
async def test_a_form_is_the_same_as_its_file(mesh: Mesh) -> None:
    raw = await ingest(mesh, PEOPLE, name="people")
    answer = await ingest(mesh, form("file", PEOPLE) + b"\r\n--xyz--\r\n", content_type=FORM, name="people", piece=7)

    assert (answer.key, answer.changed, answer.bytes_received) == (raw.key, False, len(PEOPLE))


@pytest.mark.requirement("I6")
async def test_the_same_file_again_changes_nothing(mesh: Mesh) -> None:
    first = await ingest(mesh, PEOPLE, name="people")
    version = (await manifest(mesh, "people")).version

    again = await ingest(mesh, PEOPLE, name="people")

    assert (again.created, again.changed) == (False, False)
    assert (again.dataset_id, again.key, again.row_count) == (first.dataset_id, first.key, first.row_count)
    assert (await manifest(mesh, "people")).version == version
    assert await keys(mesh) == [first.key]


@pytest.mark.requirement("I4", "C1")
async def test_new_rows_replace_the_old_ones_in_one_step(mesh: Mesh) -> None:
    first = await ingest(mesh, b"a\n1\n2\n", name="numbers")
    second = await ingest(mesh, b"a\n3\n", name="numbers")

    assert [stored.key for stored in (await manifest(mesh, "numbers")).objects] == [second.key]
    assert (second.dataset_row_count, second.changed, second.created) == (1, True, False)
    assert (await rows(mesh, "", first.key))["a"].to_pylist() == [1, 2], "a reader may still hold the old object"


@pytest.mark.requirement("C1")
async def test_rows_are_appended_when_asked(mesh: Mesh) -> None:
    await ingest(mesh, b"a\n1\n2\n", name="numbers")
    second = await ingest(mesh, b"a\n3\n", name="numbers", mode="append")

    assert (second.row_count, second.dataset_row_count) == (1, 3)


@pytest.mark.requirement("I5", "C1")
async def test_other_columns_conflict_and_leave_the_data_as_it_was(mesh: Mesh) -> None:
    first = await ingest(mesh, b"a\n1\n", name="numbers")

    with pytest.raises(AlreadyExists) as caught:
        await ingest(mesh, b"a\nx\n", name="numbers")

    assert caught.value.reason == "SCHEMA_CONFLICT"
    assert [stored.key for stored in (await manifest(mesh, "numbers")).objects] == [first.key]


@pytest.mark.requirement("X14")
@pytest.mark.parametrize("name", ["people & co: 100 %", "größe 'x' \"y\"", "名前"])
async def test_any_legal_name_is_kept(mesh: Mesh, name: str) -> None:
    answer = await ingest(mesh, PEOPLE, name=name)

    assert (await manifest(mesh, name)).name == answer.name == name
    assert (await rows(mesh, answer.bucket, answer.key)).num_rows == 3


async def test_columns_stay_text_and_delimiters_are_believed_when_asked(mesh: Mesh) -> None:
    answer = await ingest(mesh, b"a|b\n1|2\n", name="n", string_columns=["b"], delimiter="|")

    assert [(column.name, column.type) for column in answer.columns] == [("a", "int64"), ("b", "string")]


@pytest.mark.requirement("I2")
async def test_a_late_leading_zero_makes_the_column_text_and_says_so(mesh: Mesh) -> None:
    data = b"zip\n" + b"10001\n" * 400_000 + b"00501\n"

    answer = await ingest(mesh, data, name="zips")

    (column,) = answer.columns
    assert (column.type, bool(column.widened)) == ("string", True)
    texts = (await rows(mesh, answer.bucket, answer.key))["zip"]
    assert (len(texts), texts[400_000].as_py()) == (400_001, "00501")


@pytest.mark.requirement("S7")
async def test_the_object_lies_in_the_named_bucket(mesh: Mesh) -> None:
    storage = StorageServiceStub(mesh.connect("storaged"))
    await storage.CreateBucket(CreateBucketRequest(name="cold"))

    answer = await ingest(mesh, PEOPLE, name="people", bucket="cold")

    assert answer.bucket == "cold"
    assert (await rows(mesh, "cold", answer.key)).num_rows == 3


@pytest.mark.requirement("S7")
async def test_an_unknown_bucket_is_said_by_name(mesh: Mesh) -> None:
    with pytest.raises(NotFound) as caught:
        await ingest(mesh, PEOPLE, name="people", bucket="nowhere")

    assert caught.value.reason == "BUCKET_NOT_FOUND"


@pytest.mark.requirement("I1", "I2", "X3")
@pytest.mark.parametrize(
    ("data", "content_type", "fields", "reason"),
    [
        (PEOPLE, "", {}, "MISSING_NAME"),
        (PEOPLE, FORM, {"name": "n"}, "BROKEN_MULTIPART"),
        (form("file", PEOPLE), FORM, {"name": "n"}, "BROKEN_MULTIPART"),
        (b"--xyz--\r\n", FORM, {"name": "n"}, "MISSING_FILE"),
        (form("upload", PEOPLE) + b"\r\n--xyz--", FORM, {"name": "n"}, "MISSING_FILE"),
        (
            form("mode", b"append") + b"\r\n" + form("file", PEOPLE) + b"\r\n--xyz--",
            FORM,
            {"name": "n"},
            "UNKNOWN_FIELD",
        ),
        (b"", "", {"name": "n"}, "EMPTY_FILE"),
        (b"\n\n", "", {"name": "n"}, "EMPTY_FILE"),
        (b"a,b\n", "", {"name": "n"}, "HEADER_ONLY"),
        (b"a,\n1,2\n", "", {"name": "n"}, "EMPTY_COLUMN_NAME"),
        (b"a,A\n1,2\n", "", {"name": "n"}, "DUPLICATE_COLUMN_NAME"),
        (b"a,b\n1,2\n3\n", "", {"name": "n"}, "RAGGED_ROW"),
        (b"a,b\n1,\xff\n", "", {"name": "n"}, "NOT_UTF8"),
        (b"a,b\n1,x\0\n", "", {"name": "n"}, "NUL_BYTE"),
        (b'a,b\n1,"2\n', "", {"name": "n"}, "UNTERMINATED_QUOTE"),
        (PEOPLE, "", {"name": "n", "string_columns": ["c"]}, "UNKNOWN_COLUMN"),
        (PEOPLE, "", {"name": "n", "size": 5}, "UPLOAD_SIZE_MISMATCH"),
        (PEOPLE, "", {"name": "a/b"}, "INVALID_FIELD"),
        (PEOPLE, "", {"name": "n", "mode": "merge"}, "INVALID_FIELD"),
    ],
)
async def test_what_is_wrong_with_a_file_has_its_own_reason(
    mesh: Mesh, data: bytes, content_type: str, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await ingest(mesh, data, content_type=content_type, **fields)

    assert caught.value.reason == reason
    assert await keys(mesh) == []


async def test_no_message_at_all_is_a_missing_name(mesh: Mesh) -> None:
    async def nothing() -> AsyncIterator[IngestRequest]:
        return
        yield IngestRequest()  # makes this an async generator

    with pytest.raises(InvalidArgument) as caught:
        await IngestServiceStub(mesh.connect("ingestd")).Ingest(nothing())

    assert caught.value.reason == "MISSING_NAME"


@pytest.mark.parametrize("name", ["parquet", "json", "pdf"])
async def test_a_format_of_a_later_release_is_unimplemented(mesh: Mesh, name: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        await ingest(mesh, PEOPLE, name="people", format=name)

    assert caught.value.reason == "FORMAT_UNIMPLEMENTED"


async def test_a_method_of_a_later_release_is_unimplemented(mesh: Mesh) -> None:
    with pytest.raises(Unimplemented):
        await IngestServiceStub(mesh.connect("ingestd")).GetInbox(GetInboxRequest())


@pytest.mark.requirement("I7", "X7")
@pytest.mark.settings(ingest={"max_ingest_bytes": 1_000})
@pytest.mark.parametrize(
    ("fields", "metadata"),
    [({}, None), ({"size": 2_000}, None), ({}, (("x-lakehouse-content-length", "2000"),))],
)
async def test_a_file_over_the_limit_is_refused_with_the_limit(
    mesh: Mesh, fields: dict[str, Any], metadata: Any
) -> None:
    with pytest.raises(TooLarge) as caught:
        await ingest(mesh, b"a\n" + b"1\n" * 999, name="big", piece=100, metadata=metadata, **fields)

    assert (caught.value.reason, caught.value.metadata["limit"]) == ("FILE_TOO_LARGE", "1000")
    assert "1,000" in caught.value.message
    assert await keys(mesh) == []


@pytest.mark.requirement("I7")
async def test_a_declared_file_over_the_limit_is_refused_before_it_is_sent(mesh: Mesh) -> None:
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[IngestRequest]:
        yield IngestRequest(name="big", size=2 << 30)
        await never.wait()

    with pytest.raises(TooLarge):
        await asyncio.wait_for(IngestServiceStub(mesh.connect("ingestd")).Ingest(stalled()), 10)


def scratch(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "data" / "ingestd" / "scratch").iterdir())


def converting(tmp_path: Path) -> bool:
    return any((folder / "converted.parquet").exists() for folder in scratch(tmp_path))


async def until_empty(tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        while scratch(tmp_path):  # noqa: ASYNC110 - a folder has no event to wait for
            await asyncio.sleep(0.01)


async def test_nothing_remains_of_a_file_after_the_answer(mesh: Mesh, tmp_path: Path) -> None:
    await ingest(mesh, PEOPLE, name="people")
    with pytest.raises(InvalidArgument):
        await ingest(mesh, b"a,b\n1\n", name="people")

    assert scratch(tmp_path) == []


@pytest.mark.requirement("X6")
async def test_a_caller_that_goes_away_leaves_nothing(mesh: Mesh, tmp_path: Path) -> None:
    sent = asyncio.Event()

    async def stalled() -> AsyncIterator[IngestRequest]:
        yield IngestRequest(name="people", data=httpbody_pb2.HttpBody(data=b"a\n" + b"1\n" * (1 << 20)))
        sent.set()
        await asyncio.Event().wait()

    async def call() -> None:
        await IngestServiceStub(mesh.connect("ingestd")).Ingest(stalled())

    calling = asyncio.create_task(call())
    await asyncio.wait_for(sent.wait(), 10)
    calling.cancel()
    await asyncio.wait({calling})

    await until_empty(tmp_path)
    with pytest.raises(NotFound):
        await manifest(mesh, "people")


@pytest.mark.requirement("X6")
async def test_a_caller_that_goes_away_stops_the_conversion(mesh: Mesh, tmp_path: Path) -> None:
    data = b"a,b\n" + b"12345,text\n" * 2_000_000
    calling = asyncio.create_task(ingest(mesh, data, name="people"))
    async with asyncio.timeout(10):
        while not converting(tmp_path):  # noqa: ASYNC110 - a folder has no event to wait for
            await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait({calling})

    await until_empty(tmp_path)
    assert await keys(mesh) == []


async def test_files_are_taken_in_side_by_side(mesh: Mesh) -> None:
    files = {f"file {number}": b"a\n" + b"%d\n" % number * 1_000 for number in range(12)}

    answers = await asyncio.gather(*(ingest(mesh, data, name=name) for name, data in files.items()))

    assert [answer.row_count for answer in answers] == [1_000] * 12
    assert [(await rows(mesh, "", answer.key))["a"][0].as_py() for answer in answers] == list(range(12))
