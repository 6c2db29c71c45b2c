"""The jobs on disk: one small file each, replaced whole whenever its job changes state."""

from __future__ import annotations

import logging
from pathlib import Path

from services.runtime.durable import atomic_write, make_directory, remove_file, sweep_temporaries
from services.runtime.jobs.job import Job, decode, encode

log = logging.getLogger(__name__)


class JobStore:
    """Keeps jobs in a directory of its own. Every write is on disk when it returns."""

    def __init__(self, directory: Path) -> None:
        """Creates the directory and removes what interrupted writes left in it."""
        self._directory = make_directory(directory)
        sweep_temporaries(self._directory)

    def load(self) -> list[Job]:
        """Every job that can be read; the others are reported and left where they are."""
        jobs = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                jobs.append(decode(path.read_bytes()))
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("job file %s is skipped: %s", path.name, error)
        return jobs

    def save(self, job: Job) -> None:
        """Writes a job. One disk write and two syncs."""
        atomic_write(self._path(job.id), encode(job))

    def remove(self, job_id: str) -> None:
        """Forgets a job."""
        remove_file(self._path(job_id))

    def _path(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.json"
