"""The first look at a CSV file."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.labs.columns import preview


def _file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(encoding))
    return path


ROWS = "\n".join(f'{i},k{i},"A long remark, number {i},\nover two lines of text.",red' for i in range(30))


def test_columns_are_listed_and_ids_and_texts_are_guessed(tmp_path: Path) -> None:
    seen = preview(_file(tmp_path, f"n,ticket_id,remark,colour\n{ROWS}\n"))
    assert seen.columns == ("n", "ticket_id", "remark", "colour")
    assert seen.likely_ids == ("ticket_id", "n")
    assert seen.likely_texts == ("remark",)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    seen = preview(_file(tmp_path, f"a{delimiter}b{delimiter}c\n1{delimiter}2{delimiter}3\n"))
    assert seen.columns == ("a", "b", "c")


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert preview(_file(tmp_path, "id,text\n1,x\n", "utf-8-sig")).columns == ("id", "text")


def test_a_column_with_repeated_values_is_no_guess_for_the_ids(tmp_path: Path) -> None:
    assert preview(_file(tmp_path, "id,other\n1,a\n1,b\n")).likely_ids == ("other",)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"id,text\n1,\xff\xfe\n"])
def test_what_is_no_csv_with_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        preview(path)


def test_rows_of_another_length_do_not_disturb_the_guess(tmp_path: Path) -> None:
    seen = preview(_file(tmp_path, "id,text\n1,a b\n2\n3,c d\n"))
    assert seen.columns == ("id", "text")
    assert seen.likely_ids[0] == "id"
