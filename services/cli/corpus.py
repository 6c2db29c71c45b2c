"""`lakehouse corpus`: datasets that were embedded so that they can be searched."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from lakehouse.catalog.v1 import catalog_pb2
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
    group = typer.Typer(no_args_is_help=True, help="Corpora: build one from a dataset, keep it fresh, list, remove.")
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
    command(
        group, "refresh", examples="lakehouse corpus refresh tickets\nlakehouse corpus refresh tickets --corpus faq"
    )(refresh)
    command(group, "stale", examples="lakehouse corpus stale\nlakehouse corpus stale --json")(stale)
    command(
        group, "policy", examples="lakehouse corpus policy tickets on_append\nlakehouse corpus policy tickets manual"
    )(policy)
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
    storage: Annotated[str, typer.Option("--storage", help="float32, float16 or int8. [dim]default: float16[/]")] = "",
    detach: DetachOption = False,
) -> None:
    """Embeds a dataset's texts into a corpus, and shows how far it is.

    Interrupting stops the watching, never the job. Building again updates the corpus: only
    new and changed texts are embedded, and rows that are gone leave it. `corpus refresh`
    does the same without all these options.
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
    terminal.say(f"[bold]{plain(name)}[/] is ready: {plain(done(job))} in {seconds:.1f} s{_changes(job)}.")
    terminal.say(f"[dim]Ask it: lakehouse search 'a question' --corpus {plain(shlex.quote(name))}[/]")


def _changes(job: job_pb2.Job) -> str:
    words = {"embedded": "embedded", "updated": "with new metadata", "unchanged": "as they were", "removed": "removed"}
    result = MessageToDict(job.result)
    told = [f"{int(result[name]):,} {word}" for name, word in words.items() if result.get(name)]
    return f": {', '.join(told)}" if told else ""


async def refresh(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="The dataset whose corpora lag behind.")],
    corpus: Annotated[str, typer.Option("--corpus", "-c", help="Only this one. [dim]default: all that lag[/]")] = "",
    detach: DetachOption = False,
) -> None:
    """Brings a dataset's corpora up to date with its rows.

    Only texts that are new or changed are embedded; where other columns changed, metadata is
    replaced; rows that are gone leave the corpus. Each corpus is made as its last build made
    it. A second refresh does nothing.
    """
    request = corpus_pb2.RefreshCorpusRequest(dataset=dataset, corpus=corpus)
    async with session.connect() as client:
        job = (await client.matrix.RefreshCorpus(request, timeout=client.timeout)).job
        if not detach:
            job = await follow(session.terminal, client, job.id)
    session.terminal.document(job)
    if detach:
        session.terminal.say(f"Started. Follow it with [bold]lakehouse jobs watch {plain(job.id)}[/]")
        return
    refreshed = ", ".join(one["corpus"] for one in MessageToDict(job.result)["corpora"])
    if refreshed:
        session.terminal.say(f"Refreshed [bold]{plain(refreshed)}[/]{_changes(job)}.")
    else:
        session.terminal.say(f"Nothing to do: the corpora of {plain(dataset)} have all its rows.")


async def stale(session: Session) -> None:
    """Lists the datasets whose corpora lag behind their rows, longest first.

    A dataset becomes stale when its rows change after it was embedded, whichever way they
    came in. One that never was embedded is never stale.
    """
    async with session.connect() as client:
        answer = await client.matrix.ListStale(corpus_pb2.ListStaleRequest(), timeout=client.timeout)
    session.terminal.document(answer)
    if not answer.datasets:
        session.terminal.say("Nothing is stale.")
        return
    rows = [(found.dataset, moment(found.stale_since), ", ".join(found.corpora)) for found in answer.datasets]
    session.terminal.show(table(["dataset", "stale since", "corpora that lag"], rows))
    first = plain(shlex.quote(answer.datasets[0].dataset))
    session.terminal.say(f"[dim]Embed what changed: lakehouse corpus refresh {first}[/]")


class Policy(StrEnum):
    """When a stale dataset is refreshed."""

    MANUAL = "manual"
    ON_APPEND = "on_append"
    SCHEDULED = "scheduled"


_MEANING = {
    Policy.MANUAL: "is refreshed when somebody asks for it: lakehouse corpus refresh",
    Policy.ON_APPEND: "is refreshed by itself, seconds after its rows change",
    Policy.SCHEDULED: "is refreshed by itself at intervals, when its rows have changed",
}


async def policy(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    word: Annotated[Policy, typer.Argument(metavar="POLICY", help="manual, on_append or scheduled.")],
) -> None:
    """Says when a dataset's corpora are refreshed.

    \b
    manual     when somebody asks for it, the policy of every new dataset
    on_append  by itself, seconds after rows are ingested
    scheduled  by itself, at most once in `refresh_seconds` of section \\[matrix]: an hour by default

    A dataset that never was embedded has to be built once. `lakehouse jobs list` shows what runs.
    """
    state = catalog_pb2.EmbeddingState(refresh_policy=word.value)
    request = catalog_pb2.SetEmbeddingStateRequest(name=dataset, embedding=state)
    async with session.connect() as client:
        manifest = (await client.catalog.SetEmbeddingState(request, timeout=client.timeout)).manifest
    session.terminal.document(manifest)
    session.terminal.say(f"[bold]{plain(manifest.name)}[/] {_MEANING[word]}.")
    if not manifest.embedding.HasField("last_embedded_at"):
        session.terminal.note("It never was embedded: [bold]lakehouse corpus build[/] comes first.")


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
