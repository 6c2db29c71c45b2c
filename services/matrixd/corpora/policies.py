"""Refreshes that nobody has to ask for: datasets with the policy `on_append` or `scheduled` (C5).

The catalog's version tells whether anything changed; only then are the datasets read. What was due when
matrixd stopped is due when it starts again, because staleness and times are kept by the catalog.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.matrixd.corpora.datasets import Dataset, Datasets
from services.matrixd.errors import BuildRunning, RowsFailed
from services.runtime.errors import ServiceError
from services.runtime.jobs.job import SUCCEEDED, Job
from services.runtime.jobs.jobs import JobNotFound, Jobs
from services.runtime.names import same_name

log = logging.getLogger(__name__)

ON_APPEND, SCHEDULED = "on_append", "scheduled"
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0

Start = Callable[[str], Awaitable[Job]]
"""Starts the job that refreshes a dataset."""


@dataclass(slots=True)
class Attempt:
    """The last refresh of a dataset, and since it failed, when to try again (in the clock's seconds)."""

    content: str
    job_id: str = ""
    failures: int = 0
    not_before: float = 0.0
    bad_rows: bool = False


class Policies:
    """Starts refreshes when they are due, one at a time for a dataset. Belongs to one event loop."""

    def __init__(self, datasets: Datasets, jobs: Jobs, start: Start, *, seconds: float, clock: Callable[[], float]):
        """`seconds` is the interval of `scheduled`; `clock` tells monotonic seconds."""
        self._datasets = datasets
        self._jobs = jobs
        self._start = start
        self._seconds = seconds
        self._clock = clock
        self._version: int | None = None
        self._stale: list[Dataset] = []
        self._attempts: dict[str, Attempt] = {}

    async def keep_watching(self, seconds: float) -> None:
        """Looks every so often, until it is cancelled."""
        away = False
        while True:
            try:
                await self.look()
                away = False
            except ServiceError as error:
                if not away:
                    log.warning("refresh policies wait for the catalog: %s", error.message)
                away = True
            except Exception:
                # Whatever it is, datasets must not stay stale for the rest of this run because of it.
                if not away:
                    log.exception("refresh policies failed unexpectedly; they are tried again")
                away = True
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Starts what is due. One cheap call when nothing changed. Raises what the catalog raises."""
        version = await self._datasets.version()
        if version != self._version:
            stale = [dataset async for dataset in self._datasets.all() if dataset.stale_since is not None]
            self._stale = [dataset for dataset in stale if dataset.refresh_policy in (ON_APPEND, SCHEDULED)]
            names = {same_name(dataset.name) for dataset in self._stale}
            self._attempts = {name: attempt for name, attempt in self._attempts.items() if name in names}
            self._version = version
        for dataset in self._stale:
            if self._due(dataset):
                await self._begin(dataset)

    def _due(self, dataset: Dataset) -> bool:
        interval = timedelta(seconds=self._seconds)
        at = dataset.embedded_at
        if dataset.refresh_policy == SCHEDULED and at is not None and datetime.now(UTC) < at + interval:
            return False
        attempt = self._attempts.get(same_name(dataset.name))
        if attempt is None:
            return True
        if attempt.job_id:
            try:
                job = self._jobs.get(attempt.job_id)
            except JobNotFound:
                job = None  # forgotten, so it has ended
            if job is not None and not job.ended:
                return False
            self._judge(attempt, job)
        # Rows that could not be embedded are tried again when there are others.
        if attempt.bad_rows and attempt.content != dataset.content:
            return True
        return self._clock() >= attempt.not_before

    def _judge(self, attempt: Attempt, job: Job | None) -> None:
        attempt.job_id = ""
        if job is None or job.state == SUCCEEDED:
            attempt.failures, attempt.not_before, attempt.bad_rows = 0, 0.0, False
            return
        bad_rows = job.error is not None and job.error.reason == RowsFailed.reason
        self._put_off(attempt, bad_rows=bad_rows)

    def _put_off(self, attempt: Attempt, *, bad_rows: bool) -> None:
        longest = max(_LONGEST_PAUSE, self._seconds) if bad_rows else _LONGEST_PAUSE
        pause = min(longest, _FIRST_PAUSE * 2.0 ** min(attempt.failures, 32))
        attempt.failures += 1
        attempt.not_before = self._clock() + pause
        attempt.bad_rows = bad_rows

    async def _begin(self, dataset: Dataset) -> None:
        attempt = self._attempts.setdefault(same_name(dataset.name), Attempt(dataset.content))
        attempt.content = dataset.content
        try:
            job = await self._start(dataset.name)
        except BuildRunning:
            return  # whoever builds now may do this work; the next look tells
        except ServiceError as error:
            self._put_off(attempt, bad_rows=False)
            log.warning("dataset %r cannot be refreshed now: %s", dataset.name, error.message)
            return
        attempt.job_id = job.id
        log.info("dataset %r is stale: job %s refreshes it (%s)", dataset.name, job.id, dataset.refresh_policy)
