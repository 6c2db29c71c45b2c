"""`lakehouse search`: the right slice of knowledge for a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from rich.table import Table
from rich.text import Text

from lakehouse.matrix.v1 import search_pb2

from services.cli.command import Session, command
from services.cli.filters import parse
from services.cli.terminal import Terminal, plain, table

_WIDEST, _NARROWEST = 40, 12


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "search",
        examples="""
        lakehouse search 'parcel arrived broken' --corpus tickets
        lakehouse search 'parcel arrived broken' -c tickets -c mails -k 20 --playbook
        lakehouse search 'refund' -c tickets --filter open=true --filter 'stars>=4'
        lakehouse search 'refund' -c tickets --playbook --explain
        """,
    )(search)


async def search(
    session: Session,
    text: Annotated[str, typer.Argument(help="The question in plain language.")],
    corpus: Annotated[list[str], typer.Option("--corpus", "-c", help="A corpus to search. Repeatable.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many hits.")] = 10,
    playbook: Annotated[bool, typer.Option("--playbook", "-p", help="Use what worked before.")] = False,
    playbook_name: Annotated[
        str, typer.Option("--playbook-name", help="Which playbook to read. [dim]default: playbook_memory[/]")
    ] = "",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="FIELD=VALUE",
            help="Only hits whose metadata say so; also != > >= < <=. Repeatable.",
        ),
    ] = None,
    role: Annotated[
        str, typer.Option("--role", help="The role asked for; answers recorded for another are ignored.")
    ] = "",
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="ID", help="Never return this item. Repeatable.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", "-x", help="Say why each hit stands where it stands.")] = False,
) -> None:
    """Searches corpora in plain language, nearest hit first.

    With --playbook, answers that were recorded for a question like this one move up, and come in
    when the search itself missed them.
    """
    request = search_pb2.SearchRequest(
        query_text=text,
        corpora=corpus,
        k=k,
        use_playbook=playbook or bool(playbook_name),
        playbook_corpus=playbook_name,
        query_role=role,
        exclude_ids=exclude or (),
        filter=parse(filters or ()),
        explain=explain,
    )
    async with session.connect() as client:
        answer = await client.matrix.Search(request, timeout=client.timeout)
    session.terminal.document(answer)
    _show(session.terminal, request, answer)


def _show(terminal: Terminal, request: search_pb2.SearchRequest, answer: search_pb2.SearchResponse) -> None:
    if answer.hits:
        terminal.show(_hits(request, answer, terminal.width))
    else:
        terminal.say("Nothing found.")
    ranked = ", ".join(f"{name} {count:,}" for name, count in sorted(answer.per_corpus_counts.items()))
    learnt = f"; playbook: {answer.boosted} boosted, {answer.injected} injected" if request.use_playbook else ""
    terminal.say(f"[dim]{len(answer.hits)} hits; items ranked: {plain(ranked)}{learnt}[/]")
    for entry in answer.rejected_entries:
        said = "; ".join(f"{gate.gate}: {gate.detail}" for gate in entry.gates if not gate.passed)
        terminal.say(f"[dim]not used: {plain(entry.answer_id)} at {entry.distance:.3f} ({plain(said)})[/]")


def _hits(request: search_pb2.SearchRequest, answer: search_pb2.SearchResponse, width: int) -> Table:
    several = len(request.corpora) > 1
    columns = ["#", "distance", "id", *(["corpus"] if several else []), *(["why"] if request.explain else [])]
    rows: list[list[object]] = []
    for rank, hit in enumerate(answer.hits, 1):
        middle = [*([hit.corpus] if several else []), *(["\n".join(_reasons(hit))] if request.explain else [])]
        rows.append([rank, f"{hit.distance:.4f}", hit.id, *middle])
    # What is left of the line goes to the metadata, of which the beginning is enough.
    taken = sum(
        min(_WIDEST, max([len(name), *(_width(row[place]) for row in rows)])) + 3 for place, name in enumerate(columns)
    )
    room = max(_NARROWEST, width - taken)
    for row, hit in zip(rows, answer.hits, strict=True):
        row.append(_metadata(json_format.MessageToDict(hit.metadata), room))
    return table([*columns, "metadata"], rows, right=(0, 1))


def _width(value: object) -> int:
    return max(map(len, str(value).split("\n")))


def _metadata(values: Mapping[str, Any], room: int) -> Text:
    shown = Text()
    for name, value in sorted(values.items()):
        if value not in ("", None):
            shown.append(f"{name} ", style="dim").append(f"{_short(value)}  ")
    shown.truncate(room, overflow="ellipsis")
    return shown


def _short(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).replace("\n", " ")


def _reasons(hit: search_pb2.Hit) -> Iterator[str]:
    why = hit.explanation
    if why.injected:
        yield f"brought in by the playbook, question {why.playbook_distance:.3f} away"
    elif why.boost_factor not in (0.0, 1.0):
        yield f"was #{why.cold_rank + 1} at {why.cold_distance:.4f}, times {why.boost_factor:.2f} by the playbook"
    elif why.HasField("cold_rank"):
        yield f"was #{why.cold_rank + 1}"
    for gate in why.gates:
        if not gate.passed:
            yield f"{gate.gate}: {gate.detail}"
