"""How a failed command ends: one line with what happened, its reason, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.runtime.errors import ServiceError

_UNREACHABLE = ("failed to connect", "connection refused", "no healthy upstream", "upstream connect error")

_HINTS: dict[str, str] = {
    "UNAUTHENTICATED": "set LAKEHOUSE_AUTH_TOKEN, or pass --token-file FILE",
    "PERMISSION_DENIED": "the server's allowlist or rules do not let this caller in",
    "DATASET_NOT_FOUND": "`lakehouse datasets list` shows what there is",
    "UNKNOWN_TABLE": "`lakehouse datasets list` shows the tables; names with spaces need double quotes",
    "UNKNOWN_COLUMN": "`lakehouse datasets show NAME` shows the columns of a dataset",
    "STATEMENT_NOT_ALLOWED": "only one statement that reads is allowed, such as SELECT",
    "SCHEMA_CONFLICT": "choose another --name, or remove the old dataset with `lakehouse datasets rm NAME`",
    "CORPUS_NOT_FOUND": "`lakehouse corpus list` shows what can be searched; `lakehouse corpus build` makes one",
    "CORPUS_CONFLICT": "choose another corpus name, or remove the old one with `lakehouse corpus rm NAME`",
    "INDEX_NOT_FOUND": "`lakehouse index list` shows what there is",
    "INDEX_HAS_JOB": "`lakehouse jobs list` shows it; `lakehouse jobs watch JOB` follows it",
    "INDEX_HAS_ALIAS": "remove the alias with `lakehouse index alias delete NAME`, or point it elsewhere",
    "ALIAS_NOT_FOUND": "`lakehouse index alias list` shows the aliases",
    "EVAL_SET_NOT_FOUND": "`lakehouse index eval list NAME` shows the eval sets of an index",
    "TRIAL_NOT_FOUND": "`lakehouse index trials NAME` shows the trials of an index",
    "RECALL_TOO_LOW": "choose another trial, or allow less with --minimum-recall",
    "MODEL_NOT_FOUND": "leave --model out to use the default model",
    "MIXED_MODELS": "search corpora of one embedding model at a time",
    "CANNOT_REFRESH": "run `lakehouse corpus build` once more; later refreshes then know how",
    "BUILD_RUNNING": "`lakehouse jobs list` shows it; `lakehouse jobs watch JOB` follows it",
    "ROWS_FAILED": "all other rows are in the corpus and can be searched; more --text columns may fill the gaps",
    "JOB_NOT_FOUND": "`lakehouse jobs list` shows the jobs",
    "PLAYBOOK_NOT_FOUND": "`lakehouse playbook list` shows the entries",
    "BUCKET_NOT_FOUND": "leave --bucket out to use `primary`",
    "OBJECT_NOT_FOUND": "`lakehouse objects ls` shows the objects",
    "FILE_TOO_LARGE": "raise `max_ingest_bytes` in section [ingest] of lakehouse.toml, or split the file",
    "DEADLINE_EXCEEDED": "allow more time with --timeout SECONDS",
    "QUERY_TIMEOUT": "narrow the statement down, or raise the statement time-out of section [query]",
    "UNIMPLEMENTED": "this release does not have it yet",
}


class CommandError(Exception):
    """A failure on this side of the wire: a file that is not there, an answer that cannot be shown."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a person or a program is told."""

    code: str
    """The status code's name; CLIENT when the failure is on this side."""
    reason: str
    message: str
    metadata: dict[str, str]
    violations: tuple[tuple[str, str], ...] = ()
    """(field, description) of every bad field."""
    hint: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        body: dict[str, Any] = {"code": self.code, "reason": self.reason, "message": self.message}
        body["metadata"] = self.metadata
        body["field_violations"] = [{"field": field, "description": text} for field, text in self.violations]
        body["hint"] = self.hint
        return {"error": body}


def describe(error: Exception, address: str) -> Failure:
    """Turns an exception into what the user is told; `address` is where the mesh was looked for."""
    if isinstance(error, ServiceError):
        return _service_failure(error, address)
    if isinstance(error, CommandError):
        return Failure(code="CLIENT", reason=error.reason, message=error.message, metadata={}, hint=error.hint)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        return Failure(code="CLIENT", reason="FILE_PROBLEM", message=message, metadata={})
    message = f"unexpected {type(error).__name__}: {error}"
    hint = "this is a fault of the command itself; PYTHONDEVMODE=1 shows where it happened"
    return Failure(code="CLIENT", reason="INTERNAL", message=message, metadata={}, hint=hint)


def _service_failure(error: ServiceError, address: str) -> Failure:
    message, hint = error.message, _HINTS.get(error.reason, "")
    if error.reason == "UNAVAILABLE" and any(words in message.lower() for words in _UNREACHABLE):
        message = f"no mesh answers at {address}"
        hint = "start one with `lakehouse up`, or name another with --address HOST:PORT"
    return Failure(
        code=error.code.name,
        reason=error.reason,
        message=message,
        metadata=error.metadata,
        violations=tuple((violation.field, violation.description) for violation in error.violations),
        hint=hint,
    )
