"""What a caller sends to be remembered, and what of it is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.matrixd.playbooks.playbook import ACCEPTED, REJECTED, Entry
from services.runtime.errors import InvalidArgument
from services.runtime.names import check_name

_MAX_BYTES = {"query_text": 65_536, "answer_id": 1_024, "judged_by": 255, "role": 255}
_MAX_TAGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry as a caller sends it; what is empty or absent takes its documented default."""

    query_text: str
    answer_id: str
    answer_corpus: str
    score: float | None = None
    outcome: str = ""
    judged_by: str = ""
    role: str = ""
    tags: Sequence[str] = ()
    playbook: str = ""


def check_draft(draft: Draft, now: datetime) -> Entry:
    """The entry to write. Raises InvalidArgument naming the field. 3 us.

    A batch is checked here and not by its contract's rules, so that one bad entry spares the others.
    """
    if not draft.query_text.strip():
        raise InvalidArgument.of("query_text", "must have a character that is not white space")
    if not draft.answer_id:
        raise InvalidArgument.of("answer_id", "is required")
    for field, limit in _MAX_BYTES.items():
        size = len(getattr(draft, field).encode())
        if size > limit:
            raise InvalidArgument.of(field, f"must have at most {limit} bytes, has {size}")
    score = 1.0 if draft.score is None else draft.score
    if not 0 <= score <= 1:
        raise InvalidArgument.of("score", f"must be between 0 and 1, is {score:g}")
    outcome = draft.outcome or ACCEPTED
    if outcome not in (ACCEPTED, REJECTED):
        raise InvalidArgument.of("outcome", f"must be {ACCEPTED!r} or {REJECTED!r}, is {outcome!r}")
    if len(draft.tags) > _MAX_TAGS:
        raise InvalidArgument.of("tags", f"must have at most {_MAX_TAGS} elements, has {len(draft.tags)}")
    if draft.playbook:
        check_name(draft.playbook, "corpus")
    return Entry(
        query_text=draft.query_text,
        answer_id=draft.answer_id,
        answer_corpus=check_name(draft.answer_corpus, "answer_corpus"),
        score=score,
        outcome=outcome,
        judged_by=draft.judged_by,
        role=draft.role,
        tags=tuple(draft.tags),
        recorded_at=now,
    )
