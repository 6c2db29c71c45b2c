"""`lakehouse demo`: a mesh of its own, a file, three questions in SQL, and a search that learns."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from services.cli.command import Session, command


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "demo",
        examples="""
        lakehouse demo
        lakehouse demo --keep
        lakehouse demo --csv tickets.csv --id ticket_id --text title,body
        """,
    )(demo)


async def demo(
    session: Session,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the mesh running, and say how to use and stop it.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", exists=True, dir_okay=False, help="Use this file instead of the sample data."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN[,COLUMN]", help="With --csv: the columns to search in. Repeatable."),
    ] = None,
    id_column: Annotated[
        str, typer.Option("--id", metavar="COLUMN", help="With --csv: the column that tells the rows apart.")
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            file_okay=False,
            help="Where the mesh keeps its data. [dim]default: a directory that is removed[/]",
        ),
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            "--port-base", min=1, max=65_000, help="The gateway's port. [dim]default: 3110, or the next free one[/]"
        ),
    ] = None,
) -> None:
    """Shows, on sample data or on your own file, that the second answer is better than the first.

    Starts a mesh of its own behind Envoy and talks to it over REST, as any program can: ingests a
    CSV file, asks it in SQL, embeds it, searches in plain language, records which answers were
    right, and asks again, in the same words and in other words.
    """
    # Plans and stack load numpy and the settings of every daemon, which no other command needs.
    from services.cli.demo_plans import file_plan, staffing_plan
    from services.cli.demo_stack import USUAL_BASE, choose_port_base, directory, own_mesh
    from services.cli.story import Story

    began = time.monotonic()
    if csv is None and (text or id_column):
        raise typer.BadParameter("--text and --id describe the file given with --csv", param_hint="--csv")
    base = port_base if port_base is not None else choose_port_base()
    with directory(data, keep=keep) as place:
        plan = staffing_plan(place) if csv is None else file_plan(csv, id_column, text or ())
        story = Story(session, plan)
        story.begin(base, usual=base == USUAL_BASE or port_base is not None)
        try:
            async with AsyncExitStack() as running:
                with session.terminal.busy("starting"):
                    url = await running.enter_async_context(own_mesh(place, base, keep=keep))
                await story.tell(url)
        except asyncio.CancelledError:
            session.terminal.note("Interrupted; the mesh has been stopped.")
            raise
        story.end(time.monotonic() - began, url, kept=place if keep else None)
