"""The gates a playbook entry must pass before it may touch an answer (M2, M6-M8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from services.matrixd.playbooks.playbook import ACCEPTED
from services.matrixd.playbooks.roles import same_role
from services.runtime.names import same_name


class Verdict(NamedTuple):
    """What one gate said about one entry."""

    gate: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """A playbook entry that a search found: what it recommends, and how far its question lies from this one."""

    playbook_id: str
    answer_id: str
    answer_corpus: str
    score: float
    outcome: str
    role: str
    distance: float
    query_text: str = ""
    recorded_at: str = ""
    """In ISO 8601 and UTC, so that later is greater."""
    weight: float = 1.0
    """What decay has left of its score, 0 to 1."""
    retired: str = ""
    """Why it does not count any more; empty while it counts."""

    @property
    def effect(self) -> float:
        """What it does to a distance: up to 1 brings the answer nearer, down to -1 moves it away."""
        effect = self.score * self.weight
        return effect if self.outcome == ACCEPTED else -effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far an entry's question may lie from this one: to boost what was found, to inject what was missed."""

    boost: float
    inject: float

    @property
    def reach(self) -> float:
        """How far an entry may lie to do anything."""
        return max(self.boost, self.inject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a search asks of the playbook. `corpora` are the corpora asked, keyed by `same_name`."""

    corpora: Mapping[str, str]
    excluded_ids: frozenset[str]
    role: str
    limits: Limits

    def asked(self, corpus: str) -> str | None:
        """The corpus as the search spelled it; None when it was not asked."""
        return self.corpora.get(_key(corpus))


def admit(recollection: Recollection, terms: Terms, corpus: str | None, found: bool) -> tuple[Verdict, ...]:
    """The verdicts that need nothing but the entry; `corpus` is what `asked` says. About 2 us.

    `found` tells whether retrieval found the answer: only then is there something to move away.
    """
    return (
        _outcome(recollection, found),
        _RETIRED_NOT if not recollection.retired else Verdict("retired", False, recollection.retired),
        _role(recollection, terms),
        _excluded(recollection, terms, corpus),
    )


def near(distance: float, limit: float, purpose: str) -> Verdict:
    """Whether a question is near enough; `purpose` is `boost` or `inject`."""
    passed = distance <= limit
    return Verdict("distance", passed, f"{distance:.4f} is {'within' if passed else 'beyond'} {limit:g} to {purpose}")


_RETIRED_NOT = Verdict("retired", True, "the entry counts")


def _outcome(recollection: Recollection, found: bool) -> Verdict:
    if recollection.outcome == ACCEPTED:
        return Verdict("outcome", True, "the answer was accepted")
    return Verdict("outcome", found, f"the answer was rejected{'' if found else ' and was not found'}")


def _role(recollection: Recollection, terms: Terms) -> Verdict:
    if not terms.role or not recollection.role:
        return Verdict("role", True, "no role on one side")
    same = same_role(recollection.role, terms.role)
    return Verdict("role", same, "the same role" if same else f"recorded for {recollection.role!r}")


def _excluded(recollection: Recollection, terms: Terms, corpus: str | None) -> Verdict:
    if corpus is None:
        return Verdict("excluded", False, f"corpus {recollection.answer_corpus!r} was not asked")
    if recollection.answer_id in terms.excluded_ids:
        return Verdict("excluded", False, "the answer is excluded")
    return Verdict("excluded", True, "the answer may be returned")


@lru_cache(maxsize=1_024)
def _key(corpus: str) -> str:
    # Every entry of a playbook names a corpus, and they are always the same few.
    return same_name(corpus)
