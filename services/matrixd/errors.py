"""Errors that only matrixd raises."""

from __future__ import annotations

from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)


class MissingQuery(InvalidArgument):
    """A search with neither text nor vector."""

    reason = "MISSING_QUERY"


class MixedModels(InvalidArgument):
    """Corpora, or a corpus and a playbook, whose vectors come from different models."""

    reason = "MIXED_MODELS"


class NotAPlaybook(InvalidArgument):
    """A corpus is named where a playbook is needed."""

    reason = "NOT_A_PLAYBOOK"


class SharedIds(InvalidArgument):
    """Two corpora would hold the same ids for different things."""

    reason = "SHARED_IDS"


class CorpusNotFound(NotFound):
    """No corpus, or no playbook, has this name."""

    reason = "CORPUS_NOT_FOUND"


class AnswerNotFound(NotFound):
    """The answer to record is not in its corpus."""

    reason = "ANSWER_NOT_FOUND"


class PlaybookNotFound(NotFound):
    """The playbook has no such entry."""

    reason = "PLAYBOOK_NOT_FOUND"


class CorpusConflict(AlreadyExists):
    """The corpus to build is there and was made from something else."""

    reason = "CORPUS_CONFLICT"


class BuildRunning(FailedPrecondition):
    """Another job builds this corpus now; metadata `job_id` names it."""

    reason = "BUILD_RUNNING"


class RowsFailed(FailedPrecondition):
    """Some rows of a dataset could not be embedded; the others are in the corpus."""

    reason = "ROWS_FAILED"


class CorpusFailed(Unavailable):
    """A corpus cannot be searched now; no answer is better than one that hides it."""

    reason = "CORPUS_FAILED"


class RowsCutShort(Unavailable):
    """The rows of a dataset ended before they were complete."""

    reason = "ROWS_CUT_SHORT"


class OptionNotAvailable(Unimplemented):
    """The contract has the option, this release does not; metadata `option` names it."""

    reason = "OPTION_NOT_AVAILABLE"
