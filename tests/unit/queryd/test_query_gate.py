"""The statement gate: what passes, what does not, and why."""

from __future__ import annotations

import duckdb
import pytest

from services.queryd.errors import (
    EmptyStatement,
    StatementNotAllowed,
    StatementSyntax,
    StatementTooLarge,
)
from services.queryd.gate import MAX_STATEMENT_BYTES, Gate
from services.queryd.policy import FORBIDDEN_FUNCTIONS, FORBIDDEN_PREFIXES, TABLE_FUNCTIONS

pytestmark = pytest.mark.requirement("Q4")


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate(duckdb.connect(config={"errors_as_json": "true"}).cursor)


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("SELECT 1", set()),
        ("VALUES (1, 2), (3, 4)", set()),
        ("FROM t", {"t"}),
        ("TABLE t", {"t"}),
        ('select * from "we""ird tä\'ble"', {"we\"ird tä'ble"}),
        ("SELECT * FROM T JOIN u USING (id) LEFT JOIN (FROM v) x ON x.a = u.a", {"T", "u", "v"}),
        ("FROM t SEMI JOIN u USING (a) ANTI JOIN v USING (a)", {"t", "u", "v"}),
        ("FROM t ASOF JOIN u ON t.a >= u.a POSITIONAL JOIN v", {"t", "u", "v"}),
        ("(FROM t) UNION ALL BY NAME (FROM u) EXCEPT (FROM v) INTERSECT ALL (FROM w)", {"t", "u", "v", "w"}),
        ("SELECT (SELECT max(a) FROM u), EXISTS (FROM v) FROM t WHERE a IN (SELECT b FROM w)", {"t", "u", "v", "w"}),
        ("FROM t, LATERAL (SELECT t.a + u.a FROM u)", {"t", "u"}),
        ("WITH a AS (FROM t), b AS (FROM a JOIN u USING (id)) FROM b", {"t", "u"}),
        ("WITH a AS MATERIALIZED (FROM t) SELECT * FROM (WITH b AS (FROM a) FROM b, A)", {"t"}),
        ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, t WHERE n < 5) FROM r", {"t"}),
        (
            "SELECT DISTINCT ON (a) * EXCLUDE (b) REPLACE (c + 1 AS c) FROM t ORDER BY ALL DESC NULLS LAST LIMIT 10%",
            {"t"},
        ),
        ("SELECT a, count(*) FILTER (WHERE b) FROM t GROUP BY ROLLUP (a), CUBE (b) HAVING sum(c) > 1", {"t"}),
        (
            "SELECT row_number() OVER w FROM t WINDOW w AS (ORDER BY a ROWS 1 PRECEDING) QUALIFY rank() OVER w < 3",
            {"t"},
        ),
        ("FROM t PIVOT (sum(x) FOR y IN ('a', 'b') GROUP BY z)", {"t"}),
        ("UNPIVOT t ON a, b INTO NAME n VALUE v", {"t"}),
        ("SELECT list_transform(l, lambda x: x + 1), [y FOR y IN l IF y > 1], s.a, m['k'], {'a': 1} FROM t", {"t"}),
        ("SELECT a::DECIMAL(5, 2), b::STRUCT(x INT, y VARCHAR[]), c::ENUM('p', 'q'), d::MAP(INT, TEXT) FROM t", {"t"}),
        ("SELECT CASE WHEN a THEN 1 END, a BETWEEN 1 AND 2, d + INTERVAL 1 DAY, COALESCE(*COLUMNS(*)) FROM t", {"t"}),
        ("FROM t TABLESAMPLE reservoir(10 ROWS) REPEATABLE (3)", {"t"}),
        ("SELECT * FROM range(3) r(i), generate_series(1, 3), unnest([1, 2]), json_each('[1]')", set()),
        ("SELECT random(), uuid(), now(), current_date, version()", set()),
        ("DESCRIBE t", {"t"}),
        ("DESCRIBE SELECT * FROM t JOIN u USING (id)", {"t", "u"}),
        ("SUMMARIZE t", {"t"}),
        ("SHOW t", {"t"}),
    ],
)
def test_a_select_passes_and_names_the_tables_it_reads(gate: Gate, text: str, tables: set[str]) -> None:
    assert set(gate.check(text).tables) == tables


@pytest.mark.parametrize("text", ["SHOW TABLES", "show tables;", "/* all */ SHOW TABLES -- please"])
def test_show_tables_is_left_to_the_catalog(gate: Gate, text: str) -> None:
    assert gate.check(text).lists_tables


