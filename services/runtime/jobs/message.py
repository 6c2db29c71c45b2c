"""A job as the message that every daemon shows."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from lakehouse.job.v1 import job_pb2

from services.runtime.errors import DOMAIN
from services.runtime.jobs.job import Job, JobError


def job_message(job: Job) -> job_pb2.Job:
    """A job as every daemon shows it."""
    message = job_pb2.Job(
        id=job.id,
        kind=job.kind,
        state=job.state,
        subject=job.subject,
        done=job.done,
        total=job.total,
        failed=job.failed,
        unit=job.unit,
        rate=job.rate,
        eta_seconds=job.eta_seconds,
        created_at=_timestamp(job.created_at),
        started_at=_timestamp(job.started_at),
        ended_at=_timestamp(job.ended_at),
        error=_status(job.error) if job.error is not None else None,
        failures=job.failures,
    )
    if job.result is not None:
        message.result.update(job.result)
    return message


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _status(error: JobError) -> status_pb2.Status:
    status = status_pb2.Status(code=error.code, message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    return status
