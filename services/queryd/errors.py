"""What can be wrong with a statement, or with the data it asks for; each has its own reason (Q5)."""

from __future__ import annotations

from services.runtime.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    TooLarge,
    Unavailable,
)


class EmptyStatement(InvalidArgument):
    """Nothing but spaces, comments and semicolons."""

    reason = "EMPTY_STATEMENT"


class StatementTooLarge(TooLarge):
    """A statement of more than 64 KiB."""

    reason = "STATEMENT_TOO_LARGE"


class StatementNotAllowed(InvalidArgument):
    """Anything but one SELECT over datasets: writes, settings, files, several statements."""

    reason = "STATEMENT_NOT_ALLOWED"


class StatementSyntax(InvalidArgument):
    """A statement that cannot be parsed."""

    reason = "SYNTAX_ERROR"


class UnknownTable(InvalidArgument):
    """A table that is no dataset."""

    reason = "UNKNOWN_TABLE"


class UnknownColumn(InvalidArgument):
    """A column that no table of the statement has."""

    reason = "UNKNOWN_COLUMN"


class InvalidQuery(InvalidArgument):
    """A statement that parses and still cannot be answered: types, functions, values."""

    reason = "INVALID_QUERY"


class RowLimit(ResourceExhausted):
    """More rows than a JSON answer may have."""

    reason = "ROW_LIMIT"


class ResultTooLarge(TooLarge):
    """More bytes than a JSON answer may have."""

    reason = "RESULT_TOO_LARGE"


class OutOfMemory(ResourceExhausted):
    """The statement needs more memory or temporary disk than it may have."""

    reason = "OUT_OF_MEMORY"


class QueryTimeout(DeadlineExceeded):
    """The statement ran longer than it may."""

    reason = "QUERY_TIMEOUT"


class DatasetUnreadable(Unavailable):
    """A data file of the dataset cannot be fetched or is not what its manifest says."""

    reason = "DATASET_UNREADABLE"


class EngineRestarted(Unavailable):
    """The SQL engine stopped while the statement ran, and has been started again."""

    reason = "ENGINE_RESTARTED"
    retry_after = 1


class CacheTooSmall(FailedPrecondition):
    """The statement needs more data files than the local cache may hold."""

    reason = "CACHE_TOO_SMALL"


class CacheBusy(Unavailable):
    """The local cache is full of files that running statements read."""

    reason = "CACHE_BUSY"
    retry_after = 1
