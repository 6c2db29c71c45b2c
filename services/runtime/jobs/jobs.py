"""Long work that outlives its call: started, watched, cancelled, and remembered over a restart.

    queued ──> running ──> succeeded | failed | cancelled | interrupted

`interrupted` is what a job becomes that was not ended when the daemon stopped, or was killed.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.runtime.errors import Internal, NotFound, ServiceError
from services.runtime.jobs.job import CANCELLED, FAILED, INTERRUPTED, RUNNING, SUCCEEDED, Job, JobError
from services.runtime.jobs.progress import Meter
from services.runtime.jobs.store import JobStore
from services.runtime.threads import Threads

log = logging.getLogger(__name__)


class JobNotFound(NotFound):
    """There is no such job, or it is so old that it was forgotten."""

    reason = "JOB_NOT_FOUND"


MAX_FAILURES = 10

Work = Callable[["Progress"], Awaitable[Mapping[str, Any]]]
"""Does the work, tells its progress, and returns the result. Raises ServiceError to fail."""


class Progress:
    """What running work tells about itself."""

    def __init__(self, entry: _Entry) -> None:
        self._entry = entry

    def advance(self, done: int, failures: Sequence[str] = ()) -> None:
        """Adds finished units, and a sentence for each of them that failed; the first ten are kept."""
        entry = self._entry
        job = entry.job
        total_done = job.done + done
        entry.meter.mark(total_done)
        entry.change(
            done=total_done,
            failed=job.failed + len(failures),
            failures=(*job.failures, *failures)[:MAX_FAILURES],
            rate=entry.meter.rate(),
            eta_seconds=entry.meter.eta(job.total),
        )

    @property
    def failed(self) -> int:
        """Units that failed so far."""
        return self._entry.job.failed

    @property
    def first_failure(self) -> str:
        """The first sentence about a failed unit; empty when there is none."""
        return self._entry.job.failures[0] if self._entry.job.failures else ""


class _Entry:
    """A job with what belongs to it in this process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.meter = Meter(time.monotonic)
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.cancelling = False

    def change(self, **values: Any) -> None:
        """Replaces the job and wakes those who watch it."""
        self.job = replace(self.job, **values)
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Jobs:
    """The jobs of one daemon. Belongs to one event loop."""

    def __init__(self, store: JobStore, threads: Threads, *, concurrent: int, kept: int) -> None:
        """At most `concurrent` jobs run at once, others are queued; `kept` are remembered."""
        self._store = store
        self._threads = threads
        self._slots = asyncio.Semaphore(concurrent)
        self._kept = kept
        self._entries: dict[str, _Entry] = {}
        self._last_id = 0

    async def load(self) -> None:
        """Reads the jobs of earlier runs; those that had not ended are interrupted."""
        for job in await self._threads.run(self._store.load):
            entry = self._entries[job.id] = _Entry(job)
            self._last_id = max(self._last_id, int(job.id[:16], 16))
            if not job.ended:
                await self._end(entry, INTERRUPTED)

    async def submit(self, kind: str, subject: str, *, unit: str, total: int | None, work: Work) -> Job:
        """Starts work as a job, which is on disk when this returns."""
        job = Job(id=self._next_id(), kind=kind, subject=subject, unit=unit, total=total, created_at=_now())
        entry = self._entries[job.id] = _Entry(job)
        try:
            await self._save(entry)
            await self._forget_old()
        except BaseException:
            del self._entries[job.id]
            raise
        # A fresh context: the job must not end with the deadline of the call that started it.
        entry.task = asyncio.create_task(self._run(entry, work), context=contextvars.Context())
        return entry.job

    def active(self, kind: str, same_subject: Callable[[str], bool]) -> Job | None:
        """A job of this kind that has not ended and whose subject is the same."""
        jobs = (entry.job for entry in self._entries.values())
        return next((job for job in jobs if job.kind == kind and not job.ended and same_subject(job.subject)), None)

    def get(self, job_id: str) -> Job:
        """A job. Raises JobNotFound."""
        return self._entry(job_id).job

    def page(self, size: int, after: str) -> tuple[list[Job], str]:
        """The jobs after the one with id `after`, newest first, and the last id if there are more."""
        ids = sorted((job_id for job_id in self._entries if not after or job_id < after), reverse=True)
        page = [self._entries[job_id].job for job_id in ids[:size]]
        return page, page[-1].id if len(ids) > size else ""

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """A job now and after every change, until it has ended; a slow watcher misses steps, never the end."""
        entry = self._entry(job_id)
        while True:
            changed, job = entry.changed, entry.job
            yield job
            if job.ended:
                return
            await changed.wait()

    async def cancel(self, job_id: str) -> Job:
        """Cancels a job and waits until its work has stopped; one that has ended stays as it is."""
        entry = self._entry(job_id)
        if not entry.job.ended and entry.task is not None:
            entry.cancelling = True
            await self._stop(entry)
        return entry.job

    async def close(self) -> None:
        """Stops all work; what had not ended is interrupted."""
        await asyncio.gather(*[self._stop(entry) for entry in self._entries.values() if not entry.job.ended])

    async def _stop(self, entry: _Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.wait([entry.task])
        if not entry.job.ended:
            # Cancelled before its first step, the task never came to say so itself.
            await self._end(entry, CANCELLED if entry.cancelling else INTERRUPTED)

    async def _run(self, entry: _Entry, work: Work) -> None:
        try:
            async with self._slots:
                entry.meter = Meter(time.monotonic)
                entry.change(state=RUNNING, started_at=_now())
                await self._save(entry)
                result = await work(Progress(entry))
            await self._end(entry, SUCCEEDED, result=dict(result))
        except asyncio.CancelledError:
            await self._end(entry, CANCELLED if entry.cancelling else INTERRUPTED)
        except ServiceError as error:
            await self._end(entry, FAILED, error=_job_error(error))
        except Exception:
            # Whatever it is, whoever watches must see an end; what it is is for the log alone.
            log.exception("job %s failed unexpectedly", entry.job.id)
            await self._end(
                entry, FAILED, error=_job_error(Internal(f"unexpected failure; the log knows job {entry.job.id}"))
            )

    async def _end(self, entry: _Entry, state: str, **values: Any) -> None:
        job = entry.job
        ended_at = _now()
        seconds = (ended_at - job.started_at).total_seconds() if job.started_at else 0.0
        rate = job.done / seconds if seconds > 0 else 0.0
        ended = replace(job, state=state, ended_at=ended_at, rate=rate, eta_seconds=None, **values)
        try:
            # On disk before anybody can see it: an end that was seen never comes undone.
            await self._threads.run(self._store.save, ended)
        except OSError:
            log.exception("the end of job %s could not be written; after a restart it will be interrupted", job.id)
        entry.change(**{name: getattr(ended, name) for name in ("state", "ended_at", "rate", "eta_seconds", *values)})

    async def _save(self, entry: _Entry) -> None:
        await self._threads.run(self._store.save, entry.job)

    async def _forget_old(self) -> None:
        surplus = len(self._entries) - self._kept
        ended = sorted(job_id for job_id, entry in self._entries.items() if entry.job.ended)
        for job_id in ended[: max(0, surplus)]:
            await self._threads.run(self._store.remove, job_id)
            del self._entries[job_id]

    def _entry(self, job_id: str) -> _Entry:
        entry = self._entries.get(job_id)
        if entry is None:
            raise JobNotFound(f"there is no job {job_id!r}", job_id=job_id)
        return entry

    def _next_id(self) -> str:
        # Ids sort by age, also within one clock tick.
        self._last_id = max(time.time_ns(), self._last_id + 1)
        return f"{self._last_id:016x}{secrets.token_hex(4)}"


def _now() -> datetime:
    return datetime.now(UTC)


def _job_error(error: ServiceError) -> JobError:
    return JobError(
        code=int(error.code.value[0]), message=error.message, reason=error.reason, metadata=dict(error.metadata)
    )
