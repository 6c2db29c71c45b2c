"""`lakehouse sql`: one SELECT, answered as a table, as CSV or as JSON."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from lakehouse.query.v1 import query_pb2

from services.cli.client import Client
from services.cli.command import Session, command

TABLE_ROWS, RECORDS = 40, 5
"""Rows shown unless asked otherwise: in a table, and below each other when a table would be too wide."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "sql",
        examples="""
        lakehouse sql 'SELECT state, count(*) FROM tickets GROUP BY state'
        lakehouse sql 'SELECT * FROM "my file"' --limit 100
        lakehouse sql 'SELECT * FROM tickets' --csv > tickets.csv
        lakehouse sql - < report.sql --json | jq '.rows[0]'
        """,
    )(sql)


def _from_standard_input(statement: str) -> str:
    return sys.stdin.read() if statement == "-" else statement


async def sql(
    session: Session,
    statement: Annotated[
        str,
        typer.Argument(callback=_from_standard_input, help="One SELECT statement; `-` reads it from standard input."),
    ],
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-l",
            min=0,
            help=f"How many rows to show; 0 shows all. "
            f"[dim]default: {TABLE_ROWS}, or {RECORDS} when rows are too wide for a table[/]",
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every row as CSV.")] = False,
) -> None:
    """Asks the datasets a question in SQL. Every dataset is a table by its name.

    People get a table of the first rows; --csv and --json give every row, however many.
    """
    # pyarrow and numpy take a third of a second to load, and no other command needs them.
    from services.cli import arrow, results

    if as_csv and session.terminal.as_json:
        raise typer.BadParameter("choose one of --csv and --json")
    async with session.connect() as client, arrow.opened(_pieces(client, statement)) as stream:
        if session.terminal.as_json:
            await results.write_json(session.terminal, stream)
        elif as_csv:
            await results.write_csv(session.terminal, stream)
        else:
            await results.show(session.terminal, stream, limit)


async def _pieces(client: Client, statement: str) -> AsyncIterator[bytes]:
    async for piece in client.query.QueryArrow(query_pb2.QueryArrowRequest(sql=statement), timeout=client.patience):
        yield piece.data.data
