"""`lakehouse playbook`: which answer was right for which question."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.matrix.v1 import playbook_pb2

from services.cli.client import Client, pages
from services.cli.command import Session, command
from services.cli.failure import CommandError
from services.cli.terminal import moment, plain, table
from services.runtime.errors import NotFound

PlaybookOption = Annotated[
    str, typer.Option("--playbook-name", help="Which playbook. [dim]default: playbook_memory[/]")
]
_ID_LENGTH = 64
_OUTCOMES = ("accepted", "rejected")


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(no_args_is_help=True, help="The memory of what worked: record an answer, list, take back.")
    command(
        group,
        "record",
        examples="""
        lakehouse playbook record 'parcel arrived broken' t-4711 --corpus tickets
        lakehouse playbook record 'refund' t-17 -c tickets --score 0.8 --by anna
        """,
    )(record)
    command(group, "list", examples="lakehouse playbook list\nlakehouse playbook list --json")(list_entries)
    command(group, "rm", examples="lakehouse playbook rm PLAYBOOK_ID")(remove)
    app.add_typer(group, name="playbook")


async def record(
    session: Session,
    question: Annotated[str, typer.Argument(help="The question as it was asked.")],
    answer: Annotated[str, typer.Argument(metavar="ID", help="The id of the item that was the right answer.")],
    corpus: Annotated[str, typer.Option("--corpus", "-c", help="The corpus of the answer.")],
    score: Annotated[
        float | None, typer.Option("--score", min=0.0, max=1.0, help="How good it was. [dim]default: 1[/]")
    ] = None,
    outcome: Annotated[str, typer.Option("--outcome", help="accepted or rejected.")] = "accepted",
    role: Annotated[str, typer.Option("--role", help="The role it was for.")] = "",
    judged_by: Annotated[str, typer.Option("--by", help="Who said so.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A free word. Repeatable.")] = None,
    playbook: PlaybookOption = "",
) -> None:
    """Remembers that an answer was right, or wrong, for a question. Recording again replaces the score."""
    if outcome not in _OUTCOMES:
        raise typer.BadParameter(f"{outcome!r} is none of {', '.join(_OUTCOMES)}", param_hint="--outcome")
    request = playbook_pb2.RecordPlaybookRequest(
        query_text=question,
        answer_id=answer,
        answer_corpus=corpus,
        score=score,
        outcome=outcome,
        judged_by=judged_by,
        role=role,
        tags=tag or (),
        corpus=playbook,
    )
    async with session.connect() as client:
        recorded = await client.matrix.RecordPlaybook(request, timeout=client.timeout)
    session.terminal.document(recorded)
    verb = "Replaced" if recorded.replaced else "Recorded"
    session.terminal.say(f"{verb} as {plain(recorded.playbook_id)}")
    session.terminal.say("[dim]Ask again with --playbook to see it at work.[/]")


async def list_entries(session: Session, playbook: PlaybookOption = "") -> None:
    """Lists what a playbook remembers."""
    async with session.connect() as client:
        entries = await _entries(client, playbook)
    session.terminal.document(playbook_pb2.ListPlaybooksResponse(playbooks=entries))
    if not entries:
        session.terminal.say("Nothing recorded yet. [bold]lakehouse playbook record[/] remembers a right answer.")
        return
    rows = [(e.query_text, e.answer_id, f"{e.score:g}", e.outcome, e.role, e.playbook_id[:12]) for e in entries]
    session.terminal.show(table(["question", "answer", "score", "outcome", "role", "playbook id"], rows, right=(2,)))


async def _entries(client: Client, playbook: str) -> list[playbook_pb2.Playbook]:
    request = playbook_pb2.ListPlaybooksRequest(corpus=playbook, page_size=1000)
    found = pages(client.matrix.ListPlaybooks, request, timeout=client.timeout)
    try:
        return [entry async for page in found for entry in page.playbooks]
    except NotFound:
        # The default playbook is made by the first recording; until then it is empty, not missing.
        if playbook:
            raise
        return []


async def _completed(client: Client, playbook: str, start: str) -> str:
    ids = [e.playbook_id for e in await _entries(client, playbook) if e.playbook_id.startswith(start)]
    if len(ids) == 1:
        return ids[0]
    problem = f"{len(ids)} entries begin" if ids else "no entry begins"
    hint = "`lakehouse playbook list` shows the entries"
    raise CommandError(f"{problem} with {start!r}", reason="PLAYBOOK_NOT_FOUND", hint=hint)


async def remove(
    session: Session,
    playbook_id: Annotated[str, typer.Argument(help="The entry's id, or its first characters when they are enough.")],
    playbook: PlaybookOption = "",
) -> None:
    """Takes a recording back."""
    async with session.connect() as client:
        whole = playbook_id if len(playbook_id) >= _ID_LENGTH else await _completed(client, playbook, playbook_id)
        request = playbook_pb2.DeletePlaybookRequest(playbook_id=whole, corpus=playbook)
        answer = await client.matrix.DeletePlaybook(request, timeout=client.timeout)
    session.terminal.document(answer)
    gone = answer.playbook
    when = moment(gone.recorded_at)
    session.terminal.say(f"Took back {plain(gone.answer_id)} for {plain(repr(gone.query_text))}, recorded {when}.")
