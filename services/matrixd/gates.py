"""The gates a playbook entry must pass before it may touch an answer (M2, M6-M8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from services.matrixd.playbook import ACCEPTED
from services.matrixd.roles import same_role
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far an entry's question may lie from this one: to boost what was found, to inject what was missed."""

    boost: float
    inject: float


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


def admit(recollection: Recollection, terms: Terms, corpus: str | None) -> tuple[Verdict, ...]:
    """The verdicts that do not depend on what the search found; `corpus` is what `asked` says. About 2 us."""
    return (_outcome(recollection), _role(recollection, terms), _excluded(recollection, terms, corpus))


def near(distance: float, limit: float, purpose: str) -> Verdict:
    """Whether a question is near enough; `purpose` is `boost` or `inject`."""
    passed = distance <= limit
    return Verdict("distance", passed, f"{distance:.4f} is {'within' if passed else 'beyond'} {limit:g} to {purpose}")


def _outcome(recollection: Recollection) -> Verdict:
    accepted = recollection.outcome == ACCEPTED
    return Verdict("outcome", accepted, "the answer was accepted" if accepted else "the answer was rejected")


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
