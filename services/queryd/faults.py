"""DuckDB's errors as ours: one reason each, and no word about where files lie (Q5, X9)."""

from __future__ import annotations

import re
from typing import Any

import orjson

from services.queryd.errors import (
    InvalidQuery,
    OutOfMemory,
    StatementNotAllowed,
    StatementSyntax,
    UnknownColumn,
    UnknownTable,
)
from services.runtime.errors import Cancelled, ServiceError

_DATA_FILE = re.compile(r"([0-9a-f]{64})(?:\.parquet)?")
_QUOTED_PATH = re.compile(r"""(["'])/[^"'\n]*\1""")
_PATH = re.compile(r"(?<![\w./])/(?:[^\s/\"',;:()\[\]{}]+/)+[^\s\"',;:()\[\]{}]*")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+@")
_ADVICE = re.compile(r"\n\nPossible solutions.*| Use \"SET [^\"]*\" to .*", re.DOTALL)
_MAX_CHARACTERS = 2_000

_BROKEN = frozenset({"internal", "fatal"})
"""Kinds after which the instance must not be used any more."""

_UNREADABLE = frozenset({"io", "invalid input", "serialization", "not implemented"})
"""Kinds that a bad data file shows itself with."""


class DataFault(Exception):
    """DuckDB could not read one data file; `sha256` names it."""

    def __init__(self, sha256: str, message: str) -> None:
        super().__init__(message)
        self.sha256 = sha256
        self.message = message


class EngineBroken(Exception):
    """DuckDB found itself in a state that it cannot go on from."""


def translate(error: Exception) -> ServiceError | DataFault | EngineBroken:
    """Returns the error to raise in the place of one of DuckDB's (a duckdb.Error, or an OSError from Arrow)."""
    details = _details(str(error))
    kind = str(details.get("exception_type", "")).lower()
    text = str(details["exception_message"])
    if kind in _BROKEN:
        return EngineBroken(text)
    file = _DATA_FILE.search(text)
    if file is not None and kind in _UNREADABLE:
        return DataFault(file[1], _cleaned(text))
    return _domain_error(kind, details, _cleaned(text))


def syntax_error(message: str, position: str | None) -> StatementSyntax:
    """The error for a text that cannot be parsed; `position` counts its bytes from 0."""
    known: dict[str, Any] = {"position": position} if position else {}
    return StatementSyntax(_cleaned(message), **known)


def _domain_error(kind: str, details: dict[str, Any], message: str) -> ServiceError:
    known: dict[str, Any] = {key: details[key] for key in ("position", "candidates") if details.get(key)}
    subtype, entry = details.get("error_subtype"), details.get("type")
    match kind:
        case "parser" | "syntax":
            return syntax_error(message, details.get("position"))
        case "catalog" if entry in ("Table", "View"):
            return UnknownTable(message, table=details.get("name", ""), **known)
        case "binder" if subtype == "COLUMN_NOT_FOUND":
            return UnknownColumn(message, column=details.get("name", ""), **known)
        case "out of memory":
            return OutOfMemory(f"the statement needs more memory than it may have: {message}")
        case "permission":
            return StatementNotAllowed(message, **known)
        case "interrupt":
            return Cancelled("the statement was interrupted")
        case _:
            return InvalidQuery(message, **known)


def _details(text: str) -> dict[str, Any]:
    """Reads what DuckDB says with `errors_as_json`; some errors are plain text all the same."""
    kind, _, rest = text.partition(" Error: ")
    for candidate in (rest, text):
        if candidate.startswith("{"):
            try:
                details = orjson.loads(candidate)
            except orjson.JSONDecodeError:
                continue
            if "exception_message" in details:
                return dict(details)
    return {"exception_type": kind, "exception_message": rest} if rest else {"exception_message": text}


def _cleaned(text: str) -> str:
    text = _ADVICE.sub("", text)
    text = _PATH.sub(_shown_path, _QUOTED_PATH.sub(_shown_path, text))
    text = _DATA_FILE.sub("a data file", text)
    text = _CREDENTIALS.sub("", text)
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " …"


def _shown_path(path: re.Match[str]) -> str:
    return "a data file" if _DATA_FILE.search(path[0]) else "a file"