@pytest.mark.parametrize(
    "text",
    [
        *("INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "TRUNCATE t", "DROP VIEW t"),
        *("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "ALTER TABLE t ADD COLUMN x INT"),
        *("CREATE TABLE x AS FROM t", "CREATE VIEW x AS FROM t", "CREATE MACRO m() AS 1", "COMMENT ON VIEW t IS 'x'"),
        *(
            "COPY t TO '/tmp/x.csv'",
            "COPY t FROM '/etc/passwd'",
            "EXPORT DATABASE '/tmp/x'",
            "IMPORT DATABASE '/tmp/x'",
        ),
        *("ATTACH '/tmp/x.db'", "ATTACH ':memory:' AS m", "DETACH memory", "USE memory"),
        *("INSTALL httpfs", "LOAD httpfs", "CREATE SECRET s (TYPE s3, KEY_ID 'k', SECRET 'v')", "DROP SECRET s"),
        *("SET memory_limit = '100GB'", "RESET memory_limit", "SET VARIABLE a = 1", "PRAGMA memory_limit = '1GB'"),
        *("PRAGMA database_list", "PRAGMA table_info('t')", "CALL pragma_version()", "CHECKPOINT", "VACUUM", "ANALYZE"),
        *("BEGIN", "COMMIT", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p"),
        *("EXPLAIN SELECT 1", "EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "EXPLAIN ANALYZE SELECT 1"),
        *("SHOW DATABASES", "SHOW ALL TABLES", "SHOW SCHEMAS", "SHOW VARIABLES", "DESCRIBE", "FROM (SHOW TABLES)"),
    ],
)
def test_anything_but_a_select_is_refused(gate: Gate, text: str) -> None:
    with pytest.raises(StatementNotAllowed) as caught:
        gate.check(text)
    assert caught.value.reason == "STATEMENT_NOT_ALLOWED"


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1; DROP VIEW t", "SELECT 1;; COPY t TO 'x';"])
def test_several_statements_are_refused_with_their_number(gate: Gate, text: str) -> None:
    with pytest.raises(StatementNotAllowed) as caught:
        gate.check(text)
    assert caught.value.metadata["count"] == "2"


@pytest.mark.parametrize("text", ["PIVOT t ON a USING sum(b)", "SELECT * FROM (PIVOT t ON a)"])
def test_a_pivot_without_values_is_told_to_name_them(gate: Gate, text: str) -> None:
    with pytest.raises(StatementNotAllowed) as caught:
        gate.check(text)
    assert caught.value.metadata["kind"] == "PIVOT"


@pytest.mark.parametrize(
    "source",
    [
        *("read_csv('/etc/passwd')", "read_text('/etc/passwd')", "read_blob('/etc/passwd')", "glob('/*')"),
        *(
            "READ_PARQUET('x.parquet')",
            "\"read_parquet\"('x')",
            "main.read_parquet('x')",
            "system.main.parquet_scan('x')",
        ),
        *("read_json('x')", "read_ndjson('x')", "read_duckdb('x')", "sniff_csv('x')", "parquet_metadata('x')"),
        *("query('SELECT 1')", "query_table('t')", "json_execute_serialized_sql('x')", "histogram(t, a)"),
        *("duckdb_settings()", "duckdb_secrets()", "duckdb_views()", "duckdb_logs()", "which_secret('s3://b', 's3')"),
        *("pragma_version()", "checkpoint()", "force_checkpoint()", "enable_logging()", "duckdb_functions()"),
        *("arrow_scan(1, 2, 3)", "pandas_scan(1)", "seq_scan(1)", "python_map_function(1)", "no_such_function()"),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "FROM {}",
        "SELECT (SELECT 1 FROM {})",
        "WITH a AS (FROM {}) FROM a",
        "FROM t JOIN LATERAL (FROM {}) ON true",
        "FROM t WHERE EXISTS (FROM {}) ORDER BY (SELECT 1 FROM {})",
        "DESCRIBE FROM {}",
        "SUMMARIZE FROM {}",
    ],
)
def test_a_table_function_that_could_reach_out_is_refused_everywhere(gate: Gate, text: str, source: str) -> None:
    with pytest.raises(StatementNotAllowed) as caught:
        gate.check(text.replace("{}", source))
    assert "function" in caught.value.metadata


@pytest.mark.parametrize(
    "call",
    [
        *("pg_sleep(1)", "PG_SLEEP(1)", '"pg_sleep"(1)', "main.pg_sleep(1)", "sleep_ms(1)", "write_log('x')"),
        *("current_setting('temp_directory')", "setseed(0.5)", "nextval('s')", "pg_get_viewdef(1)"),
        *("json_serialize_plan('FROM t')", "__internal_decompress_string(1::UTINYINT)", "finalize(sum(1))"),
        "(1).pg_sleep()",
    ],
)
@pytest.mark.parametrize("text", ["SELECT {}", "FROM t WHERE {} IS NULL", "SELECT list_transform([1], lambda x: {})"])
def test_a_function_that_does_more_than_compute_is_refused_everywhere(gate: Gate, text: str, call: str) -> None:
    with pytest.raises(StatementNotAllowed):
        gate.check(text.format(call))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "FROM main.t",
            "FROM memory.main.t",
            "FROM temp.t",
            "FROM information_schema.tables",
            "FROM pg_catalog.pg_class",
        ),
        *("FROM t AT (VERSION => 1)", "SELECT $1", "SELECT ?", "SELECT $name", "SELECT 1 \0"),
    ],
)
def test_schemas_versions_parameters_and_nul_are_refused(gate: Gate, text: str) -> None:
    with pytest.raises(StatementNotAllowed):
        gate.check(text)


@pytest.mark.parametrize(
    "text",
    [
        # Each of these names the system's duckdb_views where no WITH table of that name can be seen.
        "WITH x AS (WITH duckdb_views AS (SELECT 1) FROM duckdb_views) FROM x, duckdb_views",
        "WITH duckdb_views AS (FROM duckdb_views) FROM duckdb_views",
        "WITH a AS (FROM duckdb_views), duckdb_views AS (SELECT 1) FROM a",
        "WITH RECURSIVE duckdb_views AS (FROM duckdb_views UNION ALL SELECT 1 FROM duckdb_views) FROM duckdb_views",
        "SELECT (WITH duckdb_views AS (SELECT 1) SELECT 1 FROM duckdb_views) FROM duckdb_views",
        "(WITH duckdb_views AS (SELECT 1) FROM duckdb_views) UNION ALL FROM duckdb_views",
    ],
)
def test_a_with_table_hides_a_name_only_where_it_can_be_seen(gate: Gate, text: str) -> None:
    assert gate.check(text).tables == ("duckdb_views",)


@pytest.mark.parametrize("text", ["", "  \n", ";", ";;", "-- nothing", "/* nothing */ ;"])
def test_an_empty_statement_is_refused(gate: Gate, text: str) -> None:
    with pytest.raises(EmptyStatement):
        gate.check(text)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("SELEC 1", "0"),
        ("SELECT 1 +", "10"),
        ("SELECT 'ä", "7"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) FROM x", None),
        ("SELECT * INTO x FROM t", None),
    ],
)
def test_a_syntax_error_says_where(gate: Gate, text: str, position: str | None) -> None:
    with pytest.raises(StatementSyntax) as caught:
        gate.check(text)
    assert caught.value.metadata.get("position") == position


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 30_000 + "1" + ")" * 30_000,
        "SELECT " + "[" * 20_000 + "]" * 20_000,
        "SELECT " + "NOT " * 15_000 + "true",
        "SELECT " + "(SELECT " * 5_000 + "1" + ")" * 5_000,
        "SELECT " + "abs(" * 600 + "1" + ")" * 600,
        "SELECT " + "CASE WHEN " * 6_000,
        "SELECT 1" + "+1" * 20_000,
        "FROM " + "(FROM " * 5_000 + "t" + ")" * 5_000,
    ],
)
def test_a_deeply_nested_statement_is_an_error_and_no_crash(gate: Gate, text: str) -> None:
    with pytest.raises((StatementSyntax, StatementNotAllowed)):
        gate.check(text)


