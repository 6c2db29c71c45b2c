"""One job as a value, and as the JSON that is kept of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import orjson

QUEUED = "queued"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"

_STATES = frozenset({QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, INTERRUPTED})
_ID = re.compile(r"[0-9a-f]{24}")
_MOMENTS = ("created_at", "started_at", "ended_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job failed: the number of a gRPC status code, a sentence, and the reason of its class."""

    code: int
    message: str
    reason: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Long work that outlives the call that started it. `done` counts failed units too."""

    id: str
    kind: str
    subject: str
    unit: str
    state: str = QUEUED
    done: int = 0
    total: int | None = None
    failed: int = 0
    rate: float = 0.0
    eta_seconds: float | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: JobError | None = None
    result: Mapping[str, Any] | None = None
    failures: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.state not in (QUEUED, RUNNING)


def encode(job: Job) -> bytes:
    """The job as JSON."""
    return orjson.dumps(job)


def decode(data: bytes) -> Job:
    """The job in such JSON. Raises ValueError for anything else."""
    values = orjson.loads(data)
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(Job)}:
        raise ValueError("is not a job")
    if values["state"] not in _STATES or not _ID.fullmatch(values["id"]):
        raise ValueError("has an unknown state or id")
    for name in _MOMENTS:
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    error = values["error"]
    values["error"] = JobError(**error) if error else None
    values["failures"] = tuple(values["failures"])
    return Job(**values)
