"""A text becomes a typed value only if writing the value back gives the same text (I2)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestd.notation import infer, without_blanks


def column(*texts: str | None) -> pa.StringArray:
    return pa.array(texts, pa.string())


def inferred(*texts: str | None) -> str:
    notations = infer(column(*texts))
    return notations[0].type if notations else "string"


@pytest.mark.requirement("I2")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("0", "-7", "42"), "int64"),
        (("9223372036854775807", "-9223372036854775808"), "int64"),
        (("2.5", "3", "-0.001"), "double"),
        (("2.5", "3.0", "-0.001"), "double"),
        (("12.50", "3.00", "-0.05"), "double"),
        (("123456789012345", "1.5"), "double"),
        (("true", "false"), "boolean"),
        (("True", "False"), "boolean"),
        (("TRUE", "FALSE"), "boolean"),
        (("2024-02-29", "0001-01-01"), "date"),
        (("2024-02-29T23:59:59", "2024-03-01T00:00:00"), "timestamp"),
        (("2024-02-29 23:59", "2024-03-01 00:00"), "timestamp"),
        (("2024-02-29 23:59:59.123456",), "timestamp"),
        (("2024-02-29T23:59:59.5Z",), "timestamp"),
        (("1", "", None), "int64"),
    ],
)
def test_values_that_are_written_back_unchanged_get_their_type(texts: tuple[str, ...], expected: str) -> None:
    assert inferred(*texts) == expected


@pytest.mark.requirement("I2")
@pytest.mark.parametrize(
    "texts",
    [
        ("00501", "10001"),
        ("0x10",),
        (" 2",),
        ("2 ",),
        ("+5",),
        ("1_000",),
        ("1,000",),
        ("9223372036854775808",),
        ("12345678901234567890",),
        ("1e5",),
        ("1E5", "2.5"),
        (".5",),
        ("5.",),
        ("007.5",),
        ("nan",),
        ("NaN", "1.5"),
        ("inf",),
        ("-Infinity",),
        ("1.1", "1.10"),
        ("1", "2.50", "3.5"),
        ("0.30000000000000004",),
        ("1234567890123456.5",),
        ("1234567890123456", "1.5"),
        ("true", "False"),
        ("true", "1"),
        ("yes", "no"),
        ("tRUE",),
        ("2024-02-30",),
        ("2024-1-1",),
        ("01/02/2024",),
        ("0000-01-01",),
        ("12024-01-01",),
        ("2024-01-01", "2024-01-01T00:00:00"),
        ("2024-01-01T00:00:00", "2024-01-01 00:00:00"),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00.5", "2024-01-01T00:00:00.25"),
        ("2024-01-01T00:00:00+02:00",),
        ("2024-01-01T24:00:00",),
        ("2024-01-01T00:00:60",),
        ("2024-01-01T00:00:00.1234567",),
        ("٣",),
        ("1\n",),
        ("", None),
        ("word",),
    ],
)
def test_anything_ambiguous_stays_text(texts: tuple[str, ...]) -> None:
    assert inferred(*texts) == "string"


def test_a_column_of_one_scale_tells_its_scale() -> None:
    assert [notation.scale for notation in infer(column("12.50", "3.00"))] == [2]


def test_an_instant_with_a_zone_is_stored_in_utc() -> None:
    (notation,) = infer(column("2024-02-29T23:59:59Z"))

    values = notation.read(column("2024-02-29T23:59:59Z", None))

    assert values is not None
    assert values.type == pa.timestamp("us")
    assert values.to_pylist() == [datetime(2024, 2, 29, 23, 59, 59), None]


def test_blanks_become_null_and_nothing_else_changes() -> None:
    assert without_blanks(column("", "a", None)).to_pylist() == [None, "a", None]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_int64_fits_as_it_is_written(numbers: list[int]) -> None:
    (notation,) = infer(column(*map(str, numbers)))

    values = notation.read(column(*map(str, numbers)))

    assert values is not None
    assert values.to_pylist() == numbers


decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4)


def written_back(value: Any, scale: int | None) -> set[str]:
    """Every text by which a double may stand: at its scale, or as the shortest decimal in either form."""
    if scale is not None:
        return {f"{value:.{scale}f}"}
    shortest = f"{Decimal(repr(value)):f}"
    plain = shortest.removesuffix(".0")
    return {plain, plain if "." in plain else f"{plain}.0"}


@given(st.lists(decimals, min_size=1), st.integers(0, 4))
def test_every_double_that_fits_is_written_back_as_the_same_text(numbers: list[Decimal], places: int) -> None:
    texts = [f"{number:.{places}f}" for number in numbers]

    for notation in infer(column(*texts)):
        values = notation.read(column(*texts))
        if notation.type != "double" or values is None:
            continue
        for text, value in zip(texts, values.to_pylist(), strict=True):
            assert text in written_back(value, notation.scale)


@given(st.lists(st.from_regex(r"\A-?[0-9]{0,17}\.?[0-9]{0,17}\Z"), min_size=1, max_size=3))
def test_no_number_fits_that_is_written_back_otherwise(texts: list[str]) -> None:
    for notation in infer(column(*texts)):
        values = notation.read(without_blanks(column(*texts)))
        assert values is not None
        for text, value in zip(texts, values.to_pylist(), strict=True):
            if text and notation.type == "int64":
                assert str(value) == text
            elif text:
                assert text in written_back(value, notation.scale)


@given(st.lists(st.dates(), min_size=1))
def test_every_date_fits_as_it_is_written(days: list[date]) -> None:
    texts = column(*(day.isoformat() for day in days))
    (notation,) = infer(texts)

    values = notation.read(texts)

    assert values is not None
    assert values.to_pylist() == days
