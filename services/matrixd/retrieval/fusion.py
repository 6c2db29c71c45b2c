"""Two arms become one list: by their ranks, or by how far their scores stand out (RRF, DBSF)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from services.matrixd.retrieval.ranking import Answer, Candidate

RRF = "rrf"
DBSF = "dbsf"
HALFWAY = 10.0
"""The BM25 score that counts half: BM25 knows no upper end, and a distance has one."""
_SPREAD = 3.0
_LOWEST_CEILING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """How to fuse. Weights are at least 0 and not both 0."""

    method: str = RRF
    rrf_k: int = 60
    dense_weight: float = 1.0
    lexical_weight: float = 1.0


class Scored(NamedTuple):
    """An item that the lexical arm found. `score` is BM25's."""

    score: float
    corpus: str
    id: str
    payload: Any


class Arms(NamedTuple):
    """What each arm said of one item; None where an arm missed it or was not asked. Ranks count from 0."""

    dense_rank: int | None = None
    dense_distance: float | None = None
    lexical_rank: int | None = None
    lexical_score: float | None = None
    fused_score: float | None = None


@dataclass(frozen=True, slots=True)
class Fused:
    """One list, nearest first, and what each arm said of its items."""

    candidates: Sequence[Candidate]
    arms: Mapping[Answer, Arms]


def by_words(lexical: Sequence[Scored]) -> Fused:
    """The lexical arm alone. The distance is 1 - s / (s + HALFWAY)."""
    ranked = _ranked(lexical)
    candidates = [
        Candidate(HALFWAY / (scored.score + HALFWAY), scored.corpus, scored.id, scored.payload) for scored in ranked
    ]
    arms = {
        (scored.corpus, scored.id): Arms(lexical_rank=rank, lexical_score=scored.score)
        for rank, scored in enumerate(ranked)
    }
    return Fused(candidates, arms)


def fuse(dense: Sequence[Candidate], lexical: Sequence[Scored], fusion: Fusion) -> Fused:
    """Both arms in one list. `dense` is merged and in order; 3 us an item.

    The best possible score is 1 minus the distance of the nearest dense item, and at least a tenth, so
    that distances stay comparable with those of remembered questions.
    """
    ranked = _ranked(lexical)
    parts = (_by_rank if fusion.method == RRF else _by_spread)(dense, ranked, fusion)
    ceiling = max(_LOWEST_CEILING, 1.0 - max(0.0, dense[0].distance)) if dense else _share(ranked)
    payloads = {(one.corpus, one.id): one.payload for one in dense}
    payloads.update(((one.corpus, one.id), one.payload) for one in ranked)
    near = {(one.corpus, one.id): (rank, one.distance) for rank, one in enumerate(dense)}
    said = {(one.corpus, one.id): (rank, one.score) for rank, one in enumerate(ranked)}
    arms: dict[Answer, Arms] = {}
    candidates = []
    for answer, part in parts.items():
        score = part * ceiling
        dense_rank, distance = near.get(answer, (None, None))
        lexical_rank, found = said.get(answer, (None, None))
        arms[answer] = Arms(dense_rank, distance, lexical_rank, found, score)
        candidates.append(Candidate(1.0 - score, *answer, payloads[answer]))
    candidates.sort(key=lambda one: (one.distance, one.corpus, one.id))
    return Fused(candidates, arms)


def first_of_each(
    candidates: Sequence[Candidate], names: Sequence[str], most: int
) -> tuple[list[Candidate], dict[str, int]]:
    """The first `most` of each corpus, in order, and how many those are."""
    counts = dict.fromkeys(names, 0)
    kept = []
    for candidate in candidates:
        if counts[candidate.corpus] < most:
            counts[candidate.corpus] += 1
            kept.append(candidate)
    return kept, counts


def _ranked(lexical: Sequence[Scored]) -> list[Scored]:
    return sorted(lexical, key=lambda one: (-one.score, one.corpus, one.id))


def _share(ranked: Sequence[Scored]) -> float:
    return ranked[0].score / (ranked[0].score + HALFWAY) if ranked else 0.0


def _by_rank(dense: Sequence[Candidate], ranked: Sequence[Scored], fusion: Fusion) -> dict[Answer, float]:
    """Reciprocal ranks, so that first place in both arms is 1."""
    parts: dict[Answer, float] = {}
    total = fusion.dense_weight + fusion.lexical_weight
    arms = (
        ([(one.corpus, one.id) for one in dense], fusion.dense_weight),
        ([(one.corpus, one.id) for one in ranked], fusion.lexical_weight),
    )
    for arm, weight in arms:
        for rank, answer in enumerate(arm):
            share = weight / total * (fusion.rrf_k + 1) / (fusion.rrf_k + rank + 1)
            parts[answer] = parts.get(answer, 0.0) + share
    return parts


def _by_spread(dense: Sequence[Candidate], ranked: Sequence[Scored], fusion: Fusion) -> dict[Answer, float]:
    """Each score as its place between three standard deviations below and above its arm's mean."""
    parts: dict[Answer, float] = {}
    total = fusion.dense_weight + fusion.lexical_weight
    arms = (
        ([(-one.distance, one.corpus, one.id) for one in dense], fusion.dense_weight),
        ([(one.score, one.corpus, one.id) for one in ranked], fusion.lexical_weight),
    )
    for arm, weight in arms:
        scores = [score for score, *_ in arm]
        mean, spread = (fmean(scores), pstdev(scores)) if scores else (0.0, 0.0)
        for score, corpus, item_id in arm:
            place = (score - mean + _SPREAD * spread) / (2 * _SPREAD * spread) if spread else 0.5
            share = weight / total * min(1.0, max(0.0, place))
            parts[corpus, item_id] = parts.get((corpus, item_id), 0.0) + share
    return parts
