"""What can be wrong with an index, an item or a query."""

from __future__ import annotations

from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
    Unimplemented,
)


class IndexNotFound(NotFound):
    """No index has this name."""

    reason = "INDEX_NOT_FOUND"


class IndexExists(AlreadyExists):
    """An index has this name already, or one that differs only in case."""

    reason = "INDEX_EXISTS"


class EmptyId(InvalidArgument):
    """An item has no id."""

    reason = "EMPTY_ID"


class IdTooLong(InvalidArgument):
    """An item's id has more than 1,024 bytes."""

    reason = "ID_TOO_LONG"


class WrongDimension(InvalidArgument):
    """A vector has more or fewer components than the index."""

    reason = "WRONG_DIMENSION"


class NotFinite(InvalidArgument):
    """A vector holds NaN or infinity, or is so long that distances to it would."""

    reason = "NOT_FINITE"


class ZeroNorm(InvalidArgument):
    """A vector of zeros has no direction, so no cosine distance."""

    reason = "ZERO_NORM"


class FilterTooDeep(InvalidArgument):
    """A filter has more levels than are evaluated."""

    reason = "FILTER_TOO_DEEP"


class SelfMerge(InvalidArgument):
    """An index cannot be merged into itself."""

    reason = "SELF_MERGE"


class DimensionsDiffer(FailedPrecondition):
    """Two indexes cannot be merged because their vectors differ in length."""

    reason = "WRONG_DIMENSION"


class LogUnwritable(Unavailable):
    """The disk refuses the write-ahead log; nothing was written."""

    reason = "LOG_UNWRITABLE"


class StorageTypeNotAvailable(Unimplemented):
    """The contract has this way of keeping vectors, this release does not."""

    reason = "STORAGE_TYPE_NOT_AVAILABLE"


class AnswerTooLarge(TooLarge):
    """So many items were asked for that the answer would not fit into memory."""

    reason = "ANSWER_TOO_LARGE"
