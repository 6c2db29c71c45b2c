"""What a playbook remembers: one answer that was right, or wrong, for one question (M5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ACCEPTED = "accepted"
REJECTED = "rejected"
DEFAULT_PLAYBOOK = "playbook_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One remembered answer. `score` is 0 to 1; `answer_corpus` is the corpus's own spelling."""

    query_text: str
    answer_id: str
    answer_corpus: str
    score: float = 1.0
    outcome: str = ACCEPTED
    judged_by: str = ""
    role: str = ""
    tags: tuple[str, ...] = ()
    recorded_at: datetime

    @property
    def playbook_id(self) -> str:
        """Names the entry; recording the same question, corpus and answer again replaces it."""
        return playbook_id(self.query_text, self.answer_corpus, self.answer_id)


def playbook_id(query_text: str, answer_corpus: str, answer_id: str) -> str:
    """SHA-256 over question, corpus and answer, separated by 0x1f, in lower-case hexadecimal."""
    return hashlib.sha256("\x1f".join((query_text, answer_corpus, answer_id)).encode()).hexdigest()


def to_metadata(entry: Entry) -> dict[str, Any]:
    """The entry as metadata of an item of a vector index."""
    return {
        "query_text": entry.query_text,
        "answer_id": entry.answer_id,
        "answer_corpus": entry.answer_corpus,
        "score": entry.score,
        "outcome": entry.outcome,
        "judged_by": entry.judged_by,
        "role": entry.role,
        "tags": list(entry.tags),
        "recorded_at": entry.recorded_at.isoformat(timespec="milliseconds"),
    }


def from_metadata(metadata: Mapping[str, Any]) -> Entry | None:
    """The entry in an item's metadata; None for an item that somebody else put into the index."""
    try:
        entry = Entry(
            query_text=str(metadata["query_text"]),
            answer_id=str(metadata["answer_id"]),
            answer_corpus=str(metadata["answer_corpus"]),
            score=float(metadata["score"]),
            outcome=str(metadata["outcome"]),
            judged_by=str(metadata["judged_by"]),
            role=str(metadata["role"]),
            tags=tuple(str(tag) for tag in metadata["tags"]),
            recorded_at=datetime.fromisoformat(str(metadata["recorded_at"])).astimezone(UTC),
        )
    except (LookupError, TypeError, ValueError):
        return None
    return entry if 0 <= entry.score <= 1 else None
