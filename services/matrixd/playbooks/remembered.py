"""Playbook entries as a search finds them: hits of a vector index whose metadata say what was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import encoded_pb2

from services.matrixd.playbooks.gates import Recollection
from services.matrixd.playbooks.playbook import decay


def recollections(hits: Iterable[encoded_pb2.EncodedHit], reach: float, half_life_days: float) -> list[Recollection]:
    """The entries among a playbook's hits that lie within `reach`."""
    now = datetime.now(UTC)
    near = (hit for hit in hits if hit.distance <= reach)
    return [entry for hit in near if (entry := recollect(hit, now, half_life_days)) is not None]


def recollect(hit: encoded_pb2.EncodedHit, now: datetime, half_life_days: float) -> Recollection | None:
    """The playbook entry in a hit; None for an item that is no entry. About 7 us."""
    fields = Struct.FromString(hit.metadata).fields
    answer_id, answer_corpus = fields["answer_id"].string_value, fields["answer_corpus"].string_value
    score = fields["score"].number_value
    if not answer_id or not answer_corpus or not 0 <= score <= 1:
        return None
    recorded_at = fields["recorded_at"].string_value
    retired = "retired_at" in fields
    return Recollection(
        playbook_id=hit.id,
        answer_id=answer_id,
        answer_corpus=answer_corpus,
        score=score,
        outcome=fields["outcome"].string_value,
        role=fields["role"].string_value,
        distance=hit.distance,
        query_text=fields["query_text"].string_value,
        recorded_at=recorded_at,
        weight=_weight(recorded_at, now, half_life_days),
        retired=(fields["retired_reason"].string_value or "retired") if retired else "",
    )


def _weight(recorded_at: str, now: datetime, half_life_days: float) -> float:
    try:
        return decay(datetime.fromisoformat(recorded_at).astimezone(UTC), now, half_life_days)
    except ValueError:
        return 1.0  # written by somebody else; without a time there is no age
