"""What a command shows: tables and sentences for people, one JSON document for programs, never both.

Answers go to standard output; progress, notes and errors go to standard error. Without a terminal
there is no colour, no progress bar and no cursor movement.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from services.cli.failure import Failure

PIPED_WIDTH = 80
"""Columns when nobody looks: files and pipes get what an ordinary terminal gets."""


class Terminal:
    """The two streams of one command."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    @property
    def interactive(self) -> bool:
        """Whether a person watches standard output."""
        return self._out.is_terminal

    @property
    def width(self) -> int:
        """Columns available for text."""
        return self._out.width

    def document(self, value: Any) -> None:
        """Writes the JSON document, which is all that standard output gets under --json."""
        if self.as_json:
            sys.stdout.write(as_json_text(value))

    def show(self, *renderables: RenderableType) -> None:
        """Writes for people: strings are plain text, other renderables as they are."""
        if not self.as_json:
            for renderable in renderables:
                self._out.print(renderable, markup=False, highlight=False)

    def say(self, markup: str) -> None:
        """Writes a sentence with rich markup; dynamic parts must be escaped with `plain`."""
        if not self.as_json:
            self._out.print(markup, highlight=False)

    def line(self, text: str) -> None:
        """Writes one line as it is and never breaks it, so that other programs can cut it up."""
        if not self.as_json:
            self._out.print(text, markup=False, highlight=False, soft_wrap=True)

    def raw(self, text: str) -> None:
        """Writes text as it is, under --json too: for output that is made piece by piece."""
        sys.stdout.write(text)

    def note(self, markup: str) -> None:
        """Writes a remark to standard error."""
        self._err.print(markup, highlight=False, style="dim")

    def fail(self, failure: Failure) -> None:
        """Writes an error to standard error: a JSON object under --json, else one line, reason and hint."""
        if self.as_json:
            sys.stderr.write(as_json_text(failure.document()))
            return
        self._err.print(f"[bold red]error:[/] {escape(failure.message)}", highlight=False, soft_wrap=True)
        for field, description in failure.violations:
            if failure.message != f"{field}: {description}":
                self._err.print(f"  {escape(field)}: {escape(description)}", highlight=False, soft_wrap=True)
        self._err.print(f"[dim]reason: {escape(failure.reason)}[/]", highlight=False)
        if failure.hint:
            self._err.print(f"[dim]hint:   {escape(failure.hint)}[/]", highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, *columns: ProgressColumn) -> Iterator[Progress]:
        """Shows progress on standard error while the block runs; nothing at all when it is no terminal."""
        bar = Progress(
            SpinnerColumn(), *columns, console=self._err, transient=True, disable=not self._err.is_terminal, expand=True
        )
        with bar:
            yield bar

    @contextmanager
    def busy(self, words: str) -> Iterator[Callable[[int, int], None]]:
        """Shows that something is being done; yields a function to tell how much of how much, when that is known."""
        with self.progress(TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn()) as bar:
            task = bar.add_task(words, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def plain(value: object) -> str:
    """A value as it is inside markup."""
    return escape(str(value))


def as_json_text(value: Any) -> str:
    """Renders a value, or a message in the spelling and with the zeros of the REST interface."""
    shown = as_dict(value) if isinstance(value, Message) else value
    return orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_dict(message: Message) -> dict[str, Any]:
    """A message as REST shows it."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> Table:
    """A table of plain values: no markup is read in them. `right` names the columns of numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(Text(column), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> RenderableType:
    if isinstance(value, Text):
        return value
    return Text("" if value is None else str(value))


def facts(pairs: Sequence[tuple[str, object]]) -> Table:
    """Names and values below each other."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, _cell(value))
    return made


def indented(renderable: RenderableType) -> Padding:
    """Moves a renderable two columns to the right."""
    return Padding(renderable, (0, 0, 0, 2), expand=False)


def moment(stamp: Timestamp) -> str:
    """A time stamp in UTC; nothing when it is not set."""
    return stamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if stamp.seconds else ""


def size(count: int) -> str:
    """A number of bytes with a unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
