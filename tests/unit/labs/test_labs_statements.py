"""The SQL of the labs runs on DuckDB, with any names and values."""

from __future__ import annotations

import duckdb
import pytest

from services.labs import statements

AWKWARD = "it's \"odd\", isn't; -- it"


@pytest.fixture
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    table, column = statements.quoted(AWKWARD), statements.quoted("a b")
    connection.execute(f"CREATE TABLE {table} (id VARCHAR, {column} VARCHAR, note VARCHAR, price DOUBLE, kind VARCHAR)")
    rows: list[tuple[str, str, str | None, float, str]] = [
        (f"r{i}", f"a text of row number {i}", None, i / 2, "xy"[i % 2]) for i in range(10)
    ]
    rows += [("o'brien", "said twice, said twice", "", 1.0, "x"), ("twin", "said twice, said twice", "", 1.0, "x")]
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)
    return connection


def test_rows_and_ids_are_counted(database: duckdb.DuckDBPyConnection) -> None:
    assert database.execute(statements.count_rows(AWKWARD, "id")).fetchall() == [(12, 12, 0)]
    assert database.execute(statements.count_rows(AWKWARD, "note")).fetchall() == [(12, 1, 10)]


def test_ids_that_occur_twice_are_listed(database: duckdb.DuckDBPyConnection) -> None:
    assert database.execute(statements.duplicate_ids(AWKWARD, "id")).fetchall() == []
    assert database.execute(statements.duplicate_ids(AWKWARD, "kind")).fetchall() == [("x", 7), ("y", 5)]


def test_the_sample_leaves_out_texts_that_several_rows_have_and_is_always_the_same(
    database: duckdb.DuckDBPyConnection,
) -> None:
    statement = statements.sample_texts(AWKWARD, "id", ("a b",), 5)
    first = database.execute(statement).fetchall()
    assert len(first) == 5
    assert first == database.execute(statement).fetchall()
    everything = database.execute(statements.sample_texts(AWKWARD, "id", ("a b", "note"), 100)).fetchall()
    assert {ident for ident, _ in everything} == {f"r{i}" for i in range(10)}


def test_texts_are_found_by_id_whatever_the_id(database: duckdb.DuckDBPyConnection) -> None:
    statement = statements.texts_of(AWKWARD, "id", ("a b",), ["o'brien", "r1", "nobody"])
    assert dict(database.execute(statement).fetchall()) == {
        "o'brien": "said twice, said twice",
        "r1": "a text of row number 1",
    }


def test_the_aggregate_prefers_a_number(database: duckdb.DuckDBPyConnection) -> None:
    name, statement = statements.aggregate(AWKWARD, [("kind", "string"), ("price", "double")])
    assert name == "price"
    assert database.execute(statement).fetchall()[0][0] == 0.0
    name, statement = statements.aggregate(AWKWARD, [("kind", "string")])
    assert (name, database.execute(statement).fetchall()) == ("kind", [("x", 7), ("y", 5)])


def test_lengths_of_several_columns_are_added_up(database: duckdb.DuckDBPyConnection) -> None:
    shortest, _, longest = database.execute(statements.text_lengths(AWKWARD, ("a b", "kind"))).fetchall()[0]
    assert (shortest, longest) == (24, 24)
