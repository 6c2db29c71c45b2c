"""The engine over real data files: answers, limits, errors, isolation between statements."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from services.queryd.config import QueryConfig
from services.queryd.engine import Engine
from services.queryd.errors import (
    DatasetUnreadable,
    InvalidQuery,
    OutOfMemory,
    ResultTooLarge,
    RowLimit,
    UnknownColumn,
    UnknownTable,
)
from services.queryd.pieces import PIECE_BYTES, failed_tail
from services.queryd.running import Running
from services.queryd.views import data_path
from services.runtime.errors import Cancelled, ServiceError
from tests.unit.queryd.warehouse import Open, Warehouse, names


@pytest.mark.requirement("Q1")
def test_an_answer_has_columns_rows_and_row_count(warehouse: Warehouse) -> None:
    assert warehouse.json("SELECT id, name, score FROM workers ORDER BY id;  -- all of them") == {
        "columns": [
            {"name": "id", "type": "INTEGER"},
            {"name": "name", "type": "VARCHAR"},
            {"name": "score", "type": "DECIMAL(3,2)"},
        ],
        "rows": [[1, "Ada", "1.50"], [2, "Bob", None], [3, "Çetin", "-0.25"]],
        "row_count": 3,
    }


@pytest.mark.requirement("Q1")
def test_an_answer_without_rows_still_has_its_columns(warehouse: Warehouse) -> None:
    assert warehouse.json("SELECT id FROM workers WHERE false") == {
        "columns": [{"name": "id", "type": "INTEGER"}],
        "rows": [],
        "row_count": 0,
    }


@pytest.mark.requirement("Q1")
def test_columns_with_one_name_are_all_kept(warehouse: Warehouse) -> None:
    for text in ("SELECT 1 AS a, 2 AS a", "SELECT 1 AS a, 2.5 AS a"):
        answer = warehouse.json(text)
        assert names([list(column.values()) for column in answer["columns"]]) == ["a", "a"]
        assert len(answer["rows"][0]) == 2
    assert warehouse.arrow("SELECT 1 AS a, 2::UHUGEINT AS a").column_names == ["a", "a"]


def test_show_tables_lists_the_catalog_without_reading_a_file(warehouse: Warehouse) -> None:
    warehouse.put('it\'s "odd"', "SELECT 1")
    for file in warehouse.files.iterdir():
        file.unlink()
    assert warehouse.rows("SHOW TABLES") == [['it\'s "odd"'], ["workers"]]


def test_show_tables_of_an_empty_catalog_has_no_rows(open_warehouse: Open) -> None:
    assert open_warehouse().json("SHOW TABLES") == {
        "columns": [{"name": "name", "type": "VARCHAR"}],
        "rows": [],
        "row_count": 0,
    }


def test_describe_and_summarize_tell_of_a_dataset(warehouse: Warehouse) -> None:
    assert names(warehouse.rows("DESCRIBE workers")) == ["id", "name", "score"]
    assert names(warehouse.rows("SUMMARIZE workers")) == ["id", "name", "score"]


@pytest.mark.requirement("X14", "Q2")
@pytest.mark.parametrize(
    "name",
    [
        *("Workers 2026", "it's", 'say "hi"', "50%:off", "ünïcödé 表", "select", "a.b", "--x", "; DROP VIEW y", "1"),
        *("duckdb_settings", "sqlite_master", "information_schema", "range", "$1", "{}", "[x]*?", "x" * 128),
    ],
)
def test_any_legal_name_is_a_view(warehouse: Warehouse, name: str) -> None:
    warehouse.put(name, "SELECT 42 AS answer")
    quoted = name.replace('"', '""')
    assert warehouse.rows(f'SELECT answer FROM "{quoted}"') == [[42]]
    assert warehouse.arrow(f'FROM "{quoted}"')["answer"].to_pylist() == [42]


@pytest.mark.requirement("X14", "Q2")
@pytest.mark.parametrize("spelling", ["ÉTÉ", "été", "Été", "ete\N{COMBINING ACUTE ACCENT}"])
def test_names_are_found_without_regard_to_case_or_composition(warehouse: Warehouse, spelling: str) -> None:
    warehouse.put("Été" if spelling != "ete\N{COMBINING ACUTE ACCENT}" else "eté", "SELECT 1 AS x")
    assert warehouse.rows(f'FROM "{spelling}"') == [[1]]


@pytest.mark.requirement("Q2")
def test_a_dataset_of_several_files_is_one_view(warehouse: Warehouse) -> None:
    warehouse.put("parts", "SELECT 1 AS a, 'x' AS b", "SELECT 2 AS a, 'y' AS b", "SELECT 3 AS a, 'z' AS b")
    assert warehouse.rows("FROM parts ORDER BY a") == [[1, "x"], [2, "y"], [3, "z"]]


@pytest.mark.requirement("Q7")
def test_datasets_join_whatever_bucket_they_came_from(warehouse: Warehouse) -> None:
    warehouse.put("jobs", "FROM (VALUES (1, 'welder'), (3, 'driver')) AS t(worker, role)")
    joined = "SELECT w.name, j.role FROM workers w JOIN jobs j ON j.worker = w.id ORDER BY 1"
    assert warehouse.rows(joined) == [["Ada", "welder"], ["Çetin", "driver"]]


@pytest.mark.requirement("Q2")
def test_new_rows_are_seen_by_the_next_statement_and_never_by_a_running_one(open_warehouse: Open) -> None:
    warehouse = open_warehouse()
    warehouse.put("t", "SELECT 'old' AS v FROM range(500_000)")
    running = warehouse.open("FROM t")
    first = running.next_part()
    warehouse.put("t", "SELECT 'new' AS v")
    assert warehouse.rows("FROM t") == [["new"]]
    rest = iter(running.next_part, None)
    table = pa.ipc.open_stream(b"".join([first or b"", *rest])).read_all()
    assert (table.num_rows, set(table["v"].to_pylist())) == (500_000, {"old"})


@pytest.mark.requirement("Q2")
def test_content_that_comes_back_is_seen_again_under_any_spelling(warehouse: Warehouse) -> None:
    first = warehouse.put("t", "SELECT 1 AS v")
    assert warehouse.rows("FROM t") == warehouse.rows('FROM "T"') == [[1]]
    warehouse.put("t", "SELECT 2 AS v")
    assert warehouse.rows('FROM "T"') == [[2]]
    warehouse.datasets["t"] = first
    warehouse.views.follow(99, warehouse.datasets.values())
    assert warehouse.rows("FROM t") == [[1]]


def test_a_changed_schema_is_seen_at_once(warehouse: Warehouse) -> None:
    warehouse.put("t", "SELECT 1 AS v")
    assert warehouse.rows("FROM t") == [[1]]
    warehouse.put("t", "SELECT 1.5 AS v, 2 AS w")
    assert warehouse.rows("FROM t") == [["1.5", 2]]


@pytest.mark.requirement("Q4")
def test_files_cannot_be_reached_by_their_names(warehouse: Warehouse) -> None:
    path = data_path(warehouse.files, warehouse.datasets["workers"].files[0].sha256)
    for source in (f"'{path}'", f'"{path}"', "'/etc/passwd'", "'x.parquet'", "'https://example.com/x.parquet'"):
        with pytest.raises(UnknownTable):
            warehouse.json(f"FROM {source}")
        with pytest.raises(UnknownTable):
            warehouse.json(f"DESCRIBE {source}")
    assert len(warehouse.rows("FROM workers")) == 3


@pytest.mark.requirement("Q4")
def test_hidden_columns_of_files_stay_hidden(warehouse: Warehouse) -> None:
    for column in ("filename", "file_row_number", "file_index"):
        with pytest.raises(UnknownColumn):
            warehouse.json(f"SELECT {column} FROM workers")


@pytest.mark.requirement("Q4")
@pytest.mark.parametrize(
    "text",
    [
        *("FROM read_csv('/etc/passwd')", "FROM read_text('/etc/passwd')", "FROM glob('/*')", "FROM '/etc/passwd'"),
        *(
            "COPY (SELECT 1) TO '/tmp/lakehouse-leak.csv'",
            "ATTACH '/tmp/lakehouse-leak.db'",
            "INSTALL httpfs",
            "LOAD httpfs",
        ),
        *("SET memory_limit = '100GB'", "SET enable_external_access = true", "SET allowed_directories = ['/']"),
        *("FROM 'https://example.com/x.parquet'", "CREATE PERSISTENT SECRET s (TYPE s3)", "IMPORT DATABASE '/tmp'"),
    ],
)
def test_without_the_gate_the_instance_still_reaches_nothing_outside(warehouse: Warehouse, text: str) -> None:
    with pytest.raises(duckdb.Error):
        warehouse.engine._database.cursor().execute(text)


@pytest.mark.requirement("Q4")
def test_python_variables_are_not_tables(warehouse: Warehouse) -> None:
    leaked = pa.table({"secret": [1]})
    assert leaked.num_rows == 1
    with pytest.raises(duckdb.Error):
        warehouse.engine._database.cursor().execute("FROM leaked")


@pytest.mark.requirement("Q1")
def test_a_row_over_the_limit_names_the_arrow_route(open_warehouse: Open) -> None:
    warehouse = open_warehouse(row_limit=2_000)
    assert warehouse.json("FROM range(2000)")["row_count"] == 2_000
    with pytest.raises(RowLimit, match="/v1/sql/arrow") as caught:
        warehouse.json("FROM range(2001)")
    assert caught.value.metadata["limit"] == "2000"
    assert warehouse.arrow("FROM range(2001)").num_rows == 2_001


@pytest.mark.requirement("Q1", "X7")
def test_few_rows_of_many_bytes_are_limited_too(open_warehouse: Open) -> None:
    warehouse = open_warehouse(max_json_bytes=100_000)
    with pytest.raises(ResultTooLarge):
        warehouse.json("SELECT repeat('x', 10_000) FROM range(11)")


@pytest.mark.requirement("Q1")
def test_arrow_comes_in_pieces_of_a_mebibyte_without_a_limit(open_warehouse: Open) -> None:
    pieces = list(open_warehouse().pieces("SELECT i, repeat('x', 100) AS s FROM range(200_000) t(i)"))
    assert len(pieces) > 10
    assert max(map(len, pieces)) <= PIECE_BYTES
    table = pa.ipc.open_stream(b"".join(pieces)).read_all()
    assert table.num_rows == 200_000
    assert table["i"].to_pylist() == list(range(200_000))


def test_an_arrow_answer_without_rows_has_its_schema(warehouse: Warehouse) -> None:
    table = warehouse.arrow("SELECT id FROM workers WHERE false")
    assert (table.num_rows, table.schema.field("id").type) == (0, pa.int32())


@pytest.mark.requirement("X3")
def test_no_reader_accepts_an_arrow_stream_that_failed_late(warehouse: Warehouse) -> None:
    running = warehouse.open("SELECT CASE WHEN i = 2000000 THEN error('late') ELSE i END FROM range(3000000) t(i)")
    begun: list[bytes] = []
    with pytest.raises(InvalidQuery):
        begun.extend(iter(running.next_part, None))
    whole = b"".join(iter(warehouse.open("FROM range(10)").next_part, None))
    cut_between_batches = whole.removesuffix(b"\xff\xff\xff\xff\0\0\0\0")
    assert pa.ipc.open_stream(cut_between_batches).read_all().num_rows == 10
    for cut in (b"".join(begun), cut_between_batches):
        with pytest.raises(pa.ArrowInvalid):
            pa.ipc.open_stream(cut + failed_tail("INVALID_QUERY")).read_all()


@pytest.mark.requirement("Q5")
@pytest.mark.parametrize(
    ("text", "error", "metadata"),
    [
        ("SELECT nmae FROM workers", UnknownColumn, {"column": "nmae", "candidates": "name", "position": "7"}),
        ("FROM worker", UnknownTable, {"table": "worker", "suggestion": "workers"}),
        ("SELECT no_such_function(id) FROM workers", InvalidQuery, {}),
        ("SELECT sum(name) FROM workers", InvalidQuery, {}),
        ("SELECT name::INT FROM workers", InvalidQuery, {}),
        ("SELECT id, count(*) FROM workers", InvalidQuery, {}),
        ("SELECT 9223372036854775807 + 1", InvalidQuery, {}),
        ("SELECT x.id FROM workers", InvalidQuery, {}),
        ("SELECT error('as asked')", InvalidQuery, {}),
    ],
)
def test_each_fault_of_a_statement_has_its_reason(
    warehouse: Warehouse, text: str, error: type[ServiceError], metadata: dict[str, str]
) -> None:
    for answer in (warehouse.json, warehouse.arrow):
        with pytest.raises(error) as caught:
            answer(text)
        assert metadata.items() <= caught.value.metadata.items()


def test_after_an_error_the_next_statement_runs(warehouse: Warehouse) -> None:
    for _ in range(3):
        with pytest.raises(InvalidQuery):
            warehouse.json("SELECT name::INT FROM workers")
        assert warehouse.rows("SELECT count(*) FROM workers") == [[3]]


@pytest.mark.requirement("Q2", "Q5")
def test_a_damaged_dataset_is_named_and_blocks_no_other(warehouse: Warehouse) -> None:
    file = warehouse.put("broken", "SELECT 1").files[0]
    path = data_path(warehouse.files, file.sha256)
    path.write_bytes(b"PAR1" + b"\0" * (file.size - 8) + b"PAR1")
    with pytest.raises(DatasetUnreadable) as caught:
        warehouse.json("FROM broken JOIN workers ON true")
    assert caught.value.metadata["dataset"] == "broken"
    assert len(warehouse.rows("FROM workers")) == 3


@pytest.mark.requirement("Q5", "X9")
def test_no_error_tells_where_files_lie(warehouse: Warehouse) -> None:
    missing = warehouse.put("missing", "SELECT 1").files[0]
    data_path(warehouse.files, missing.sha256).unlink()
    damaged = warehouse.put("damaged", "SELECT 2").files[0]
    data_path(warehouse.files, damaged.sha256).write_bytes(b"not parquet")
    for dataset in (missing, damaged):
        with pytest.raises(DatasetUnreadable) as caught:
            warehouse.json(f"FROM {dataset.dataset}")
        shown = caught.value.message + str(caught.value.metadata)
        assert str(warehouse.files) not in shown
        assert dataset.sha256 not in shown


@pytest.mark.requirement("Q4", "X7")
@pytest.mark.parametrize(
    "text",
    [
        "SELECT array_agg(i) FROM range(100_000_000) t(i)",
        "SELECT string_agg(repeat('abc', 1000), '') FROM range(1_000_000) t(i)",
        "SELECT max(s) FROM (SELECT i, list(hash(i)) AS s FROM range(50_000_000) t(i) GROUP BY i)",
    ],
)
def test_a_statement_that_needs_too_much_memory_is_told_so(open_warehouse: Open, text: str) -> None:
    warehouse = open_warehouse(memory_limit_bytes=64 << 20, spill_limit_bytes=32 << 20)
    with pytest.raises(OutOfMemory):
        warehouse.json(text)
    assert warehouse.rows("SELECT 1") == [[1]]


def test_a_sort_larger_than_memory_spills(open_warehouse: Open) -> None:
    warehouse = open_warehouse(memory_limit_bytes=64 << 20)
    text = (
        "SELECT count(*), max(h) FROM (SELECT hash(i) AS h, repeat('x', 20) AS s FROM range(3_000_000) t(i) ORDER BY h)"
    )
    assert warehouse.rows(text)[0][0] == 3_000_000


def stopped_after(running: Running, work: Callable[[], Any], seconds: float = 0.2) -> Exception | None:
    """What `work` ended with when `running` was stopped from another thread until it ended."""
    caught: list[Exception] = []

    def run() -> None:
        try:
            work()
        except ServiceError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(seconds)
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        running.close()
        thread.join(0.02)
    assert not thread.is_alive()
    return caught[0] if caught else None


@pytest.mark.requirement("Q4", "X6")
@pytest.mark.parametrize(
    "text",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE (a.range * b.range) % 7 = 3",
        "SELECT count(*) FROM generate_series(1, 1_000_000_000_000)",
        "SELECT max(hash(i)) FROM range(1_000_000_000_000) t(i)",
    ],
)
def test_an_endless_statement_ends_when_it_is_stopped(open_warehouse: Open, text: str) -> None:
    warehouse = open_warehouse()
    running = warehouse.open(text)
    assert isinstance(stopped_after(running, running.json), Cancelled)
    assert warehouse.rows("SELECT 1") == [[1]]


@pytest.mark.requirement("X6")
def test_an_arrow_answer_can_be_stopped_between_pieces(open_warehouse: Open) -> None:
    warehouse = open_warehouse()
    running = warehouse.open("SELECT i, hash(i) AS h FROM range(1_000_000_000) t(i)")
    assert running.next_part()
    running.close()
    running.close()
    with pytest.raises(Cancelled):
        running.next_part()
    assert warehouse.rows("SELECT 1") == [[1]]


def test_a_statement_that_was_stopped_before_it_began_never_runs(warehouse: Warehouse) -> None:
    running = warehouse.open("FROM workers")
    running.close()
    with pytest.raises(Cancelled):
        running.json()


def test_stopping_one_statement_leaves_the_others_alone(open_warehouse: Open) -> None:
    warehouse = open_warehouse()
    warehouse.put("t", "SELECT i, hash(i) AS h FROM range(100_000) t(i)")
    expected = warehouse.rows("SELECT sum(h % 1000) FROM t")
    done = threading.Event()
    wrong: list[Any] = []

    def keep_asking() -> None:
        while not done.is_set():
            rows = warehouse.rows("SELECT sum(h % 1000) FROM t")
            if rows != expected:
                wrong.append(rows)

    threads = [threading.Thread(target=keep_asking) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        running = warehouse.open("SELECT max(hash(i)) FROM range(1_000_000_000_000) t(i)")
        assert isinstance(stopped_after(running, running.json, 0.01), Cancelled)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_killed_run_had_spilled_is_removed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "duckdb_temp_storage-0.tmp").write_bytes(b"left")
    Engine(files=tmp_path / "cache", spill=tmp_path / "spill", config=QueryConfig()).close()
    assert list((tmp_path / "spill").iterdir()) == []
