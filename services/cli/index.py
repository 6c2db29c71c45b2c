"""`lakehouse index`: the vector indexes behind corpora and playbooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from google.api import httpbody_pb2

from lakehouse.job.v1 import job_pb2
from lakehouse.vector.v1 import operation_pb2, parameters_pb2, vector_pb2

from services.cli import index_aliases, index_tuning
from services.cli.client import Client, pages
from services.cli.command import Session, command
from services.cli.jobs import follow
from services.cli.terminal import facts, moment, plain, size, table

_PIECE = 1 << 20
IndexArgument = Annotated[str, typer.Argument(metavar="INDEX", help="The index, or an alias of it.")]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Start the job and return; `lakehouse jobs watch` follows it.")
]
LinksOption = Annotated[int, typer.Option("--m", min=0, max=128, help="Links of a node. [dim]default: as it is[/]")]
ConstructionOption = Annotated[
    int,
    typer.Option(
        "--ef-construction", min=0, max=400, help="Candidates when a node is linked. [dim]default: as it is[/]"
    ),
]
SearchOption = Annotated[
    int,
    typer.Option("--ef-search", min=0, max=1000, help="Fewest candidates of a search. [dim]default: as it is[/]"),
]


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""
        Vector indexes: look at them, build them anew, tune them, move them.

        A graph trades recall for speed. Which parameters suit an index depends on its vectors, so measure:

        \b
          lakehouse index tune tickets                try a grid, and see what each finds and costs
          lakehouse index promote tickets 00000004    give the index what won; it is rebuilt while it serves
          lakehouse index rollback tickets            if that was a mistake
        """,
    )
    command(group, "list", examples="lakehouse index list\nlakehouse index list --json")(list_indexes)
    command(group, "show", examples="lakehouse index show tickets")(show)
    command(
        group,
        "rebuild",
        examples="""
        lakehouse index rebuild tickets
        lakehouse index rebuild tickets --ef-construction 160 --storage float16
        lakehouse index rebuild tickets --into tickets-2 --alias live --m 32
        """,
    )(rebuild)
    index_aliases.register(group)
    index_tuning.register(group)
    command(group, "export", examples="lakehouse index export tickets --output tickets.lhv1")(export)
    command(group, "import", examples="lakehouse index import tickets-copy tickets.lhv1")(import_file)
    app.add_typer(group, name="index")


async def list_indexes(session: Session) -> None:
    """Lists the indexes: corpora, playbooks, and those that were made directly."""
    async with session.connect() as client:
        request = vector_pb2.ListIndexesRequest(page_size=1000)
        found = pages(client.vector.ListIndexes, request, timeout=client.timeout)
        indexes = [index async for page in found for index in page.indexes]
    session.terminal.document(vector_pb2.ListIndexesResponse(indexes=indexes))
    if not indexes:
        session.terminal.say("No indexes yet. [bold]lakehouse corpus build[/] makes one from a dataset.")
        return
    rows = [
        (
            index.name,
            f"{index.count:,}",
            index.dimension,
            index.storage_type,
            size(index.size),
            ", ".join(index.aliases),
        )
        for index in indexes
    ]
    headings = ["index", "items", "dimension", "kept as", "size", "aliases"]
    session.terminal.show(table(headings, rows, right=(1, 2, 4)))


async def show(session: Session, name: IndexArgument) -> None:
    """Shows an index: how it is built, and how well it finds."""
    async with session.connect() as client:
        index = (await client.vector.GetIndex(vector_pb2.GetIndexRequest(name=name), timeout=client.timeout)).index
    session.terminal.document(index)
    given = index.parameters
    pairs: list[tuple[str, object]] = [
        ("index", index.name),
        ("aliases", ", ".join(index.aliases)),
        ("items", f"{index.count:,} of {index.dimension} dimensions"),
        ("distance", f"{index.metric}, kept as {index.storage_type}"),
        ("graphs", index_tuning.words(given)),
        ("recall", _recall(index.recall) if index.HasField("recall") else ""),
        ("segments", f"{index.segments} sealed; {index.hot_count:,} items in the hot one"),
        ("tombstones", f"{index.tombstones:,}" if index.tombstones else ""),
        ("made from", " ".join(part for part in (index.source.dataset, index.source.embedding_model) if part)),
        ("size", size(index.size)),
        ("updated", moment(index.updated_at)),
        *(("problem", problem) for problem in index.problems),
    ]
    session.terminal.show(facts([(key, value) for key, value in pairs if value]))


