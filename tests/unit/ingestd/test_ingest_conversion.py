"""From a received file to a Parquet file that can be registered (I4, I6, I13)."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.ingestd.conversion import Converted, convert
from services.ingestd.dataset import object_key
from services.ingestd.errors import FormatUnimplemented, RaggedRow
from services.ingestd.parquet import RowGroups
from services.ingestd.scratch import Folder, Scratch
from services.ingestd.source import Options
from services.runtime.errors import Cancelled

GROUPS = RowGroups(rows=10_000, bytes=32 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Scratch(tmp_path / "scratch").open()


def converted(
    folder: Folder, data: bytes, *, format_name: str = "", groups: RowGroups = GROUPS, **options: Any
) -> Converted:
    folder.received.write_bytes(data)
    return convert(folder, format_name=format_name, options=Options(**options), groups=groups)


def key_of(answer: Converted, name: str = "people") -> str:
    return object_key(name, answer.schema_fingerprint, answer.written.sha256)


def test_a_file_becomes_parquet_with_all_that_is_known_of_it(folder: Folder) -> None:
    answer = converted(folder, b"id,email,rate\n1,ada@example.com,1.50\n2,,2.00\n")

    assert answer.format == "csv"
    assert [(c.name, c.type, c.scale, c.pii, c.sensitivity) for c in answer.columns] == [
        ("id", "int64", None, "", "internal"),
        ("email", "string", None, "email", "pii"),
        ("rate", "double", 2, "", "internal"),
    ]
    data = folder.converted.read_bytes()
    assert answer.written.row_count == 2
    assert answer.written.size == len(data)
    assert answer.written.sha256 == hashlib.sha256(data).hexdigest()
    assert pq.read_table(folder.converted).to_pylist() == [
        {"id": 1, "email": "ada@example.com", "rate": 1.5},
        {"id": 2, "email": None, "rate": 2.0},
    ]


def test_the_same_rows_have_the_same_key(folder: Folder) -> None:
    first = converted(folder, b"a,b\n1,x\n2,y\n")
    again = converted(folder, b'"a";"b"\r\n1;"x"\r\n2;"y"')

    assert key_of(first) == key_of(again)
    assert key_of(first).startswith(f"datasets/people/{first.schema_fingerprint}-")


@pytest.mark.requirement("I4")
def test_other_rows_and_other_columns_have_another_key(folder: Folder) -> None:
    bodies = (b"a\n1\n", b"a\n2\n", b"b\n1\n", b"a\nx\n")

    assert len({key_of(converted(folder, body)) for body in bodies}) == len(bodies)


def test_a_long_name_makes_a_legal_key(folder: Folder) -> None:
    key = key_of(converted(folder, b"a\n1\n"), "名" * 128)

    assert max(len(part.encode()) for part in key.split("/")) <= 255


@pytest.mark.requirement("I6")
def test_row_groups_are_cut_by_rows(folder: Folder) -> None:
    converted(folder, b"a\n" + b"12345\n" * 25_000)

    metadata = pq.read_metadata(folder.converted)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [10_000, 10_000, 5_000]


def test_row_groups_are_cut_by_bytes_where_rows_are_wide(folder: Folder) -> None:
    wide = b"".join(b"%d,%s\n" % (number, b"x" * 10_000) for number in range(1_500))
    answer = converted(folder, b"a,b\n" + wide, groups=RowGroups(rows=10_000, bytes=2 << 20))

    metadata = pq.read_metadata(folder.converted)
    assert metadata.num_rows == answer.written.row_count == 1_500
    assert metadata.num_row_groups >= 4


def test_every_row_keeps_its_place(folder: Folder) -> None:
    count = 300_000
    converted(folder, b"id\n" + b"".join(b"%d\n" % number for number in range(count)))

    assert pq.read_table(folder.converted)["id"].to_pylist() == list(range(count))


def test_a_widened_column_says_why(folder: Folder) -> None:
    body = b"id,zip\n" + b"1,10001\n" * 400_000 + b"2,00501\n"
    answer = converted(folder, body)

    assert [(column.type, bool(column.widened)) for column in answer.columns] == [("int64", False), ("string", True)]
    rows = pq.read_table(folder.converted)
    assert rows.num_rows == 400_001
    assert rows["zip"].unique().to_pylist() == ["10001", "00501"]


def test_a_column_name_with_dots_is_a_plain_name(folder: Folder) -> None:
    converted(folder, b"a.b,c\n1,x\n1,x\n")

    assert pq.read_table(folder.converted).column_names == ["a.b", "c"]


@pytest.mark.parametrize(
    ("head", "name"), [(b"PAR1\x15", "parquet"), (b"%PDF-1.7", "pdf"), (b'{"a": 1}', "ndjson"), (b" [1]", "json")]
)
def test_a_format_of_a_later_release_is_recognised_and_refused(folder: Folder, head: bytes, name: str) -> None:
    with pytest.raises(FormatUnimplemented) as caught:
        converted(folder, head)

    assert caught.value.metadata["format"] == name


def test_a_named_format_is_believed(folder: Folder) -> None:
    assert converted(folder, b"[a],b\n1,2\n", format_name="csv").columns[0].name == "[a]"
    with pytest.raises(FormatUnimplemented):
        converted(folder, b"a,b\n1,2\n", format_name="text")


def test_a_fault_in_a_late_row_reaches_the_caller(folder: Folder) -> None:
    with pytest.raises(RaggedRow):
        converted(folder, b"a,b\n" + b"1,2\n" * 1_000_000 + b"1\n")


def test_a_conversion_stops_when_its_folder_closes(folder: Folder) -> None:
    folder.received.write_bytes(b"a,b\n" + b"1,2\n" * 3_000_000)
    closing = threading.Timer(0.01, folder.close)
    closing.start()

    with pytest.raises(Cancelled):
        convert(folder, format_name="csv", options=Options(), groups=GROUPS)

    closing.join(10)
    assert not folder.received.exists()


def test_no_memory_is_kept_after_a_conversion(folder: Folder) -> None:
    before = pa.total_allocated_bytes()

    converted(folder, b"a,b\n" + b"1,some text\n" * 500_000)

    assert pa.total_allocated_bytes() - before < 1 << 20
