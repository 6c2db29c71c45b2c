"""`lakehouse corpus`: datasets that were embedded so that they can be searched."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from lakehouse.job.v1 import job_pb2
from lakehouse.matrix.v1 import corpus_pb2
from lakehouse.vector.v1 import vector_pb2

from services.cli.client import Client, pages
from services.cli.command import Session, YesOption, command
from services.cli.failure import CommandError
from services.cli.jobs import done, follow
from services.cli.terminal import Terminal, facts, moment, plain, size, table

NameArgument = Annotated[str, typer.Argument(help="The corpus.")]
DatasetOption = Annotated[
    str, typer.Option("--dataset", "-d", help="The dataset to read. [dim]default: the one named like the corpus[/]")
]
TextOption = Annotated[
    list[str] | None, typer.Option("--text", "-t", metavar="COLUMN", help="A column to embed. Repeatable.")
]
TemplateOption = Annotated[
    str, typer.Option("--template", help="The text to embed, with {column} for values; instead of --text.")
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        "-m",
        metavar="COLUMN",
        help="A column to keep as metadata. Repeatable. [dim]default: all but the texts[/]",
    ),
]
ChunkSizeOption = Annotated[
    int | None, typer.Option("--chunk-size", min=16, help="Split texts into pieces of so many characters.")
]
ChunkOverlapOption = Annotated[
    int | None, typer.Option("--chunk-overlap", min=0, help="Characters that two pieces share.")
]
BatchOption = Annotated[
    int | None, typer.Option("--batch", min=1, max=10_000, help="Rows in a batch. [dim]default: 512[/]")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Start the job and return; `lakehouse jobs watch` follows it.")
]


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(no_args_is_help=True, help="Corpora: build one from a dataset, list, show and remove them.")
    command(
        group,
        "build",
        examples="""
        lakehouse corpus build tickets --id ticket_id --text body
        lakehouse corpus build faq --dataset pages --id key --text title --text body
        lakehouse corpus build short --dataset tickets --id ticket_id \\
            --template '{product}: {title}'
        """,
    )(build)
    command(group, "list", examples="lakehouse corpus list")(list_corpora)
    command(group, "show", examples="lakehouse corpus show tickets")(show)
    command(group, "rm", examples="lakehouse corpus rm tickets --yes")(remove)
    app.add_typer(group, name="corpus")


async def build(
    session: Session,
    name: Annotated[str, typer.Argument(help="The corpus to write.")],
    id_column: Annotated[str, typer.Option("--id", metavar="COLUMN", help="The column that identifies the rows.")],
    dataset: DatasetOption = "",
    text: TextOption = None,
    template: TemplateOption = "",
    metadata: MetadataOption = None,
    prefix: Annotated[str, typer.Option("--prefix", help="What stands before each id, for example w-.")] = "",
    model: Annotated[str, typer.Option("--model", help="The embedding model. [dim]default: the mesh's own[/]")] = "",
    chunk_size: ChunkSizeOption = None,
    chunk_overlap: ChunkOverlapOption = None,
    batch: BatchOption = None,
    storage: Annotated[str, typer.Option("--storage", help="float32, float16 or int8. [dim]default: float32[/]")] = "",
    detach: DetachOption = False,
) -> None:
    """Embeds a dataset's texts into a corpus, and shows how far it is.

    Interrupting stops the watching, never the job. Building again updates the corpus.
    """
    if bool(text) == bool(template):
        raise typer.BadParameter("say what to embed: --text COLUMN, or --template TEXT", param_hint="--text")
    request = corpus_pb2.BuildCorpusRequest(
        corpus=name,
        dataset=dataset or name,
        id_column=id_column,
        text_columns=text or (),
        template=template,
        metadata_columns=metadata or (),
        id_prefix=prefix,
        model=model,
        chunk_size=chunk_size,
        chunk_overlap=chunk_overlap,
        batch_size=batch,
        storage_type=storage,
    )
    async with session.connect() as client:
        job = (await client.matrix.BuildCorpus(request, timeout=client.timeout)).job
        if not detach:
            job = await follow(session.terminal, client, job.id)
    session.terminal.document(job)
    _report(session.terminal, name, job, detach)


def _report(terminal: Terminal, name: str, job: job_pb2.Job, detached: bool) -> None:
    if detached:
        terminal.say(f"Started. Follow it with [bold]lakehouse jobs watch {plain(job.id)}[/]")
        return
    seconds = (job.ended_at.ToNanoseconds() - job.started_at.ToNanoseconds()) / 1e9
    terminal.say(f"[bold]{plain(name)}[/] is ready: {plain(done(job))} in {seconds:.1f} s.")
    terminal.say(f"[dim]Ask it: lakehouse search 'a question' --corpus {plain(shlex.quote(name))}[/]")


async def _all_corpora(client: Client) -> list[corpus_pb2.Corpus]:
    found = pages(client.matrix.ListCorpora, corpus_pb2.ListCorporaRequest(page_size=1000), timeout=client.timeout)
    return [corpus async for page in found for corpus in page.corpora]


async def list_corpora(session: Session) -> None:
    """Lists what can be searched."""
    async with session.connect() as client:
        corpora = await _all_corpora(client)
    session.terminal.document(corpus_pb2.ListCorporaResponse(corpora=corpora))
    if not corpora:
        session.terminal.say("No corpora yet. [bold]lakehouse corpus build[/] makes one from a dataset.")
        return
    rows = [(c.name, f"{c.count:,}", c.dimension, c.embedding_model, c.dataset, moment(c.updated_at)) for c in corpora]
    headings = ["corpus", "items", "dimension", "model", "dataset", "updated"]
    session.terminal.show(table(headings, rows, right=(1, 2)))


async def show(session: Session, name: NameArgument) -> None:
    """Shows a corpus and the index behind it."""
    async with session.connect() as client:
        corpora = await _all_corpora(client)
        index = (await client.vector.GetIndex(vector_pb2.GetIndexRequest(name=name), timeout=client.timeout)).index
    corpus = next((c for c in corpora if c.name.casefold() == name.casefold()), None)
    if corpus is None:
        raise CommandError(f"{name} is an index but no corpus", reason="NOT_A_CORPUS")
    session.terminal.document(index)
    pairs: list[tuple[str, object]] = [
        ("corpus", corpus.name),
        ("items", f"{corpus.count:,}"),
        ("dataset", corpus.dataset),
        ("model", f"{corpus.embedding_model}, {corpus.dimension} dimensions"),
        ("distance", f"{index.metric}, kept as {index.storage_type}"),
        ("segments", f"{index.segments} sealed; {index.hot_count:,} items in the hot one"),
        ("size", size(index.size)),
        ("updated", moment(corpus.updated_at)),
        *(("problem", problem) for problem in index.problems),
    ]
    session.terminal.show(facts([(key, value) for key, value in pairs if value]))


async def remove(session: Session, name: NameArgument, yes: YesOption = False) -> None:
    """Removes a corpus. The dataset it was made from stays."""
    async with session.connect() as client:
        request = vector_pb2.DeleteIndexRequest(name=name)
        answer = await client.vector.DeleteIndex(request, timeout=client.timeout)
    session.terminal.document(answer)
    session.terminal.say(f"Removed {plain(name)} ({answer.deleted:,} items).")
