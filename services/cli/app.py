"""The tree of commands: every command group, and nothing else."""

from __future__ import annotations

import typer

from services.cli import (
    corpus,
    datasets,
    demo,
    doctor,
    index,
    ingest,
    jobs,
    lift,
    load,
    objects,
    playbook,
    search,
    sql,
    stack,
    stress,
    supervise,
)
from services.cli.command import shared_callback

app = typer.Typer(
    name="lakehouse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""
    The right slice of knowledge for small models, better with every run.

    \b
    [bold]First steps[/]
      lakehouse demo                          see it work, in half a minute
      lakehouse doctor                        is everything here that it needs?
      lakehouse up --detach                   start the mesh
      lakehouse ingest tickets.csv            a file becomes a dataset
      lakehouse sql 'SELECT count(*) FROM tickets'
      lakehouse corpus build tickets --id ticket_id --text body
      lakehouse search 'parcel arrived broken' --corpus tickets --playbook
    """,
)
shared_callback(app)
for group in (
    demo,
    supervise,
    stack,
    ingest,
    sql,
    datasets,
    search,
    corpus,
    playbook,
    index,
    lift,
    stress,
    load,
    jobs,
    objects,
    doctor,
):
    group.register(app)
