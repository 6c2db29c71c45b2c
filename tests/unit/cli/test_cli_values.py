"""Values of a SQL answer, for people and for programs."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from services.cli.values import as_json, as_text, rows_of, type_name


def _interval(parts: list[int]) -> pa.MonthDayNano:
    return pa.MonthDayNano(parts)  # type: ignore[call-arg, arg-type]  # the stubs have it wrong


STAMP = datetime(2026, 9, 18, 10, 6, 0)


def _one(value: Any, kind: pa.DataType) -> Any:
    return rows_of(pa.record_batch([pa.array([value, None], kind)], ["x"]))[0][0]


@pytest.mark.parametrize(
    ("value", "kind", "plain", "name"),
    [
        (9007199254740993, pa.int64(), 9007199254740993, "BIGINT"),
        (2**64 - 1, pa.uint64(), 2**64 - 1, "UBIGINT"),
        (0.1, pa.float64(), 0.1, "DOUBLE"),
        (0.1, pa.float32(), 0.1, "FLOAT"),
        (math.inf, pa.float32(), math.inf, "FLOAT"),
        (_interval([14, 3, 0]), pa.month_day_nano_interval(), "1 year 2 months 3 days", "INTERVAL"),
        (_interval([0, 0, -1_500_000_000]), pa.month_day_nano_interval(), "-00:00:01.5", "INTERVAL"),
        (_interval([0, 0, 0]), pa.month_day_nano_interval(), "00:00:00", "INTERVAL"),
        (True, pa.bool_(), True, "BOOLEAN"),
        ("ZIP 02101", pa.string(), "ZIP 02101", "VARCHAR"),
        (Decimal("18.50"), pa.decimal128(10, 2), "18.50", "DECIMAL(10,2)"),
        (date(2026, 9, 18), pa.date32(), "2026-09-18", "DATE"),
        (time(10, 6), pa.time64("us"), "10:06:00", "TIME"),
        (STAMP, pa.timestamp("us"), "2026-09-18 10:06:00", "TIMESTAMP"),
        (STAMP.replace(microsecond=120_000), pa.timestamp("us"), "2026-09-18 10:06:00.12", "TIMESTAMP"),
        (STAMP.replace(tzinfo=UTC), pa.timestamp("us", "UTC"), "2026-09-18 10:06:00+00", "TIMESTAMP WITH TIME ZONE"),
        (b"a\\\x00", pa.binary(), "a\\x5C\\x00", "BLOB"),
        ([1, None], pa.list_(pa.int64()), [1, None], "BIGINT[]"),
        ({"day": date(2026, 1, 2)}, pa.struct([("day", pa.date32())]), {"day": "2026-01-02"}, "STRUCT(day DATE)"),
    ],
)
def test_each_type_has_its_plain_form(value: Any, kind: pa.DataType, plain: Any, name: str) -> None:
    assert _one(value, kind) == plain
    assert type_name(kind) == name


def test_null_stays_null_and_is_no_text() -> None:
    assert rows_of(pa.record_batch([pa.array([None], pa.int64())], ["x"])) == [(None,)]
    assert as_text(None) == ""
    assert as_json(None) is None


def test_moments_beyond_python_and_nanoseconds_are_no_failure() -> None:
    far = pa.array([253_402_300_800_000_000], pa.timestamp("us"))
    fine = pa.array([1_758_190_000_123_456_789], pa.timestamp("ns"))
    assert rows_of(pa.record_batch([far, fine], ["far", "fine"])) == [
        ("10000-01-01 00:00:00", "2025-09-18 10:06:40.123456789")
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan_and_no_infinity(value: float) -> None:
    assert as_json(value) is None
    assert as_json({"deep": [value, 1.0]}) == {"deep": [None, 1.0]}


def test_lists_and_structs_are_readable_text() -> None:
    assert as_text([1, "a", None, True]) == "[1, a, , true]"
    assert as_text({"city": "Bonn", "open": False}) == "{city: Bonn, open: false}"


def test_a_batch_without_columns_has_no_rows() -> None:
    assert rows_of(pa.record_batch([], names=[])) == []
