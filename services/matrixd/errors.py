"""Errors that only matrixd raises."""

from __future__ import annotations

from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
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


class ExperimentNotFound(NotFound):
    """There is no such experiment, or it is so old that it was forgotten."""

    reason = "EXPERIMENT_NOT_FOUND"


class CorpusConflict(AlreadyExists):
    """The corpus to build is there and was made from something else."""

    reason = "CORPUS_CONFLICT"


class BuildRunning(FailedPrecondition):
    """Another job builds this corpus now; metadata `job_id` names it."""

    reason = "BUILD_RUNNING"


class CannotRefresh(FailedPrecondition):
    """How a corpus was made is not known, or no longer fits its dataset; metadata `corpus` names it."""

    reason = "CANNOT_REFRESH"


class RowsFailed(FailedPrecondition):
    """Some rows of a dataset could not be embedded; the others are in the corpus."""

    reason = "ROWS_FAILED"


class PlaybooksDiffer(FailedPrecondition):
    """Two playbooks whose questions were embedded by different models cannot become one."""

    reason = "MIXED_MODELS"


class NotPromotable(FailedPrecondition):
    """The evidence of an experiment does not exclude that nothing improves, or is about another tuning."""

    reason = "NOT_PROMOTABLE"


class NothingToRollBack(FailedPrecondition):
    """No tuning counted before this one."""

    reason = "NOTHING_TO_ROLL_BACK"


class NoTexts(FailedPrecondition):
    """A corpus of vectors alone has no words to search; metadata `corpus` names it."""

    reason = "NO_TEXTS"


class NoDataset(FailedPrecondition):
    """A condition on rows needs a corpus that is made from a dataset; metadata `corpus` names the one that is not."""

    reason = "NO_DATASET"


class TooManyIds(ResourceExhausted):
    """A condition leaves more items than can be listed with one search."""

    reason = "TOO_MANY_IDS"


class LexicalNotReady(Unavailable):
    """The words of a corpus are being made; metadata `corpus` names it."""

    reason = "LEXICAL_NOT_READY"


class CorpusFailed(Unavailable):
    """A corpus cannot be searched now; no answer is better than one that hides it."""

    reason = "CORPUS_FAILED"


class RowsCutShort(Unavailable):
    """The rows of a dataset ended before they were complete."""

    reason = "ROWS_CUT_SHORT"


class JudgeNotAvailable(Unimplemented):
    """The contract has the judge, this release does not; metadata `judge` names it."""

    reason = "JUDGE_NOT_AVAILABLE"
