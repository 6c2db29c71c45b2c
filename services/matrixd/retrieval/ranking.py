"""Merge, boost, inject, cut and explain, over plain values (M1, M2, M6, M7, M10).

    candidates ──merge──> cold list ──┐
                                      ├─ consult ─> Advice ─(fetch what to inject)─> rank ─> hits
    recollections of the playbook ────┘

Every order is distance, corpus, id, so that the same state gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from services.matrixd.playbooks.gates import Recollection, Terms, Verdict, admit, near
from services.matrixd.playbooks.guard import Guard

Answer = tuple[str, str]
"""A corpus, as the search spelled it, and an id."""

HALF = 0.5
"""The largest part of a distance that an entry may take away or add, so that one answer cannot own a question."""

_NO_VETOES: Mapping[Answer, Verdict] = {}


class Candidate(NamedTuple):
    """An item that retrieval found. `payload` is whatever the caller wants back with it."""

    distance: float
    corpus: str
    id: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Counted:
    """The entry that counts for an answer, with the verdicts that let it."""

    recollection: Recollection
    verdicts: tuple[Verdict, ...]


class Refused(NamedTuple):
    """An entry that was near but not used; a verdict that did not pass says why."""

    recollection: Recollection
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What a playbook says about a cold list."""

    boosts: Mapping[Answer, Counted] = field(default_factory=dict)
    injections: Mapping[Answer, Counted] = field(default_factory=dict)
    refused: Sequence[Refused] = ()


