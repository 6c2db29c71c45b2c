"""`lakehouse objects`: the bytes behind everything, in buckets."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from google.api import httpbody_pb2
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

from lakehouse.storage.v1 import storage_pb2

from services.cli.client import pages
from services.cli.command import Session, YesOption, command
from services.cli.failure import CommandError
from services.cli.terminal import moment, plain, size

_PIECE = 1 << 20
BucketOption = Annotated[str, typer.Option("--bucket", "-b", help="The bucket. [dim]default: primary[/]")]
KeyArgument = Annotated[str, typer.Argument(help="The object's key.")]


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(no_args_is_help=True, help="Objects in buckets: list, store, fetch and remove them.")
    command(group, "ls", examples="lakehouse objects ls\nlakehouse objects ls datasets/ --bucket primary")(list_objects)
    command(group, "put", examples="lakehouse objects put report.pdf reports/2026-09.pdf")(put)
    command(
        group,
        "get",
        examples="lakehouse objects get reports/2026-09.pdf\nlakehouse objects get a/b.json --output - | jq .",
    )(get)
    command(group, "rm", examples="lakehouse objects rm reports/2026-09.pdf --yes")(remove)
    app.add_typer(group, name="objects")


async def list_objects(
    session: Session,
    prefix: Annotated[str, typer.Argument(help="Only keys that begin with this.")] = "",
    bucket: BucketOption = "",
) -> None:
    """Lists objects by key."""
    request = storage_pb2.ListObjectsRequest(bucket=bucket, prefix=prefix, page_size=10_000)
    async with session.connect() as client:
        found = pages(client.storage.ListObjects, request, timeout=client.timeout)
        objects = [item async for page in found for item in page.objects]
    session.terminal.document(storage_pb2.ListObjectsResponse(objects=objects))
    for item in objects:
        session.terminal.line(f"{size(item.size):>9}  {moment(item.modified_at)}  {item.key}")
    session.terminal.say(f"[dim]{len(objects):,} objects, {size(sum(item.size for item in objects))}[/]")


async def put(
    session: Session,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to store.")],
    key: KeyArgument,
    bucket: BucketOption = "",
    create_only: Annotated[
        bool, typer.Option("--create-only", help="Refuse to replace an object that exists.")
    ] = False,
    content_type: Annotated[str, typer.Option("--content-type", help="The media type to keep with it.")] = "",
) -> None:
    """Stores a file as an object, whole or not at all."""
    total = file.stat().st_size
    first = storage_pb2.PutObjectRequest(
        bucket=bucket, key=key, create_only=create_only, size=total, content_type=content_type
    )
    with session.terminal.progress(
        TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn()
    ) as bar:
        task = bar.add_task("storing", total=total)
        async with session.connect() as client:
            with open(file, "rb") as opened:  # noqa: ASYNC230 - a file on disk, read in pieces
                told = lambda sent: bar.update(task, completed=sent)  # noqa: E731
                answer = await client.storage.PutObject(_requests(first, opened, told), timeout=client.patience)
    session.terminal.document(answer)
    verb = "Stored" if answer.created else "Replaced"
    session.terminal.say(
        f"{verb} {plain(answer.object.key)}: {size(answer.object.size)}, sha256 {answer.object.sha256}"
    )


async def _requests(
    first: storage_pb2.PutObjectRequest, file: BinaryIO, told: Callable[[int], object]
) -> AsyncIterator[storage_pb2.PutObjectRequest]:
    request, sent = first, 0
    while (piece := file.read(_PIECE)) or request is first:
        request.data.CopyFrom(httpbody_pb2.HttpBody(data=piece))
        yield request
        sent += len(piece)
        told(sent)
        request = storage_pb2.PutObjectRequest()


async def get(
    session: Session,
    key: KeyArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write it; `-` is standard output. [dim]default: the key's last part[/]"
        ),
    ] = None,
    bucket: BucketOption = "",
) -> None:
    """Fetches an object into a file that is complete or not there."""
    target = output or Path(key.rsplit("/", 1)[-1])
    if target == Path("-") and session.terminal.as_json:
        raise typer.BadParameter("the object itself goes to standard output; leave --json out", param_hint="--output")
    if target.is_dir():
        target = target / key.rsplit("/", 1)[-1]
    request = storage_pb2.GetObjectRequest(bucket=bucket, key=key)
    with session.terminal.busy("fetching") as told:
        async with session.connect() as client:
            info = await _save(client.storage.GetObject(request, timeout=client.patience), target, told)
    session.terminal.document(storage_pb2.StatObjectResponse(object=info))
    if target != Path("-"):
        session.terminal.say(f"Wrote {plain(target)}: {size(info.size)}")


Answers = AsyncIterable[storage_pb2.GetObjectResponse]


async def _save(answers: Answers, target: Path, told: Callable[[int, int], None]) -> storage_pb2.ObjectInfo:
    if target == Path("-"):
        return await _write(answers, sys.stdout.buffer, told)
    # The user's own file, no state of the mesh: hence plain opens.
    if _is_special(target):
        with open(target, "wb") as device:  # noqa: ASYNC230 - a pipe or a device is written to, never replaced
            return await _write(answers, device, told)
    partial = target.with_name(f".{target.name}.part")
    try:
        with open(partial, "wb") as file:  # noqa: ASYNC230
            info = await _write(answers, file, told)
        partial.replace(target)
        return info
    finally:
        partial.unlink(missing_ok=True)


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()


async def _write(answers: Answers, file: BinaryIO, told: Callable[[int, int], None]) -> storage_pb2.ObjectInfo:
    info = storage_pb2.ObjectInfo()
    received = 0
    async for answer in answers:
        if answer.HasField("object"):
            info = answer.object
        file.write(answer.data.data)
        received += len(answer.data.data)
        told(received, info.size)
    if received != info.size:
        message = f"the object has {info.size:,} bytes, only {received:,} arrived"
        raise CommandError(message, reason="BROKEN_ANSWER", hint="try again")
    return info


async def remove(session: Session, key: KeyArgument, bucket: BucketOption = "", yes: YesOption = False) -> None:
    """Removes an object."""
    async with session.connect() as client:
        request = storage_pb2.DeleteObjectRequest(bucket=bucket, key=key)
        answer = await client.storage.DeleteObject(request, timeout=client.timeout)
    session.terminal.document(answer)
    session.terminal.say(f"Removed {plain(key)}." if answer.deleted else f"There was no {plain(key)}.")
