"""How answers look, in 80 columns and without a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest

from services.cli import results
from services.cli.arrow import opened
from services.cli.terminal import Terminal, as_json_text, plain, size, table


async def _pieces(batch: pa.RecordBatch, times: int) -> AsyncIterator[bytes]:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(times):
            writer.write_batch(batch)
    yield sink.getvalue()


NARROW = pa.record_batch([pa.array([1, 2, None]), pa.array(["a", "b\nc", None])], ["n", "word"])
WIDE = pa.record_batch([pa.array(["some words"] * 3) for _ in range(12)], [f"column_{i}" for i in range(12)])


async def _shown(
    capsys: pytest.CaptureFixture[str], batch: pa.RecordBatch, times: int = 1, limit: int | None = None
) -> str:
    async with opened(_pieces(batch, times)) as stream:
        await results.show(Terminal(), stream, limit)
    return capsys.readouterr().out


async def test_few_columns_are_a_table_with_nulls_and_line_ends_visible(capsys: pytest.CaptureFixture[str]) -> None:
    shown = await _shown(capsys, NARROW)
    assert "b↵c" in shown
    assert "null" in shown
    assert "3 rows" in shown
    assert "there are more" not in shown


async def test_many_columns_are_records_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    shown = await _shown(capsys, WIDE, times=10)
    assert "row 1" in shown
    assert shown.count("column_11") == 5
    assert "The first 5 rows; there are more." in shown


async def test_a_limit_cuts_and_says_so_and_zero_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "The first 2 rows; there are more." in await _shown(capsys, NARROW, limit=2)
    assert "there are more" in await _shown(capsys, NARROW, times=100)
    assert "300 rows" in await _shown(capsys, NARROW, times=100, limit=0)


async def test_nothing_is_wider_than_the_terminal_and_nothing_is_coloured_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for batch in (NARROW, WIDE):
        shown = await _shown(capsys, batch, times=20)
        assert "\x1b" not in shown
        assert max(map(len, shown.splitlines())) <= 80


async def test_json_is_one_document_with_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(_pieces(NARROW, 50)) as stream:
        await results.write_json(Terminal(as_json=True), stream)
    answer = json.loads(capsys.readouterr().out)
    assert answer["columns"] == [{"name": "n", "type": "BIGINT"}, {"name": "word", "type": "VARCHAR"}]
    assert answer["row_count"] == len(answer["rows"]) == 150
    assert answer["rows"][:3] == [[1, "a"], [2, "b\nc"], [None, None]]


async def test_json_of_no_rows_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(_pieces(NARROW, 0)) as stream:
        await results.write_json(Terminal(as_json=True), stream)
    assert json.loads(capsys.readouterr().out)["rows"] == []


async def test_csv_reads_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(_pieces(NARROW, 1)) as stream:
        await results.write_csv(Terminal(), stream)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert rows == [["n", "word"], ["1", "a"], ["2", "b\nc"], ["", ""]]


def test_markup_in_values_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.show(table(["[bold]name"], [["[red]x[/red]"]]))
    terminal.say(f"so: {plain('[red]y[/red]')}")
    shown = capsys.readouterr().out
    assert "[bold]name" in shown
    assert "[red]x[/red]" in shown
    assert "[red]y[/red]" in shown


def test_under_json_people_get_nothing_and_the_document_is_all(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=True)
    terminal.say("words")
    terminal.show(table(["a"], [[1]]))
    terminal.document({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().busy("working") as told:
        told(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes_have_a_unit(count: int, shown: str) -> None:
    assert size(count) == shown


def test_json_keeps_other_scripts_readable() -> None:
    assert "Zoë" in as_json_text({"name": "Zoë"})
