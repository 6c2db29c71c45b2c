"""Rows of a CSV file: what survives unchanged, what is refused, and what makes a column text (I2)."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingestd.csv_rows import BLOCK_BYTES, MAX_ROW_BYTES
from services.ingestd.csv_source import CsvSource, open_csv
from services.ingestd.errors import (
    HeaderOnly,
    NotUtf8,
    NulByte,
    RaggedRow,
    RowTooLong,
    UnknownColumn,
    UnterminatedQuote,
)
from services.ingestd.source import Options, RereadError


def opened(folder: Path, data: bytes, **options: Any) -> CsvSource:
    path = folder / "file.csv"
    path.write_bytes(data)
    return open_csv(path, Options(**options))


def read(source: CsvSource) -> tuple[CsvSource, pa.Table]:
    """Reads all rows, again where the source says so."""
    for _ in range(2):
        try:
            return source, pa.Table.from_batches(list(source.batches()), source.schema)
        except RereadError as reread:
            source = cast(CsvSource, reread.source)
    return source, pa.Table.from_batches(list(source.batches()), source.schema)


def table(folder: Path, data: bytes, **options: Any) -> pa.Table:
    return read(opened(folder, data, **options))[1]


def test_rows_come_with_the_types_of_their_columns(tmp_path: Path) -> None:
    data = b"id,rate,day,seen,on,zip\n7,1.50,2024-02-29,2024-02-29T10:00:00,true,02101\n"

    assert table(tmp_path, data).to_pydict() == {
        "id": [7],
        "rate": [1.5],
        "day": [date(2024, 2, 29)],
        "seen": [datetime(2024, 2, 29, 10)],
        "on": [True],
        "zip": ["02101"],
    }


def test_a_field_may_have_lines_delimiters_and_quotes(tmp_path: Path) -> None:
    data = b'a,b\r\n"one\r\ntwo, ""three""\n",x\r\n'

    assert table(tmp_path, data).to_pylist() == [{"a": 'one\r\ntwo, "three"\n', "b": "x"}]


def test_an_empty_field_is_null_and_a_quoted_one_is_empty_text(tmp_path: Path) -> None:
    data = b'text,number\n,\n"",""\nx,1\n'

    rows = table(tmp_path, data)

    assert rows["text"].to_pylist() == [None, "", "x"]
    assert rows["number"].to_pylist() == [None, None, 1]


def test_a_column_without_values_is_text(tmp_path: Path) -> None:
    assert table(tmp_path, b"a,b\n1,\n2,\n").schema.field("b").type == pa.string()


def test_blank_lines_are_no_rows_but_in_a_file_of_one_column(tmp_path: Path) -> None:
    assert table(tmp_path, b"a,b\n1,2\n\n\r\n3,4\n").num_rows == 2
    assert table(tmp_path, b'a\nx\n\n""\ny').to_pydict() == {"a": ["x", None, "", "y"]}


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r", b"\n\n"])
def test_the_last_row_counts_however_it_ends(tmp_path: Path, end: bytes) -> None:
    assert table(tmp_path, b"a,b\n1,2\n3,x" + end).to_pydict() == {"a": [1, 3], "b": ["2", "x"]}


def test_spaces_around_a_value_stay(tmp_path: Path) -> None:
    assert table(tmp_path, b'a,b\n 1 ," x "\n').to_pylist() == [{"a": " 1 ", "b": " x "}]


def test_columns_stay_text_when_asked(tmp_path: Path) -> None:
    assert table(tmp_path, b"a,b\n1,2\n", string_columns=("b",)).to_pylist() == [{"a": 1, "b": "2"}]


def test_a_text_column_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownColumn):
        opened(tmp_path, b"a,b\n1,2\n", string_columns=("c",))


def test_digits_that_are_a_phone_number_stay_text(tmp_path: Path) -> None:
    rows = table(tmp_path, b"mobile_phone,ssn,count\n3135551234,123456789,3135551234\n")

    assert rows.to_pylist() == [{"mobile_phone": "3135551234", "ssn": "123456789", "count": 3135551234}]


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"\xef\xbb\xbfa,b\r\n\r\n"])
def test_a_header_without_rows_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(HeaderOnly):
        opened(tmp_path, data)


@pytest.mark.parametrize("row", [b"1", b"1,2,3", b'"1,2"'])
@pytest.mark.parametrize("before", [1, 3_000, 400_000])
def test_a_ragged_row_is_refused_with_its_number(tmp_path: Path, row: bytes, before: int) -> None:
    data = b"a,b\n" + b"1,2\n" * before + row + b"\n1,2\n"

    with pytest.raises(RaggedRow) as caught:
        table(tmp_path, data)

    assert caught.value.metadata["row"] == str(before + 2)


@pytest.mark.parametrize("before", [0, 400_000])
def test_bytes_that_are_no_utf8_are_refused_with_row_and_column(tmp_path: Path, before: int) -> None:
    data = b"a,b\n" + b"x" * 200_000 + b",2\n" + b"1,2\n" * before + b"1,\xff\n"

    with pytest.raises(NotUtf8) as caught:
        table(tmp_path, data)

    assert (caught.value.metadata["row"], caught.value.metadata["column"]) == (str(before + 3), "b")


def test_a_ragged_row_of_foreign_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises((RaggedRow, NotUtf8)):
        table(tmp_path, b"a,b\n" + b"1,2\n" * 100_000 + b"1,\xff,3\n")


@pytest.mark.parametrize("before", [1, 400_000])
def test_a_nul_byte_is_refused_with_row_and_column(tmp_path: Path, before: int) -> None:
    data = b"a,b\n" + b"1,2\n" * before + b"1,x\0y\n"

    with pytest.raises(NulByte) as caught:
        table(tmp_path, data)

    assert (caught.value.metadata["row"], caught.value.metadata["column"]) == (str(before + 2), "b")


@pytest.mark.parametrize(
    "tail",
    [b'"', b'"x', b'"x\n', b'"x""', b'"x\n1,2\n3,4\n', b'"x""\n1,2', b'"\n' + b"1,2\n" * 1_000],
)
@pytest.mark.parametrize("before", [b"1,", b"", b"1,2,"])
@pytest.mark.parametrize("rows", [0, 2])
def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, tail: bytes, before: bytes, rows: int) -> None:
    with pytest.raises(UnterminatedQuote) as caught:
        table(tmp_path, b"a,b\n" + b"1,2\n" * rows + before + tail)

    assert caught.value.metadata["row"] == str(rows + 2)


def test_a_quote_that_is_never_closed_is_found_in_a_later_block(tmp_path: Path) -> None:
    with pytest.raises(UnterminatedQuote) as caught:
        table(tmp_path, b"a,b\n" + b"1,2\n" * 700_000 + b'1,2,"\xff')

    assert caught.value.metadata["row"] == "700002"


def test_a_quote_open_for_longer_than_any_row_is_refused(tmp_path: Path) -> None:
    data = b"a,b\n" + b"1,2\n" * 2_000 + b'1,"' + b"text without end\n" * (MAX_ROW_BYTES // 8)

    with pytest.raises(UnterminatedQuote) as caught:
        table(tmp_path, data)

    assert caught.value.metadata["row"] == "2002"


def test_a_row_longer_than_any_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowTooLong):
        table(tmp_path, b"a,b\n1,2\n1," + b"x" * (2 * MAX_ROW_BYTES) + b"\n1,2\n")


@pytest.mark.parametrize("before", [0, 700_000])
def test_a_row_longer_than_a_block_is_read(tmp_path: Path, before: int) -> None:
    long = b"x" * (BLOCK_BYTES * 3 // 2)

    rows = table(tmp_path, b"a,b\n" + b"1,2\n" * before + b'1,"' + long + b'"\n3,4\n')

    assert rows.num_rows == before + 2
    assert rows["b"].slice(before).to_pylist() == [long.decode(), "4"]
    assert rows["a"].slice(before).to_pylist() == [1, 3]


def test_quotes_inside_an_unquoted_field_are_text(tmp_path: Path) -> None:
    assert table(tmp_path, b'size,b\n5" pipe,2\n6" pipe,3\n').to_pydict() == {
        "size": ['5" pipe', '6" pipe'],
        "b": [2, 3],
    }


@pytest.mark.requirement("I2")
def test_a_late_leading_zero_makes_the_whole_column_text(tmp_path: Path) -> None:
    zips = [str(10_000 + number % 80_000) for number in range(500_000)]
    zips[400_000] = "00501"
    data = "id,zip\n" + "".join(f"{number},{code}\n" for number, code in enumerate(zips))

    source, rows = read(opened(tmp_path, data.encode()))

    assert rows["zip"].combine_chunks() == pa.chunked_array([zips]).combine_chunks()
    assert rows["id"].type == pa.int64()
    assert list(source.widened) == ["zip"]
    assert "row 400002 " in source.widened["zip"]


def test_one_more_reading_finds_every_column_that_is_text_after_all(tmp_path: Path) -> None:
    late = [b"x,1,2024-01-01,1.5,true\n", b"1,0x1,2024-01-01,1.5,true\n", b"1,1,never,1.50,True\n"]
    data = b"a,b,c,d,e\n" + b"1,1,2024-01-01,1.5,true\n" * 400_000 + b"".join(late)

    with pytest.raises(RereadError) as caught:
        list(opened(tmp_path, data).batches())

    assert sorted(caught.value.source.widened) == ["a", "b", "c", "d", "e"]
    rows = pa.Table.from_batches(list(caught.value.source.batches()))
    assert rows.num_rows == 400_003
    assert rows.slice(400_000).to_pylist()[2] == {"a": "1", "b": "1", "c": "never", "d": "1.50", "e": "True"}


def test_a_scale_that_ends_late_is_no_scale(tmp_path: Path) -> None:
    source, rows = read(opened(tmp_path, b"a,b\n" + b"1.5,1.5\n" * 400_000 + b"2.25,2.5\n"))

    assert rows.schema.types == [pa.float64(), pa.float64()]
    assert source.scales == {"b": 1}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.mark.requirement("I2")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=20),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_text_survives(tmp_path: Path, values: list[tuple[str, str]], delimiter: str, end: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(("a", "b"))
    writer.writerows(values)

    rows = table(tmp_path, file.getvalue().encode(), delimiter=delimiter, string_columns=("a", "b"))

    assert list(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True)) == values


def test_a_sample_of_long_rows_is_cut_short(tmp_path: Path) -> None:
    source = opened(tmp_path, b"a,b\n" + (b"1," + b"x" * 1_000_000 + b"\n") * 40)

    assert source.sample.num_rows < 20
    assert read(source)[1].num_rows == 40
