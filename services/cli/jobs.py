"""`lakehouse jobs`: long work that outlives the command that started it."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from lakehouse.job.v1 import job_pb2
from lakehouse.matrix.v1 import corpus_pb2
from lakehouse.vector.v1 import operation_pb2

from services.cli.client import Client, pages
from services.cli.command import Session, command
from services.cli.failure import CommandError
from services.cli.terminal import Terminal, facts, moment, plain, table
from services.runtime.errors import CODE_FROM_NUMBER, NotFound, ServiceError, from_status

_ENDED = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def register(app: typer.Typer) -> None:
    """Adds the command group."""
    group = typer.Typer(no_args_is_help=True, help="Long work: list it, watch it, cancel it.")
    command(group, "list", examples="lakehouse jobs list\nlakehouse jobs list --json")(list_jobs)
    command(group, "show", examples="lakehouse jobs show JOB")(show_job)
    command(group, "watch", examples="lakehouse jobs watch JOB")(watch_job)
    command(group, "cancel", examples="lakehouse jobs cancel JOB")(cancel_job)
    app.add_typer(group, name="jobs")


def _keepers(client: Client) -> tuple[tuple[Any, ModuleType], ...]:
    """The daemons that run jobs: their stubs, and the modules with their messages, which are alike."""
    return ((client.matrix, corpus_pb2), (client.vector, operation_pb2))


async def list_jobs(session: Session) -> None:
    """Lists jobs, the newest first."""
    jobs: list[job_pb2.Job] = []
    async with session.connect() as client:
        for keeper, messages in _keepers(client):
            found = pages(keeper.ListJobs, messages.ListJobsRequest(page_size=1000), timeout=client.timeout)
            jobs += [job async for page in found for job in page.jobs]
    jobs.sort(key=lambda job: job.created_at.ToNanoseconds(), reverse=True)
    session.terminal.document(corpus_pb2.ListJobsResponse(jobs=jobs))
    if not jobs:
        session.terminal.say("No jobs yet. `lakehouse corpus build` and `lakehouse index rebuild` start some.")
        return
    rows = [(job.id, f"{job.kind} {job.subject}", job.state, done(job)) for job in jobs]
    session.terminal.show(table(["job", "work", "state", "done"], rows))


async def show_job(session: Session, job: JobArgument) -> None:
    """Shows one job."""
    async with session.connect() as client:
        found, _ = await _find(client, job)
    session.terminal.document(found)
    _show(session.terminal, found)


async def watch_job(session: Session, job: JobArgument) -> None:
    """Follows a job to its end. Interrupting stops the watching, never the job."""
    async with session.connect() as client:
        found = await follow(session.terminal, client, job)
    session.terminal.document(found)
    _show(session.terminal, found)


async def cancel_job(session: Session, job: JobArgument) -> None:
    """Cancels a job. One that has ended stays as it is."""
    async with session.connect() as client:
        _, (keeper, messages) = await _find(client, job)
        found = (await keeper.CancelJob(messages.CancelJobRequest(job_id=job), timeout=client.timeout)).job
    session.terminal.document(found)
    session.terminal.say(f"{plain(found.id)} is {plain(found.state)} after {done(found)}.")


async def _find(client: Client, job_id: str) -> tuple[job_pb2.Job, tuple[Any, ModuleType]]:
    """A job, and who runs it. Raises ServiceError."""
    *others, last = _keepers(client)
    for keeper, messages in others:
        try:
            request = messages.GetJobRequest(job_id=job_id)
            return (await keeper.GetJob(request, timeout=client.timeout)).job, (keeper, messages)
        except NotFound:
            continue
    keeper, messages = last
    return (await keeper.GetJob(messages.GetJobRequest(job_id=job_id), timeout=client.timeout)).job, last


async def follow(terminal: Terminal, client: Client, job_id: str) -> job_pb2.Job:
    """Watches a job with a progress bar until it has ended well. Raises ServiceError when it ends otherwise.

    When the watching is interrupted, says how to go on; the job itself runs on.
    """
    latest, (keeper, messages) = await _find(client, job_id)
    try:
        with terminal.progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        ) as bar:
            task = bar.add_task("waiting", total=None, pace="")
            async for update in keeper.WatchJob(messages.WatchJobRequest(job_id=job_id)):
                latest = update.job
                total = latest.total if latest.HasField("total") else None
                words = f"{latest.kind} {latest.subject}".strip()
                bar.update(task, description=words, completed=latest.done, total=total, pace=_pace(latest))
    except asyncio.CancelledError:
        terminal.note(f"The job runs on. Watch it:  lakehouse jobs watch {plain(job_id)}")
        terminal.note(f"                 Cancel it: lakehouse jobs cancel {plain(job_id)}")
        raise
    if latest.state != "succeeded":
        raise _ended_badly(latest)
    return latest


def _ended_badly(job: job_pb2.Job) -> ServiceError | CommandError:
    if job.state not in _ENDED:
        message = f"lost sight of the job {job.id} while it was {job.state or 'starting'}"
        return CommandError(message, reason="JOB_LOST", hint=f"lakehouse jobs watch {job.id}")
    if job.error.code in CODE_FROM_NUMBER and job.error.code != 0:
        return from_status(CODE_FROM_NUMBER[job.error.code], job.error.message, job.error.SerializeToString())
    failures = " ".join(job.failures)
    message = f"the job {job.id} ended as {job.state} after {done(job)}. {failures}".strip()
    return CommandError(message, reason=f"JOB_{job.state.upper()}")


def _show(terminal: Terminal, job: job_pb2.Job) -> None:
    pairs: list[tuple[str, object]] = [
        ("job", job.id),
        ("kind", job.kind),
        ("subject", job.subject),
        ("state", job.state),
        ("done", done(job)),
        ("pace", _pace(job)),
        ("created", moment(job.created_at)),
        ("ended", moment(job.ended_at) if job.HasField("ended_at") else ""),
        ("error", job.error.message),
        *(("failure", failure) for failure in job.failures),
    ]
    terminal.show(facts([(name, value) for name, value in pairs if value]))


def done(job: job_pb2.Job) -> str:
    """How much of a job is done, in words."""
    total = f" of {job.total:,}" if job.HasField("total") and job.total != job.done else ""
    failed = f", {job.failed:,} failed" if job.failed else ""
    return f"{job.done:,}{total} {job.unit}{failed}".strip()


def _pace(job: job_pb2.Job) -> str:
    rate = f"{job.rate:,.0f} {job.unit}/s" if job.rate else ""
    left = f", {job.eta_seconds:,.0f} s left" if job.HasField("eta_seconds") else ""
    return f"{rate}{left}"
