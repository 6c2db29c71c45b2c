"""The forms of values in answers: the published table, every type there is, and values that survive the way."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.queryd.errors import InvalidQuery
from services.queryd.forms import ARROW, JSON, Form
from tests.unit.queryd.warehouse import Open, Warehouse

pytestmark = pytest.mark.requirement("Q1")

TABLE = Path("docs/sql-types.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", TABLE, re.MULTILINE)

SAMPLES = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "-1"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT", "BIGNUM"), "1"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL(10,2)"), "0.1"),
    **dict.fromkeys(("VARCHAR", "BLOB", "VARIANT", "UNION(n INTEGER, s VARCHAR)", "ENUM('a', 'b')"), "'a'"),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "'2026-01-31'"),
    **dict.fromkeys(("TIME", "TIME_NS"), "'23:59:59.5'"),
    "TIME WITH TIME ZONE": "'23:59:59+02'",
    "TIMESTAMP WITH TIME ZONE": "'2026-01-31 23:59:59+02'",
    "BOOLEAN": "true",
    "JSON": "'{}'",
    "BIT": "'101'",
    "UUID": "'0123456789abcdef0123456789abcdef'",
    "INTERVAL": "'1 year'",
    "GEOMETRY": "'POINT (1 2)'",
    "INTEGER[]": "[1, NULL]",
    "INTEGER[3]": "[1, 2, NULL]",
    "STRUCT(a INTEGER, b VARCHAR)": "{'a': 1, 'b': NULL}",
    "MAP(VARCHAR, INTEGER)": "MAP {'k': 1}",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from services.queryd.config import QueryConfig

    opened = Warehouse(tmp_path_factory.mktemp("forms"), QueryConfig(threads=1))
    yield opened
    opened.engine.close()


def json_kind(value: Any) -> str:
    """What a JSON reader calls a value."""
    kinds = {bool: "true", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


@pytest.mark.parametrize(("type_name", "json_form", "arrow_form"), ROWS, ids=[row[0] for row in ROWS])
def test_the_published_table_tells_the_truth(
    shared: Warehouse, type_name: str, json_form: str, arrow_form: str
) -> None:
    text = f"SELECT CAST({SAMPLES[type_name]} AS {type_name}) AS v"
    answer = shared.json(text)
    assert answer["columns"][0]["type"] == type_name.replace('"', "")
    assert json_kind(answer["rows"][0][0]) == re.split(r"[ ,;:]", json_form.strip("`"))[0].strip("`")
    shown = str(shared.arrow(text).schema.field("v").type)
    assert shown.replace("Etc/UTC", "UTC") == re.sub(r", as W.*", "", arrow_form)


def test_the_published_table_has_every_type() -> None:
    published = {re.sub(r"[(\[].*", "", row[0]) for row in ROWS} - {"JSON"}
    known = {kind.upper() for kind in JSON.leaves}
    assert published | {"STRUCT", "MAP", "INTEGER"} == known | {"STRUCT", "MAP"}
    assert JSON.leaves.keys() == ARROW.leaves.keys()


def test_every_type_of_this_duckdb_has_both_forms(shared: Warehouse) -> None:
    text = "SELECT * FROM test_all_types()"
    answer = shared.json(text)
    assert answer["row_count"] == 3
    assert all(value is None for value in answer["rows"][2])
    table = shared.arrow(text)
    assert table.num_rows == 3
    assert table.num_columns == len(answer["columns"])
    ids = {type_.id for type_ in duckdb.sql(text).types}
    assert ids - {"list", "array", "struct", "map"} <= JSON.leaves.keys()


def test_a_type_without_a_form_is_an_error_before_the_first_row() -> None:
    bare = Form(name="JSON", leaves={"integer": None}, text_keys=True)
    [kind] = duckdb.sql("SELECT [{'a': 1.5}]").types
    with pytest.raises(InvalidQuery, match="cast it to VARCHAR"):
        bare.conversions(kind)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("9007199254740993", 9007199254740993),
        ("-9223372036854775808", -9223372036854775808),
        ("18446744073709551615::UBIGINT", 18446744073709551615),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("count(*)", 1),
        ("sum(1)", "1"),
        ("'nan'::DOUBLE", None),
        ("'-inf'::FLOAT", None),
        ("['nan'::DOUBLE, 1.5::DOUBLE]", [None, 1.5]),
        ("0.1::FLOAT", 0.1),
        ("[0.1::FLOAT]", [0.1]),
        ("1.10::DECIMAL(4, 2)", "1.10"),
        ("'\\xAA\\x00a'::BLOB", "\\xAA\\x00a"),
        ("DATE 'infinity'", "infinity"),
        ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)"),
        ("TIMESTAMP '2026-01-31 23:59:59.123456'", "2026-01-31 23:59:59.123456"),
        ("TIMESTAMPTZ '2026-01-31 23:59:59+02'", "2026-01-31 21:59:59+00"),
        ("INTERVAL '1 year 2 months 3 days 4.5 seconds'", "1 year 2 months 3 days 00:00:04.5"),
        ("{'a': {'b': [1.5]}, 'c d': DATE '2026-01-31'}", {"a": {"b": ["1.5"]}, "c d": "2026-01-31"}),
        ("MAP {1.5: [DATE '2026-01-31']}", {"1.5": ["2026-01-31"]}),
        ("MAP {[1]: 2}", {"[1]": 2}),
        ("row(1, row('x', 2.5))", {"1": 1, "2": {"1": "x", "2": "2.5"}}),
        ("[row(1, 2)]", [{"1": 1, "2": 2}]),
        ("NULL::STRUCT(a DECIMAL)", None),
        ("[NULL::STRUCT(a DECIMAL)]", [None]),
        ("'{\"a\": 1}'::JSON", '{"a": 1}'),
        ("[1::VARIANT, 'x'::VARIANT]", ["1", "x"]),
        ("'quote \" back \\ line \n é 🦆 ' || chr(0)", 'quote " back \\ line \n é 🦆 \0'),
    ],
)
def test_values_are_exact_in_json(shared: Warehouse, expression: str, expected: Any) -> None:
    [[value]] = shared.rows(f"SELECT {expression} AS v")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("9007199254740993", 9007199254740993),
        ("170141183460469231731687303715884105727::HUGEINT", Decimal("170141183460469231731687303715884105727")),
        ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
        ("1.10::DECIMAL(4, 2)", Decimal("1.10")),
        ("DATE '2026-01-31'", date(2026, 1, 31)),
        ("TIMESTAMP '2026-01-31 23:59:59.5'", datetime(2026, 1, 31, 23, 59, 59, 500_000)),
        ("TIMETZ '23:59:59+02'", "23:59:59+02"),
        ("'101'::BIT", "101"),
        ("[1::VARIANT]", ["1"]),
        ("row(1, 2.5)", {"1": 1, "2": Decimal("2.5")}),
    ],
)
def test_values_are_exact_in_arrow(shared: Warehouse, expression: str, expected: Any) -> None:
    assert shared.arrow(f"SELECT {expression} AS v")["v"].to_pylist() == [expected]


@pytest.mark.parametrize(
    "kind",
    [
        *("HUGEINT", "UHUGEINT", "BIGNUM", "DECIMAL(18,6)", "BLOB", "BIT", "UUID", "DATE", "TIME", "TIME_NS"),
        *("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMETZ", "INTERVAL", "GEOMETRY"),
    ],
)
def test_text_cast_back_is_the_same_value(shared: Warehouse, kind: str) -> None:
    types = {str(type_): name for name, type_ in zip(*_all_types(), strict=True)}
    name = types[{"TIMETZ": "TIME WITH TIME ZONE"}.get(kind, kind)]
    for (value,) in shared.rows(f"SELECT {name} FROM test_all_types() WHERE {name} IS NOT NULL"):
        quoted = value.replace("'", "''")
        same = f"SELECT bool_or({name} = CAST('{quoted}' AS {kind})) FROM test_all_types()"
        assert shared.rows(same) == [[True]], value


def _all_types() -> tuple[list[str], list[Any]]:
    relation = duckdb.sql("FROM test_all_types()")
    return relation.columns, relation.types


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_in_json_is_the_float_it_was(number: float) -> None:
    [kind] = duckdb.sql("SELECT 1::FLOAT").types
    text, double = JSON.conversions(kind)
    row = duckdb.execute(f"SELECT CAST(CAST(CAST($1 AS FLOAT) AS {text}) AS {double})", [number]).fetchone()
    assert row is not None
    assert math.copysign(1, row[0]) == math.copysign(1, number)
    assert duckdb.execute("SELECT CAST($1 AS FLOAT) = CAST($2 AS FLOAT)", [row[0], number]).fetchone() == (True,)


def test_conversion_keeps_the_order_of_rows(open_warehouse: Open) -> None:
    text = "SELECT i::HUGEINT AS h FROM range(5_000) t(i) ORDER BY i DESC"
    warehouse = open_warehouse()
    assert [row[0] for row in warehouse.rows(text)] == [str(i) for i in reversed(range(5_000))]
    uhuge = warehouse.arrow(text.replace("HUGEINT", "UHUGEINT"))
    assert uhuge.schema.field("h").type == pa.string()
    assert uhuge["h"].to_pylist() == [str(i) for i in reversed(range(5_000))]
