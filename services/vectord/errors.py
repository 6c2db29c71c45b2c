"""What can be wrong with an index, an item or a query."""

from __future__ import annotations

from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
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


class NotLhv1(InvalidArgument):
    """What was sent is no `.lhv1` file."""

    reason = "NOT_LHV1"


class DamagedSegment(InvalidArgument):
    """A `.lhv1` file is missing, cut short, or not what was written."""

    reason = "DAMAGED_SEGMENT"


class NewerVersion(InvalidArgument):
    """A `.lhv1` file or a manifest was written by a later release."""

    reason = "NEWER_VERSION"


class ImportTooLarge(TooLarge):
    """A file to import is over the cap."""

    reason = "IMPORT_TOO_LARGE"


class MetadataTooLarge(TooLarge):
    """An item's metadata has more than 1 MiB."""

    reason = "METADATA_TOO_LARGE"


class IndexOpening(Unavailable):
    """Segments of the index are neither on this machine nor to be had from storage yet."""

    reason = "INDEX_OPENING"
    retry_after = 5


class IndexBusy(Unavailable):
    """Items come faster than they can be sealed; nothing was written."""

    reason = "INDEX_BUSY"
    retry_after = 2


class IndexStopped(Unavailable):
    """A write is in the log but could not be applied; the index takes no more writes until it is opened again."""

    reason = "INDEX_STOPPED"


class LogUnwritable(Unavailable):
    """The disk refuses the write-ahead log; nothing was written."""

    reason = "LOG_UNWRITABLE"


class AnswerTooLarge(TooLarge):
    """So many items were asked for that the answer would not fit into memory."""

    reason = "ANSWER_TOO_LARGE"


class AliasNotFound(NotFound):
    """No alias has this name."""

    reason = "ALIAS_NOT_FOUND"


class NothingToRollBack(FailedPrecondition):
    """There is no earlier state to go back to, or what it names is gone."""

    reason = "NOTHING_TO_ROLL_BACK"


class IndexHasAlias(FailedPrecondition):
    """An alias stands for the index, so it cannot be deleted."""

    reason = "INDEX_HAS_ALIAS"


class IndexHasJob(FailedPrecondition):
    """Another job works on the index."""

    reason = "INDEX_HAS_JOB"


class BackendHasNoGraphs(FailedPrecondition):
    """The index lives where there are no graphs to rebuild, to try or to promote."""

    reason = "BACKEND_HAS_NO_GRAPHS"


class IndexEmpty(FailedPrecondition):
    """The index has no items to measure with."""

    reason = "INDEX_EMPTY"


class EvalSetExists(AlreadyExists):
    """The index has an eval set of this name, or one that differs only in case."""

    reason = "EVAL_SET_EXISTS"


class EvalSetNotFound(NotFound):
    """The index has no eval set of this name."""

    reason = "EVAL_SET_NOT_FOUND"


class TrialNotFound(NotFound):
    """The index has no trial of this id."""

    reason = "TRIAL_NOT_FOUND"


class RecallTooLow(FailedPrecondition):
    """The trial found too few of the right neighbours to be promoted."""

    reason = "RECALL_TOO_LOW"


class BackendNotInstalled(FailedPrecondition):
    """The library of this back end is not installed."""

    reason = "BACKEND_NOT_INSTALLED"


class BackendHasNoExport(FailedPrecondition):
    """An index on this back end cannot be exported as a file."""

    reason = "BACKEND_HAS_NO_EXPORT"


class IndexLocked(FailedPrecondition):
    """Another process writes this index; its table takes one writer at a time."""

    reason = "INDEX_LOCKED"
