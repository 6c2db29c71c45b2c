"""The rows of a SQL answer: as a table or as records for people, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import orjson
import pyarrow as pa
from rich.table import Table
from rich.text import Text

from services.cli.arrow import ArrowStream
from services.cli.sql import RECORDS, TABLE_ROWS
from services.cli.terminal import Terminal, facts, table
from services.cli.values import Row, as_json, as_text, is_number, rows_of, type_name

_CELL, _RECORD_CELL = 40, 300


async def write_json(terminal: Terminal, stream: ArrowStream) -> None:
    """Writes every row as the JSON document of `POST /v1/sql`, batch by batch."""
    columns = [{"name": field.name, "type": type_name(field.type)} for field in stream.schema]
    terminal.raw(f'{{"columns": {orjson.dumps(columns).decode()}, "rows": [')
    count = 0
    async for batch in stream:
        rows = [orjson.dumps([as_json(value) for value in row]).decode() for row in rows_of(batch)]
        if rows:
            terminal.raw((",\n" if count else "\n") + ",\n".join(rows))
        count += len(rows)
    terminal.raw(f'\n], "row_count": {count}}}\n')


async def write_csv(terminal: Terminal, stream: ArrowStream) -> None:
    """Writes every row as CSV with a header, batch by batch."""
    terminal.raw(_csv([stream.schema.names]))
    async for batch in stream:
        terminal.raw(_csv([as_text(value) for value in row] for row in rows_of(batch)))


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


async def show(terminal: Terminal, stream: ArrowStream, limit: int | None) -> None:
    """Shows the first rows and says whether there are more; stops reading once it knows."""
    wanted = TABLE_ROWS if limit is None else limit
    rows: list[Row] = []
    more = False
    async for batch in stream:
        rows += rows_of(batch)
        if wanted and len(rows) > wanted:
            more = True
            break
    shown = rows[:wanted] if wanted else rows
    if _fits(stream.schema, shown, terminal.width):
        right = [index for index, field in enumerate(stream.schema) if is_number(field.type)]
        terminal.show(
            table(stream.schema.names, [[_cell(value, _CELL) for value in row] for row in shown], right=right)
        )
    else:
        shown = shown[:RECORDS] if limit is None else shown
        terminal.show(*(_record(number, stream.schema, row) for number, row in enumerate(shown, 1)))
    terminal.say(_footer(len(shown), more or len(shown) < len(rows)))


def _fits(schema: pa.Schema, rows: list[Row], width: int) -> bool:
    widths = [
        max([len(field.name), *(min(_CELL, len(as_text(row[index]))) for row in rows)])
        for index, field in enumerate(schema)
    ]
    return sum(widths) + 3 * len(widths) <= width or len(widths) <= 2


def _cell(value: object, most: int) -> Text:
    if value is None:
        return Text("null", style="dim")
    text = as_text(value).replace("\n", "↵")
    return Text(text if len(text) <= most else f"{text[: most - 1]}…")


def _record(number: int, schema: pa.Schema, row: Row) -> Table:
    pairs = [(name, _cell(value, _RECORD_CELL)) for name, value in zip(schema.names, row, strict=True)]
    return facts([(f"row {number}", ""), *pairs, ("", "")])


def _footer(shown: int, more: bool) -> str:
    rows = "1 row" if shown == 1 else f"{shown:,} rows"
    if not more:
        return f"[dim]{rows}[/]"
    return f"[dim]The first {rows}; there are more. --limit N shows more (0 all), --csv and --json give every row.[/]"
