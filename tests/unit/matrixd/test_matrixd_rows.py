"""Rows of a dataset on their way into a corpus: plan, text, chunks, ids, values, SQL."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from services.matrixd.corpora.build import add_request
from services.matrixd.corpora.chunks import Chunking, split
from services.matrixd.corpora.delta import GROUP_BYTES, grouped
from services.matrixd.corpora.plan import BuildRequest, Plan, make_plan
from services.matrixd.corpora.rows import Piece, RowMapper
from services.matrixd.corpora.spool import Spool
from services.matrixd.corpora.sql import select_columns
from services.matrixd.corpora.template import parse_template
from services.matrixd.corpora.texts import Vectors
from services.matrixd.corpora.values import as_metadata, as_text
from services.matrixd.errors import RowsCutShort
from services.runtime.errors import InvalidArgument

COLUMNS = ("id", "name", "bio", "city")


def plan(**values: Any) -> Plan:
    request: dict[str, Any] = {"corpus": "workers", "dataset": "people", "id_column": "id", "text_columns": ["bio"]}
    return make_plan(BuildRequest(**(request | values)), COLUMNS)


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows)


def row(identifier: Any, bio: str | None = "drives a forklift", **values: Any) -> dict[str, Any]:
    return {"id": identifier, "name": "Ann", "bio": bio, "city": "Detroit"} | values


def test_metadata_is_every_column_but_those_of_the_text() -> None:
    made = plan()
    assert made.metadata_columns == ("id", "name", "city")
    assert made.columns == ["id", "bio", "name", "city"]
    assert plan(metadata_columns=["city", "city"]).metadata_columns == ("city",)


def test_columns_of_a_template_stay_in_the_metadata() -> None:
    made = plan(text_columns=[], template="{name} from {city}: {bio}")
    assert made.metadata_columns == COLUMNS
    assert made.text.columns == ["name", "city", "bio"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"id_column": "ident"}, "id_column"),
        ({"text_columns": ["bios"]}, "text_columns"),
        ({"metadata_columns": ["town"]}, "metadata_columns"),
        ({"text_columns": [], "template": "{nickname}"}, "template"),
        ({"text_columns": [], "template": " "}, "text_columns"),
        ({"template": "{bio}"}, "template"),
        ({"text_columns": [], "template": "no column"}, "template"),
        ({"text_columns": [], "template": "{bio"}, "template"),
        ({"text_columns": [], "template": "{}"}, "template"),
        ({"chunk_overlap": 5}, "chunk_overlap"),
        ({"chunk_size": 20, "chunk_overlap": 20}, "chunk_overlap"),
    ],
)
def test_a_build_that_cannot_work_is_refused_naming_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        plan(**values)
    assert raised.value.violations[0].field == field


def test_a_column_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'city'"):
        plan(metadata_columns=["citty"])


def test_a_template_puts_values_between_its_words() -> None:
    template = parse_template("{{{name}}} of { city }, {name}\n")
    assert template.columns == ["name", "city"]
    assert template.render({"name": "Ann", "city": None}) == "{Ann} of , Ann"


def test_text_columns_are_joined_by_line_ends_without_empty_ones() -> None:
    made = plan(text_columns=["name", "city", "bio"])
    assert made.text.render(row(1, city=" ")) == "Ann\ndrives a forklift"


def test_a_row_becomes_an_item() -> None:
    mapped = RowMapper(plan(id_prefix="w-")).map(batch([row(7)]))
    assert mapped.failures == []
    metadata = {"id": 7, "name": "Ann", "city": "Detroit"}
    assert mapped.pieces == [Piece(row=0, id="w-7", text="drives a forklift", metadata=metadata)]


def test_rows_that_cannot_be_embedded_fail_alone_and_in_a_sentence() -> None:
    mapper = RowMapper(plan())
    rows = [row("a"), row(None), row("b", " "), row("c", None), row("a"), row(""), row("x" * 2_000), row("d")]
    mapped = mapper.map(batch(rows))
    assert [piece.id for piece in mapped.pieces] == ["a", "d"]
    assert mapped.rows == 8
    assert len(mapped.failures) == 6
    assert mapped.failures[:4] == [
        "a row has no value in 'id'",
        "the text of 'b' is empty",
        "the text of 'c' is empty",
        "the id 'a' occurs more than once in 'id'",
    ]


def test_an_id_that_came_in_an_earlier_batch_fails() -> None:
    mapper = RowMapper(plan())
    mapper.map(batch([row("a")]))
    assert len(mapper.map(batch([row("a")])).failures) == 1
    assert mapper.ids == {"a"}


def test_a_split_text_keeps_its_document() -> None:
    mapper = RowMapper(plan(chunk_size=16, chunk_overlap=4, id_prefix="w-"))
    mapped = mapper.map(batch([row(1, "alpha beta gamma delta epsilon")]))
    assert [(piece.id, piece.metadata["document_id"], piece.metadata["chunk"]) for piece in mapped.pieces] == [
        (f"w-1#{number}", "w-1", number) for number in range(len(mapped.pieces))
    ]
    assert len(mapped.pieces) > 1
    assert mapper.ids == {piece.id for piece in mapped.pieces}


def test_a_short_text_is_one_piece() -> None:
    [piece] = RowMapper(plan(chunk_size=100)).map(batch([row(1)])).pieces
    assert piece.id == "1#0"


def test_a_text_is_cut_after_a_word() -> None:
    assert list(split("one two three four", Chunking(size=9, overlap=0))) == ["one two ", "three ", "four"]


def test_a_text_without_a_space_is_cut_hard() -> None:
    assert list(split("abcdefghij", Chunking(size=4, overlap=1))) == ["abcd", "defg", "ghij"]


@given(st.text(alphabet="ab \n", min_size=1, max_size=200), st.integers(1, 30), st.integers(0, 29))
def test_pieces_cover_the_text_and_share_the_overlap(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size - 1)
    pieces = list(split(text, Chunking(size=size, overlap=overlap)))
    assert all(len(piece) <= size and not piece.isspace() for piece in pieces)
    if not any(character.isspace() for character in text):
        rebuilt = pieces[0] + "".join(piece[overlap:] for piece in pieces[1:])
        assert rebuilt == text
        assert all(one[-overlap:] == other[:overlap] for one, other in itertools.pairwise(pieces) if overlap)
    assert sorted("".join(pieces).split()) or not text.strip()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("ä", "ä"),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**53) - 1, "-9007199254740993"),
        (1.5, 1.5),
        (math.nan, None),
        (math.inf, None),
        (date(2026, 3, 1), "2026-03-01"),
        (datetime(2026, 3, 1, 12, 30, tzinfo=UTC), "2026-03-01T12:30:00+00:00"),
        (time(6, 30), "06:30:00"),
        (Decimal("12.50"), "12.50"),
        (b"\x00\xff", "AP8="),
        ([1, math.nan, [date(2026, 3, 1)]], [1, None, ["2026-03-01"]]),
        ({"a": 2**60}, {"a": "1152921504606846976"}),
    ],
)
def test_a_value_is_kept_as_metadata_without_loss(value: Any, expected: Any) -> None:
    assert as_metadata(value) == expected
    Struct().update({"value": as_metadata(value)})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (math.nan, ""),
        (True, "true"),
        (7, "7"),
        (2.5, "2.5"),
        (["a", 1], "a, 1"),
        (date(2026, 3, 1), "2026-03-01"),
    ],
)
def test_a_value_is_written_as_a_person_would(value: Any, expected: str) -> None:
    assert as_text(value) == expected


@pytest.mark.parametrize("name", ["people", 'a"b', "with space", "drop table x; --", "größe", "select"])
def test_any_name_is_quoted(name: str) -> None:
    connection = duckdb.connect()
    quoted = name.replace('"', '""')
    connection.execute(f'CREATE TABLE "{quoted}" AS SELECT 1 AS "{quoted}", 2 AS other')
    assert connection.execute(select_columns(name, [name, "other"], 5)).fetchall() == [(1, 2)]


def stream_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_spooled_rows_come_back_in_batches(tmp_path: Path) -> None:
    data = stream_of(pa.table({"id": list(range(10))}))
    with Spool(tmp_path) as spool:
        for start in range(0, len(data), 100):
            spool.write(data[start : start + 100])
        batches = list(spool.batches(4))
    assert [one.num_rows for one in batches] == [4, 4, 2]
    assert [value for one in batches for value in one.column(0).to_pylist()] == list(range(10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 10, -40])
def test_a_stream_that_was_cut_short_is_not_taken_for_whole(tmp_path: Path, cut: int) -> None:
    data = stream_of(pa.table({"id": list(range(1_000))}))
    with Spool(tmp_path) as spool:
        spool.write(data[:cut])
        with pytest.raises(RowsCutShort):
            list(spool.batches(100))


def test_pieces_are_grouped_by_what_one_call_can_carry() -> None:
    small = Piece(row=0, id="a", text="x" * 1_000, metadata={})
    large = Piece(row=1, id="b", text="x" * (GROUP_BYTES + 1), metadata={})
    assert [len(group) for group in grouped([small, large, small, small], 256)] == [1, 1, 2]
    assert list(grouped([], 256)) == []


def test_items_carry_vector_and_metadata() -> None:
    piece = Piece(row=0, id="a", text="x", metadata={"city": "Detroit", "tags": ["a", None], "n": 1.5})
    request = add_request("workers", [piece], Vectors("hash", 2, [[0.6, 0.8]]))
    assert list(request.items[0].vector) == pytest.approx([0.6, 0.8])
    assert MessageToDict(request.items[0].metadata) == {"city": "Detroit", "tags": ["a", None], "n": 1.5}
