"""Which job writes which corpus: one at a time (M11)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from services.matrixd.errors import BuildRunning
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import JobNotFound, Jobs
from services.runtime.names import same_name


class Claims:
    """The corpora that jobs have claimed. Belongs to one event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._starting: set[str] = set()
        self._held: dict[str, str] = {}

    @contextmanager
    def starting(self, corpora: Sequence[str]) -> Iterator[Callable[[Job], None]]:
        """Claims corpora while a job for them is started; yields what hands them to that job, until it has ended.

        Raises BuildRunning naming the job that has one of them.
        """
        for corpus in corpora:
            self._check(corpus)
        names = {same_name(corpus) for corpus in corpora}
        self._starting |= names
        try:
            yield lambda job: self._held.update(dict.fromkeys(names, job.id))
        finally:
            self._starting -= names

    def _check(self, corpus: str) -> None:
        name = same_name(corpus)
        if name in self._starting:
            raise BuildRunning(f"a build of corpus {corpus!r} is just being started", corpus=corpus)
        job_id = self._held.get(name)
        if job_id is not None and not self._ended(job_id):
            message = f"job {job_id} builds corpus {corpus!r} now: wait for it, or cancel it"
            raise BuildRunning(message, job_id=job_id, corpus=corpus)

    def _ended(self, job_id: str) -> bool:
        try:
            return self._jobs.get(job_id).ended
        except JobNotFound:
            return True  # only jobs that have ended are forgotten