def _recall(check: vector_pb2.RecallCheck) -> str:
    return f"{check.recall:.4f} of the {check.k} nearest, {check.sample:,} questions, {moment(check.checked_at)}"


async def rebuild(
    session: Session,
    name: IndexArgument,
    m: LinksOption = 0,
    ef_construction: ConstructionOption = 0,
    ef_search: SearchOption = 0,
    storage: Annotated[str, typer.Option("--storage", help="float32, float16 or int8. [dim]default: as it is[/]")] = "",
    into: Annotated[
        str, typer.Option("--into", metavar="NEW", help="Build a new index instead; the old one stays as it is.")
    ] = "",
    alias: Annotated[
        str, typer.Option("--alias", help="With --into: the alias to point at the new index once it is complete.")
    ] = "",
    detach: DetachOption = False,
) -> None:
    """Makes the graphs of an index anew while it serves and takes writes.

    Nothing written meanwhile is missing afterwards. Interrupting stops the watching, never the job.
    """
    if alias and not into:
        raise typer.BadParameter("an alias is moved to a new index: say --into NEW", param_hint="--alias")
    request = operation_pb2.RebuildIndexRequest(
        name=name,
        parameters=parameters_pb2.BuildParameters(m=m, ef_construction=ef_construction, ef_search=ef_search),
        storage_type=storage,
        dest=into,
        alias=alias,
    )
    async with session.connect() as client:
        job = (await client.vector.RebuildIndex(request, timeout=client.timeout)).job
        job = await finished(session, client, job, detach=detach)
    session.terminal.document(job)
    if not detach:
        session.terminal.say(f"[bold]{plain(into or name)}[/] was built anew: {job.done:,} items.")


async def finished(session: Session, client: Client, job: job_pb2.Job, *, detach: bool) -> job_pb2.Job:
    """The job when it has ended, or as it is and a word on how to follow it."""
    if not detach:
        return await follow(session.terminal, client, job.id)
    session.terminal.say(f"Started. Follow it with [bold]lakehouse jobs watch {plain(job.id)}[/]")
    return job


async def export(
    session: Session,
    name: IndexArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write. [dim]default: INDEX.lhv1[/]")
    ] = None,
) -> None:
    """Writes an index to one file, whole or not at all: a consistent state of it while it serves."""
    target = output or Path(f"{name}.lhv1")
    partial = target.with_name(f".{target.name}.part")
    received = 0
    try:
        with session.terminal.busy("exporting") as told, open(partial, "wb") as file:  # noqa: ASYNC230 - the user's own
            async with session.connect() as client:
                request = vector_pb2.ExportIndexRequest(name=name)
                async for answer in client.vector.ExportIndex(request, timeout=client.patience):
                    received += file.write(answer.data.data)
                    told(received, 0)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    session.terminal.document({"index": name, "file": str(target), "size": received})
    session.terminal.say(f"Wrote {plain(target)}: {size(received)}")


async def import_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NEW", help="The index to create.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The .lhv1 file.")],
    bucket: Annotated[
        str, typer.Option("--bucket", "-b", help="The bucket of its segments. [dim]default: primary[/]")
    ] = "",
) -> None:
    """Creates an index from a file that `export` wrote, whole or not at all."""
    total = file.stat().st_size
    first = vector_pb2.ImportIndexRequest(name=name, bucket=bucket)
    with session.terminal.busy("importing") as told, open(file, "rb") as opened:  # noqa: ASYNC230 - read in pieces
        async with session.connect() as client:
            requests = _requests(first, opened, lambda sent: told(sent, total))
            answer = await client.vector.ImportIndex(requests, timeout=client.patience)
    session.terminal.document(answer)
    session.terminal.say(f"[bold]{plain(answer.index.name)}[/] is there: {answer.index.count:,} items.")


async def _requests(
    first: vector_pb2.ImportIndexRequest, file: BinaryIO, told: Callable[[int], object]
) -> AsyncIterator[vector_pb2.ImportIndexRequest]:
    request, sent = first, 0
    while (piece := file.read(_PIECE)) or request is first:
        request.data.CopyFrom(httpbody_pb2.HttpBody(data=piece))
        yield request
        sent += len(piece)
        told(sent)
        request = vector_pb2.ImportIndexRequest()
