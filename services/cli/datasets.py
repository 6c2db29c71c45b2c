"""`lakehouse datasets`: what has been ingested."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.catalog.v1 import catalog_pb2

from services.cli.client import pages
from services.cli.command import Session, YesOption, command
from services.cli.terminal import facts, moment, plain, size, table

NameArgument = Annotated[str, typer.Argument(help="The dataset's name.")]


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(no_args_is_help=True, help="Datasets: list them, look at one, remove one.")
    command(group, "list", examples="lakehouse datasets list\nlakehouse datasets list --json")(list_datasets)
    command(group, "show", examples="lakehouse datasets show tickets")(show_dataset)
    command(group, "rm", examples="lakehouse datasets rm tickets\nlakehouse datasets rm tickets --yes")(remove_dataset)
    app.add_typer(group, name="datasets")


async def list_datasets(session: Session) -> None:
    """Lists the datasets by name."""
    listed = catalog_pb2.ListDatasetsResponse()
    async with session.connect() as client:
        request = catalog_pb2.ListDatasetsRequest(page_size=1000)
        async for page in pages(client.catalog.ListDatasets, request, timeout=client.timeout):
            listed.datasets.extend(page.datasets)
            listed.version = page.version
            listed.problems[:] = page.problems
    terminal = session.terminal
    terminal.document(listed)
    for problem in listed.problems:
        terminal.note(f"[yellow]problem:[/] {plain(problem)}")
    if not listed.datasets:
        terminal.say("No datasets yet. [bold]lakehouse ingest FILE[/] makes one.")
        return
    rows = [
        (data.name, f"{data.row_count:,}", len(data.columns), size(data.size), moment(data.updated_at))
        for data in listed.datasets
    ]
    terminal.show(table(["dataset", "rows", "columns", "size", "updated"], rows, right=(1, 2, 3)))


async def show_dataset(session: Session, name: NameArgument) -> None:
    """Shows a dataset: its columns, where it came from, and where it is kept."""
    async with session.connect() as client:
        request = catalog_pb2.GetManifestRequest(name=name)
        manifest = (await client.catalog.GetManifest(request, timeout=client.timeout)).manifest
    terminal = session.terminal
    terminal.document(manifest)
    lineage = manifest.lineage
    pairs: list[tuple[str, object]] = [
        ("dataset", manifest.name),
        ("rows", f"{manifest.row_count:,}"),
        ("size", f"{size(manifest.size)} in {len(manifest.objects)} object{'s'[: len(manifest.objects) != 1]}"),
        ("source", f"{lineage.source} ({lineage.source_system})" if lineage.source else lineage.source_system),
        ("created", moment(manifest.created_at)),
        ("updated", f"{moment(manifest.updated_at)}, version {manifest.version}"),
        ("embedded", moment(manifest.embedding.last_embedded_at) or "never"),
        ("stale since", moment(manifest.embedding.stale_since)),
        ("id", manifest.dataset_id),
    ]
    terminal.show(facts([(key, value) for key, value in pairs if value]), "")
    terminal.show(table(["column", "type", "personal data"], [(c.name, c.type, c.pii) for c in manifest.columns]))


async def remove_dataset(session: Session, name: NameArgument, yes: YesOption = False) -> None:
    """Removes a dataset. Corpora made from it stay."""
    async with session.connect() as client:
        request = catalog_pb2.DeregisterDatasetRequest(name=name)
        answer = await client.catalog.DeregisterDataset(request, timeout=client.timeout)
    session.terminal.document(answer)
    session.terminal.say(f"Removed {plain(answer.manifest.name)} ({answer.manifest.row_count:,} rows).")
