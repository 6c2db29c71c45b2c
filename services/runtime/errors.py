"""The one error model: a class is a code and a reason, the same on both sides of a call (X3).

    ServiceError
    ├── InvalidArgument       400   the request can never work as it stands
    │   ├── UnknownField      400   a field, parameter or header that the contract does not have
    │   └── MalformedMessage  400   bytes that are not the message they claim to be
    ├── FailedPrecondition    400   legal, but not in the present state
    ├── Unauthenticated       401   no token, or a wrong one
    ├── PermissionDenied      403   known, and still not allowed
    ├── NotFound              404   names something that is not there
    ├── AlreadyExists         409   names something that is there, and differs
    ├── Aborted               409   lost a race; the same call may win the next one
    ├── ResourceExhausted     429   over a quota
    │   └── TooLarge          413   over a size limit
    ├── Cancelled             499   the caller went away
    ├── Internal              500   our fault; carries a request id and nothing else
    ├── Unimplemented         501   in the contract, not in this release
    ├── Unavailable           503   not now; may carry retry_after
    └── DeadlineExceeded      504   the caller's time ran out

Engines raise these, servicers do not catch them, one place in `guard` turns them into
google.rpc.Status, and one in `connect` turns that back into the same class. A daemon adds its own
reasons by subclassing: `class DatasetNotFound(NotFound): reason = "DATASET_NOT_FOUND"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "lakehouse"
STATUS_KEY = "grpc-status-details-bin"
HTTP_STATUS_KEY = "x-lakehouse-http-status"
RETRY_AFTER_KEY = "retry-after"

CODE_FROM_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its path in the request (`items[3].vector`) and what is wrong with it."""

    field: str
    description: str


class ServiceError(Exception):
    """Base of every error that crosses a daemon's border.

    `metadata` repeats each dynamic part of the message, so that a program never parses text
    (AIP-193). Every subclass keeps this constructor: errors are rebuilt from the wire.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: str = "UNKNOWN"
    http_status: ClassVar[int | None] = None
    """Overrides Envoy's code map where that map says the wrong thing (sizes are 413, not 429)."""
    retry_after: ClassVar[int | None] = None
    """Seconds after which the same call may work, sent as a `retry-after` header."""

    def __init__(self, message: str, *, violations: Iterable[Violation] = (), **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(ServiceError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, field: str, description: str, **metadata: object) -> InvalidArgument:
        """Makes the commonest error: one field, one sentence."""
        violation = Violation(field, description)
        return cls(f"{field}: {description}", violations=(violation,), field=field, **metadata)


class UnknownField(InvalidArgument):
    reason = "UNKNOWN_FIELD"


class MalformedMessage(InvalidArgument):
    reason = "MALFORMED_MESSAGE"


class FailedPrecondition(ServiceError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Unauthenticated(ServiceError):
    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class NotFound(ServiceError):
    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(ServiceError):
    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class Aborted(ServiceError):
    code = grpc.StatusCode.ABORTED
    reason = "ABORTED"


class ResourceExhausted(ServiceError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class TooLarge(ResourceExhausted):
    reason = "TOO_LARGE"
    http_status = 413


class Cancelled(ServiceError):
    code = grpc.StatusCode.CANCELLED
    reason = "CANCELLED"


class Internal(ServiceError):
    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"


class Unimplemented(ServiceError):
    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Unavailable(ServiceError):
    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


def all_errors(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Yields every loaded error class below `root`, parents first."""
    for child in root.__subclasses__():
        yield child
        yield from all_errors(child)


def to_status(error: ServiceError) -> status_pb2.Status:
    """Packs an error as google.rpc.Status: ErrorInfo always, BadRequest when fields are named."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    return status


def trailers(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that goes with an error beside its status."""
    pairs: list[tuple[str, str]] = []
    if error.http_status is not None:
        pairs.append((HTTP_STATUS_KEY, str(error.http_status)))
    if error.retry_after is not None:
        pairs.append((RETRY_AFTER_KEY, str(error.retry_after)))
    return tuple(pairs)


def from_status(code: grpc.StatusCode, message: str, details: bytes | None) -> ServiceError:
    """Rebuilds the error a daemon raised from what came over the wire.

    Without readable details (a broken connection, a foreign server) the class of the code is used.
    """
    info, violations = _unpack(details)
    reason = info.reason if info is not None else ""
    error_class = _class_for(code, reason)
    error = error_class.__new__(error_class)
    metadata: Mapping[str, Any] = dict(info.metadata) if info is not None else {}
    ServiceError.__init__(error, message, violations=violations, **metadata)
    if reason and reason != error_class.reason:
        error.reason = reason
    return error


def _unpack(details: bytes | None) -> tuple[error_details_pb2.ErrorInfo | None, list[Violation]]:
    if not details:
        return None, []
    try:
        status = status_pb2.Status.FromString(details)
    except DecodeError:
        return None, []
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[Violation] = []
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
    return info, violations


def _class_for(code: grpc.StatusCode, reason: str) -> type[ServiceError]:
    base: type[ServiceError] = ServiceError
    for candidate in all_errors():
        if candidate.code is not code:
            continue
        if candidate.reason == reason:
            return candidate
        if candidate.__bases__ == (ServiceError,):
            base = candidate
    return base
