"""`lakehouse index alias`: names that can be moved from one index to another."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.vector.v1 import operation_pb2

from services.cli.command import Session, YesOption, command
from services.cli.terminal import moment, plain, table

AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]


def register(group: typer.Typer) -> None:
    """Adds the command group."""
    aliases = typer.Typer(
        no_args_is_help=True,
        help="""
        Aliases: other names for indexes. Whoever searches an alias notices nothing when it moves to another index.
        """,
    )
    command(aliases, "set", examples="lakehouse index alias set live tickets-2")(set_alias)
    command(aliases, "list", examples="lakehouse index alias list")(list_aliases)
    command(aliases, "rollback", examples="lakehouse index alias rollback live")(roll_back)
    command(aliases, "delete", examples="lakehouse index alias delete live --yes")(delete)
    group.add_typer(aliases, name="alias")


async def set_alias(
    session: Session,
    name: AliasArgument,
    index: Annotated[str, typer.Argument(metavar="INDEX", help="The index it is to stand for.")],
) -> None:
    """Makes an alias, or points it at another index in one step."""
    async with session.connect() as client:
        request = operation_pb2.SetAliasRequest(name=name, index=index)
        answer = await client.vector.SetAlias(request, timeout=client.timeout)
    session.terminal.document(answer)
    _say(session, answer.alias)


async def list_aliases(session: Session) -> None:
    """Lists the aliases."""
    async with session.connect() as client:
        answer = await client.vector.ListAliases(operation_pb2.ListAliasesRequest(), timeout=client.timeout)
    session.terminal.document(answer)
    if not answer.aliases:
        session.terminal.say("No aliases yet. [bold]lakehouse index alias set[/] makes one.")
        return
    rows = [
        (alias.name, alias.index, ", ".join(alias.previous[:3]), moment(alias.updated_at)) for alias in answer.aliases
    ]
    session.terminal.show(table(["alias", "index", "before", "since"], rows))


async def roll_back(session: Session, name: AliasArgument) -> None:
    """Points an alias back at the index it stood for before."""
    async with session.connect() as client:
        request = operation_pb2.RollbackAliasRequest(name=name)
        answer = await client.vector.RollbackAlias(request, timeout=client.timeout)
    session.terminal.document(answer)
    _say(session, answer.alias)


async def delete(session: Session, name: AliasArgument, yes: YesOption = False) -> None:
    """Removes an alias. Its index stays."""
    async with session.connect() as client:
        answer = await client.vector.DeleteAlias(operation_pb2.DeleteAliasRequest(name=name), timeout=client.timeout)
    session.terminal.document(answer)
    session.terminal.say(f"Removed the alias {plain(answer.alias.name)}; {plain(answer.alias.index)} stays.")


def _say(session: Session, alias: operation_pb2.Alias) -> None:
    session.terminal.say(f"[bold]{plain(alias.name)}[/] stands for [bold]{plain(alias.index)}[/].")
