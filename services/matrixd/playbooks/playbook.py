"""What a playbook remembers: one answer that was right, or wrong, for one question (M5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

ACCEPTED = "accepted"
REJECTED = "rejected"
DEFAULT_PLAYBOOK = "playbook_memory"
_KEPT = 10


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
    dataset_version: int = 0
    """The catalog version of the answer's dataset when it was recorded; 0 when unknown."""
    retired_at: datetime | None = None
    """When it was retired because the answer left the data; None while it counts."""
    retired_reason: str = ""
    previous: tuple[Mapping[str, Any], ...] = ()
    """The recordings that it replaced, newest first, so that it can be taken back."""

    @property
    def playbook_id(self) -> str:
        """Names the entry; recording the same question, corpus and answer again replaces it."""
        return playbook_id(self.query_text, self.answer_corpus, self.answer_id)


def playbook_id(query_text: str, answer_corpus: str, answer_id: str) -> str:
    """SHA-256 over question, corpus and answer, separated by 0x1f, in lower-case hexadecimal."""
    return hashlib.sha256("\x1f".join((query_text, answer_corpus, answer_id)).encode()).hexdigest()


def to_metadata(entry: Entry) -> dict[str, Any]:
    """The entry as metadata of an item of a vector index. What is not known has no key."""
    optional = {
        "dataset_version": entry.dataset_version,
        "retired_at": entry.retired_at.isoformat(timespec="milliseconds") if entry.retired_at else None,
        "retired_reason": entry.retired_reason,
        "previous": [dict(state) for state in entry.previous],
    }
    return {
        "query_text": entry.query_text,
        "answer_id": entry.answer_id,
        "answer_corpus": entry.answer_corpus,
        **_state(entry),
        **{key: value for key, value in optional.items() if value},
    }


def from_metadata(metadata: Mapping[str, Any]) -> Entry | None:
    """The entry in an item's metadata; None for an item that somebody else put into the index."""
    try:
        retired = metadata.get("retired_at")
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
            dataset_version=int(metadata.get("dataset_version") or 0),
            retired_at=datetime.fromisoformat(str(retired)).astimezone(UTC) if retired else None,
            retired_reason=str(metadata.get("retired_reason") or ""),
            previous=tuple(dict(state) for state in metadata.get("previous") or ()),
        )
    except (LookupError, TypeError, ValueError):
        return None
    return entry if 0 <= entry.score <= 1 else None


def replacing(entry: Entry, before: Entry) -> Entry:
    """A recording that takes the place of another one and remembers it. Saying the same again changes no memory."""
    states = [{**_state(one), "dataset_version": one.dataset_version} for one in (entry, before)]
    told = [{key: value for key, value in state.items() if key != "recorded_at"} for state in states]
    if told[0] == told[1]:
        return replace(entry, previous=before.previous)
    return replace(entry, previous=(states[1], *before.previous)[:_KEPT])


def restored(entry: Entry) -> Entry | None:
    """The recording that an entry had replaced; None when there was none."""
    if not entry.previous:
        return None
    state, *others = entry.previous
    return from_metadata({**to_metadata(replace(entry, retired_at=None)), **state, "previous": others})


def decay(recorded_at: datetime, now: datetime, half_life_days: float) -> float:
    """What is left of an entry's score: one half after each half-life, in whole days; always 1 for a half-life of 0.

    Whole days, so that a search gives the same answer all day.
    """
    days = max(0, (now - recorded_at).days)
    return 0.5 ** (days / half_life_days) if half_life_days and days else 1.0


def _state(entry: Entry) -> dict[str, Any]:
    return {
        "score": entry.score,
        "outcome": entry.outcome,
        "judged_by": entry.judged_by,
        "role": entry.role,
        "tags": list(entry.tags),
        "recorded_at": entry.recorded_at.isoformat(timespec="milliseconds"),
    }
