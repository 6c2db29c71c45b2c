"""Delimiter and header of a CSV file, and what can be wrong with them (I2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.ingestd.dialect import HEAD_BYTES, Dialect, read_dialect
from services.ingestd.errors import (
    DuplicateColumnName,
    EmptyColumnName,
    EmptyFile,
    HeaderTooLong,
    NotUtf8,
    NulByte,
    UnterminatedQuote,
)


def dialect(folder: Path, data: bytes, delimiter: str = "") -> Dialect:
    path = folder / "file.csv"
    path.write_bytes(data)
    return read_dialect(path, delimiter)


@pytest.mark.parametrize(
    ("data", "delimiter"),
    [
        (b"a,b\n1,2\n", ","),
        (b"a;b\n1,5;2,5\n", ";"),
        (b"a\tb\n1,2\t3\n", "\t"),
        (b"a|b|c\n1|2,3|4\n", "|"),
        (b"note\nhello, world\n", ","),
        (b'"a;b",c\n"1;2",3\n', ","),
        (b"name,with;semicolon\nx,y\nz,w\n", ","),
    ],
)
def test_the_delimiter_is_found_out(tmp_path: Path, data: bytes, delimiter: str) -> None:
    assert dialect(tmp_path, data).delimiter == delimiter


def test_a_given_delimiter_is_believed(tmp_path: Path) -> None:
    assert dialect(tmp_path, b"a,b|c\n", "|").header == ("a,b", "c")


def test_a_delimiter_is_found_in_a_long_file(tmp_path: Path) -> None:
    assert dialect(tmp_path, b"a;b\n" + b"1,5;2\n" * HEAD_BYTES).delimiter == ";"


@pytest.mark.parametrize(
    ("data", "header", "rest"),
    [
        (b"a,b\n1,2\n", ("a", "b"), b"1,2\n"),
        (b"\xef\xbb\xbfa,b\n1,2\n", ("a", "b"), b"1,2\n"),
        (b'"a\nx", b \r\n1,2\r\n', ("a\nx", "b"), b"1,2\r\n"),
        ("größe,naïve\n1,2\n".encode(), ("größe", "naïve"), b"1,2\n"),
        (b"\n\r\na,b\n1,2\n", ("a", "b"), b"1,2\n"),
        (b"a,b\r1,2\r", ("a", "b"), b"1,2\r"),
        (b'"say ""hi""",b\n1,2\n', ('say "hi"', "b"), b"1,2\n"),
    ],
)
def test_the_header_is_read_and_the_rows_begin_after_it(
    tmp_path: Path, data: bytes, header: tuple[str, ...], rest: bytes
) -> None:
    found = dialect(tmp_path, data)

    assert found.header == header
    assert data[found.rows_at :] == rest


@pytest.mark.parametrize("data", [b"\n\n", b"  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_file_of_blanks_is_empty(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EmptyFile):
        dialect(tmp_path, data)


def test_a_column_without_a_name_is_refused_with_its_position(tmp_path: Path) -> None:
    with pytest.raises(EmptyColumnName) as caught:
        dialect(tmp_path, b"a, ,c\n1,2,3\n")

    assert caught.value.metadata["column"] == "2"


@pytest.mark.parametrize("data", [b"a,b,a\n1,2,3\n", b"Name,b, name\n1,2,3\n"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DuplicateColumnName) as caught:
        dialect(tmp_path, data)

    assert (caught.value.metadata["first"], caught.value.metadata["second"]) == ("1", "3")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    data = "größe,b\n1,2\n".encode(encoding)

    with pytest.raises((NotUtf8, NulByte)):
        dialect(tmp_path, data)


def test_a_character_cut_by_the_end_of_the_head_is_no_fault(tmp_path: Path) -> None:
    data = b"a,b\n" + b"x" * (HEAD_BYTES - 5) + "ü,2\n".encode()

    assert dialect(tmp_path, data).header == ("a", "b")


@pytest.mark.parametrize("data", [b'"a,b\n1,2\n', b'a,"b', b'"a"x,b\n1,2\n'])
def test_a_quote_that_the_header_does_not_close_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnterminatedQuote) as caught:
        dialect(tmp_path, data)

    assert caught.value.metadata["row"] == "1"


def test_a_header_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeaderTooLong):
        dialect(tmp_path, b"x," * HEAD_BYTES)