def test_a_statement_has_64_kib_at_most(gate: Gate) -> None:
    just = "SELECT '" + "ä" * ((MAX_STATEMENT_BYTES - 10) // 2) + "x'"
    assert len(just.encode()) == MAX_STATEMENT_BYTES
    gate.check(just)
    with pytest.raises(StatementTooLarge) as caught:
        gate.check(just + " ")
    assert caught.value.http_status == 413


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 'é;' ;; -- ;", "SELECT 'é;' "),
        ("SELECT 1 -- ;", "SELECT 1 -- ;"),
        ("SELECT 1 /* ; */", "SELECT 1 /* ; */"),
    ],
)
def test_semicolons_that_end_a_statement_are_taken_off(gate: Gate, text: str, kept: str) -> None:
    assert gate.check(text).text == kept


def test_no_function_of_this_duckdb_escapes_review() -> None:
    """Functions with side effects, and macros that read the system catalog, are forbidden by name."""
    harmless = {
        *("current_connection_id", "current_query_id", "current_transaction_id", "error", "random"),
        *("gen_random_uuid", "uuid", "uuidv4", "uuidv7"),
    }
    found = duckdb.sql("""
        SELECT DISTINCT function_name FROM duckdb_functions()
        WHERE function_type IN ('scalar', 'aggregate', 'macro') AND (
            stability = 'VOLATILE' OR has_side_effects
            OR regexp_matches(macro_definition, '(?i)duckdb_|pragma_|sleep|\\bquery')
        )
    """).fetchall()
    escaped = {name for (name,) in found if name not in FORBIDDEN_FUNCTIONS and not name.startswith(FORBIDDEN_PREFIXES)}
    assert escaped == harmless


def test_every_function_that_is_named_exists() -> None:
    known = {name for (name,) in duckdb.sql("SELECT function_name FROM duckdb_functions()").fetchall()}
    assert known >= (TABLE_FUNCTIONS | FORBIDDEN_FUNCTIONS)
