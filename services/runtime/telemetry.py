"""What is known about the call that runs, and logs that say so (X6, X8).

Request id, trace context and deadline travel between daemons as metadata only, on both legs.
"""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST_ID_KEY = "x-lakehouse-request-id"
TRACE_ID_KEY = "x-lakehouse-trace-id"
TRACEPARENT_KEY = "traceparent"
INTERNAL_KEY = "x-lakehouse-internal"
BUCKET_KEY = "x-lakehouse-bucket"
ENVOY_REQUEST_ID_KEY = "x-request-id"
ENVOY_TIMEOUT_KEY = "x-envoy-expected-rq-timeout-ms"

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SAFE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

# Ids need to be unique, not unguessable; urandom for each call would cost more than the rest.
_ids = random.Random(random.SystemRandom().getrandbits(128))


class Call:
    """One incoming call: who it belongs to and how long it may take."""

    __slots__ = ("bucket", "deadline", "method", "outgoing", "request_id", "traceparent")

    def __init__(self, method: str, metadata: Mapping[str, str], remaining: float | None) -> None:
        self.method = method
        # Fills the field `bucket` of a request that leaves it empty (S7).
        self.bucket = metadata.get(BUCKET_KEY, "")
        self.request_id = _request_id(metadata)
        self.traceparent = _traceparent(metadata)
        self.deadline = _deadline(metadata, remaining)
        # The metadata that every call made on behalf of this one carries.
        self.outgoing = (
            (REQUEST_ID_KEY, self.request_id),
            (TRACEPARENT_KEY, self.traceparent),
            (INTERNAL_KEY, "1"),
        )

    @property
    def trace_id(self) -> str:
        """The W3C trace id, 32 hexadecimal digits."""
        return self.traceparent[3:35]

    def remaining(self) -> float | None:
        """Seconds left, or None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_current: ContextVar[Call | None] = ContextVar("lakehouse_call", default=None)


def current_call() -> Call | None:
    """The call that runs, or None in background work."""
    return _current.get()


def enter_call(call: Call) -> None:
    """Makes `call` the current one for the rest of this context."""
    _current.set(call)


def new_id() -> str:
    """A fresh id of 32 hexadecimal digits."""
    return f"{_ids.getrandbits(128):032x}"


def _request_id(metadata: Mapping[str, str]) -> str:
    given = metadata.get(REQUEST_ID_KEY) or metadata.get(ENVOY_REQUEST_ID_KEY)
    return given if given and _SAFE_ID.fullmatch(given) else new_id()


def _traceparent(metadata: Mapping[str, str]) -> str:
    given = metadata.get(TRACEPARENT_KEY)
    if given and _TRACEPARENT.fullmatch(given):
        return given
    trace = metadata.get(TRACE_ID_KEY, "").lower()
    trace_id = trace if _TRACE_ID.fullmatch(trace) else new_id()
    return f"00-{trace_id}-{_ids.getrandbits(64) or 1:016x}-01"


def _deadline(metadata: Mapping[str, str], remaining: float | None) -> float | None:
    if remaining is None:
        # Behind Envoy the gRPC deadline is unset; the edge says how long it will wait.
        given = metadata.get(ENVOY_TIMEOUT_KEY, "")
        remaining = int(given) / 1000 if given.isdigit() and int(given) > 0 else None
    return None if remaining is None else time.monotonic() + remaining


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the ids of the running call."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        call = _current.get()
        if call is not None:
            entry |= {"request_id": call.request_id, "trace_id": call.trace_id, "method": call.method}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Sends JSON lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