class Hit(NamedTuple):
    """An item of the answer. `cold_distance` and `cold_rank` are None when retrieval missed it."""

    distance: float
    corpus: str
    id: str
    payload: Any
    cold_distance: float | None
    cold_rank: int | None
    counted: Counted | None

    @property
    def injected(self) -> bool:
        """Whether the playbook brought it in."""
        return self.cold_distance is None

    @property
    def factor(self) -> float:
        """What its distance was multiplied with; 1 when nothing was."""
        if self.counted is None:
            return 1.0
        recollection = self.counted.recollection
        base = recollection.distance if self.cold_distance is None else self.cold_distance
        return boost_factor(base, recollection.effect)

    @property
    def boosted(self) -> bool:
        """Whether the playbook brought it nearer."""
        return self.cold_distance is not None and self.distance < self.cold_distance


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer of a search, and the entries it did not use."""

    hits: Sequence[Hit]
    refused: Sequence[Refused]


def boost_factor(distance: float, effect: float) -> float:
    """What an entry multiplies a distance with: one half at effect 1, 1 at 0, one and a half at -1.

    Inner-product distances may be negative; there the same part is added, since nearer is smaller.
    """
    return 1.0 - HALF * effect if distance >= 0 else 1.0 + HALF * effect


def merge(found: Sequence[Sequence[Candidate]]) -> Sequence[Candidate]:
    """One list of what several corpora found, each in its order: by distance, then corpus, then id. 0.3 us each."""
    if len(found) == 1:
        return found[0]
    return sorted((candidate for candidates in found for candidate in candidates), key=itemgetter(0, 1, 2))


def consult(
    cold: Sequence[Candidate], recollections: Iterable[Recollection], terms: Terms, guard: Guard | None = None
) -> Advice:
    """Decides which entries boost or move away, which would inject, and which are refused. About 5 us an entry."""
    present = {(candidate.corpus, candidate.id): candidate.payload for candidate in cold}
    boosts: dict[Answer, list[Counted]] = {}
    injections: dict[Answer, list[Counted]] = {}
    refused: list[Refused] = []
    for recollection in recollections:
        corpus = terms.asked(recollection.answer_corpus)
        answer = (corpus or "", recollection.answer_id)
        found = answer in present
        verdicts = admit(recollection, terms, corpus, found)
        if all(verdict.passed for verdict in verdicts):
            verdicts += _fit(recollection, terms, found)
            if guard is not None and verdicts[-1].passed:
                verdicts += _guarded(recollection, guard, present.get(answer))
            if verdicts[-1].passed:
                rivals = boosts if found else injections
                rivals.setdefault(answer, []).append(Counted(recollection, verdicts))
                continue
        refused.append(Refused(recollection, verdicts))
    return Advice(
        boosts={answer: _settle(rivals, _best(rivals), refused) for answer, rivals in boosts.items()},
        injections={answer: _settle(rivals, _nearest, refused) for answer, rivals in injections.items()},
        refused=refused,
    )


def _guarded(recollection: Recollection, guard: Guard, payload: Any) -> tuple[Verdict, ...]:
    verdict = guard.question(recollection)
    against = guard.answer(recollection, payload) if verdict.passed and payload is not None else None
    return (against or verdict,)


def rank(
    cold: Sequence[Candidate],
    advice: Advice,
    fetched: Mapping[Answer, Any],
    k: int,
    guard: Guard | None = None,
    vetoes: Mapping[Answer, Verdict] = _NO_VETOES,
) -> Ranking:
    """Boosts, injects what was fetched, sorts and cuts to `k`.

    `fetched` holds the payloads of the injections, `vetoes` what a judge has against some of them.
    """
    if not advice.boosts and not advice.injections:
        top = [Hit(*candidate, candidate.distance, place, None) for place, candidate in enumerate(cold[:k])]
        return Ranking(top, sorted(advice.refused, key=_nearest))
    hits = [_hit(candidate, place, advice) for place, candidate in enumerate(cold)]
    refused = list(advice.refused)
    for answer, counted in advice.injections.items():
        against = _against(answer, counted, fetched, guard) or vetoes.get(answer)
        if against is None:
            hits.append(_injected(answer, counted, fetched[answer]))
        else:
            refused.append(Refused(counted.recollection, (*counted.verdicts, against)))
    hits.sort(key=itemgetter(0, 1, 2))
    return Ranking(hits[:k], sorted(refused, key=_nearest))


def _against(answer: Answer, counted: Counted, fetched: Mapping[Answer, Any], guard: Guard | None) -> Verdict | None:
    if answer not in fetched:
        return Verdict("filter", False, "the answer is gone or does not pass the filter")
    return guard.answer(counted.recollection, fetched[answer]) if guard is not None else None


def _fit(recollection: Recollection, terms: Terms, found: bool) -> tuple[Verdict, ...]:
    if found:
        return (near(recollection.distance, terms.limits.boost, "boost" if recollection.effect >= 0 else "move"),)
    missed = Verdict("present", True, "retrieval missed the answer")
    return (missed, near(recollection.distance, terms.limits.inject, "inject"))


def _settle(rivals: list[Counted], order: Callable[[Counted], Any], refused: list[Refused]) -> Counted:
    """One entry counts for an answer; the others are refused."""
    first, *others = sorted(rivals, key=order)
    for counted in others:
        settled = Verdict("present", False, f"entry {first.recollection.playbook_id} counts for this answer")
        refused.append(Refused(counted.recollection, (*counted.verdicts, settled)))
    return first


def _best(rivals: Sequence[Counted]) -> Callable[[Counted], Any]:
    """The order in which entries for one answer count.

    Where they disagree, those count whose nearest question is nearer, then was recorded later. Among
    those that agree, the strongest counts.
    """
    nearest = min(rivals, key=lambda one: (one.recollection.distance, _age(one.recollection.recorded_at)))
    outcome = nearest.recollection.outcome

    def order(counted: Counted) -> tuple[bool, float, float, str]:
        recollection = counted.recollection
        differs = recollection.outcome != outcome
        return (differs, -abs(recollection.effect), recollection.distance, recollection.playbook_id)

    return order


def _age(recorded_at: str) -> tuple[int, ...]:
    return tuple(-ord(character) for character in recorded_at)


def _nearest(counted: Counted | Refused) -> tuple[float, str]:
    return (counted.recollection.distance, counted.recollection.playbook_id)


def _hit(candidate: Candidate, place: int, advice: Advice) -> Hit:
    distance, corpus, identifier, payload = candidate
    counted = advice.boosts.get((corpus, identifier)) if advice.boosts else None
    if counted is None:
        return Hit(distance, corpus, identifier, payload, distance, place, None)
    boosted = distance * boost_factor(distance, counted.recollection.effect)
    return Hit(boosted, corpus, identifier, payload, distance, place, counted)


def _injected(answer: Answer, counted: Counted, payload: Any) -> Hit:
    recollection = counted.recollection
    distance = recollection.distance * boost_factor(recollection.distance, recollection.effect)
    passed = Verdict("filter", True, "the answer exists and passes the filter")
    return Hit(distance, *answer, payload, None, None, Counted(recollection, (*counted.verdicts, passed)))
