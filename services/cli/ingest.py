"""`lakehouse ingest`: a file becomes a dataset."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from google.api import httpbody_pb2
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lakehouse.ingest.v1 import ingest_pb2

from services.cli.command import Session, command
from services.cli.failure import CommandError
from services.cli.terminal import Terminal, plain, table
from services.runtime.names import check_name

_PIECE = 1 << 20
_FORMATS = ("csv", "json", "ndjson", "parquet", "text", "pdf")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes come from."""

    file: BinaryIO
    name: str
    """The file's name, for lineage; empty for standard input."""
    size: int | None
    """Bytes to come; None when nobody knows."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "ingest",
        examples="""
        lakehouse ingest tickets.csv
        lakehouse ingest 2026-09.csv --name tickets --append
        lakehouse ingest codes.csv --string zip --string sku
        zcat big.csv.gz | lakehouse ingest - --name big
        """,
    )(ingest)


async def ingest(
    session: Session,
    file: Annotated[
        Path, typer.Argument(help="The file: CSV, JSON, NDJSON, Parquet, text or PDF; `-` reads standard input.")
    ],
    name: Annotated[
        str,
        typer.Option("--name", "-n", help="The dataset's name. [dim]default: the file's name without its ending[/]"),
    ] = "",
    append: Annotated[
        bool, typer.Option("--append", help="Add the rows to those that are there instead of replacing them.")
    ] = False,
    bucket: Annotated[str, typer.Option("--bucket", help="Where the data are kept. [dim]default: primary[/]")] = "",
    string: Annotated[
        list[str] | None,
        typer.Option(
            "--string", metavar="COLUMN", help="Keep this column as text, whatever it looks like. Repeatable."
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(_FORMATS)}. [dim]default: found out[/]"),
    ] = "",
    delimiter: Annotated[
        str,
        typer.Option(
            "--delimiter", help="What separates the fields of a CSV file: , ; | or tab. [dim]default: found out[/]"
        ),
    ] = "",
) -> None:
    """Turns a file into a dataset that SQL and corpora can read.

    Types are inferred, and a column with one value that does not fit stays text, so that nothing is
    lost: leading zeros, long numbers, mixed columns. The same file twice is a no-op.
    """
    first = ingest_pb2.IngestRequest(
        name=_dataset_name(file, name),
        bucket=bucket,
        format=_one_of(kind, _FORMATS, "--format"),
        mode="append" if append else "replace",
        string_columns=string or (),
        delimiter=_one_of({"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter), _DELIMITERS, "--delimiter"),
    )
    with _opened(file) as opened:
        size = None if file == Path("-") else os.fstat(opened.fileno()).st_size
        source = Source(file=opened, name=file.name if size is not None else "", size=size)
        answer = await _upload(session, first, source)
    session.terminal.document(answer)
    _report(session.terminal, answer)


def _dataset_name(file: Path, name: str) -> str:
    if not name and file == Path("-"):
        raise typer.BadParameter("reading standard input needs a name for the dataset", param_hint="--name")
    return check_name(name or file.stem)


def _one_of(value: str, allowed: tuple[str, ...], option: str) -> str:
    if value and value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(map(repr, allowed))}", param_hint=option)
    return value


def _opened(file: Path) -> BinaryIO:
    if file == Path("-"):
        if sys.stdin.isatty():
            hint = "pipe the bytes in: zcat big.csv.gz | lakehouse ingest - --name big"
            raise CommandError("standard input is a terminal", reason="STDIN_IS_A_TERMINAL", hint=hint)
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    if file.is_dir():
        raise CommandError(f"{file} is a directory; give a file", reason="IS_A_DIRECTORY")
    return open(file, "rb")


async def _upload(session: Session, first: ingest_pb2.IngestRequest, source: Source) -> ingest_pb2.IngestResponse:
    first.file_name = source.name
    if source.size is not None:
        first.size = source.size
    with session.terminal.progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ) as bar:
        task = bar.add_task("sending", total=source.size)

        def told(sent: int) -> None:
            done = sent == source.size
            bar.update(task, completed=sent, description="reading types, writing Parquet" if done else "sending")

        async with session.connect() as client:
            return await client.ingest.Ingest(_requests(first, source, told), timeout=client.patience)


async def _requests(
    first: ingest_pb2.IngestRequest, source: Source, told: Callable[[int], None]
) -> AsyncIterator[ingest_pb2.IngestRequest]:
    sent = 0
    request = first
    async for piece in _pieces(source.file):
        request.data.CopyFrom(httpbody_pb2.HttpBody(data=piece))
        yield request
        sent += len(piece)
        told(sent)
        request = ingest_pb2.IngestRequest()
    if request is first:
        yield first  # an empty file: the daemon says what is wrong with it


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        while piece := file.read(_PIECE):
            yield piece
        return
    # A pipe may keep us waiting for as long as its writer likes; the event loop must stay free for Ctrl-C.
    reader = asyncio.StreamReader(limit=_PIECE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    while piece := await reader.read(_PIECE):
        yield piece


def _report(terminal: Terminal, answer: ingest_pb2.IngestResponse) -> None:
    total = f" ({answer.dataset_row_count:,} in the dataset)" if answer.dataset_row_count != answer.row_count else ""
    verb = (
        "created" if answer.created else "updated" if answer.changed else "unchanged, the same file was there already"
    )
    terminal.say(
        f"[bold]{plain(answer.name)}[/] {verb}: {answer.row_count:,} rows, {len(answer.columns)} columns{total}"
    )
    rows = [(column.name, column.type, column.pii, column.widened) for column in answer.columns]
    headings = ["column", "type", "personal data", "why it is text"]
    shown = [index for index in range(4) if index < 2 or any(row[index] for row in rows)]
    terminal.show(table([headings[i] for i in shown], [[row[i] for i in shown] for row in rows]))
