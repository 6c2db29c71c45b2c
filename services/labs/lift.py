"""Does it get better the second time? Ask cold, record the right answer, ask again, compare.

Every cold search runs before the first recording, so that no case profits from another. What is
right comes from outside the search (known truth), never from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.labs.rest import Found, Hit, RestClient

DEPTH = 100
"""How many hits each search asks for; what lies deeper counts as not found."""

_CONTROL_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question in two wordings, and the judgement of its hits."""

    label: str
    """What the case is about in a few words, for tables."""
    question: str
    paraphrase: str
    choose: Callable[[Sequence[Hit]], str | None]
    """Picks the id of the right answer when shown the cold hits; None when none of them is right."""
    role: str = ""
    """The role the question is about, for the role gate; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the right answer stood in one search; both absent when it was not among the hits."""

    rank: int | None
    """Counted from 0."""
    distance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One case before and after recording. Without an answer, or with it on top already, nothing is recorded."""

    case: Case
    answer: str | None
    cold: Standing
    cold_paraphrase: Standing
    warm: Standing | None = None
    warm_paraphrase: Standing | None = None
    hits_before: tuple[Hit, ...] = ()
    hits_after: tuple[Hit, ...] = ()

    @property
    def discovery(self) -> bool:
        """Whether there was something to learn: a right answer that was not on top."""
        return self.answer is not None and self.cold.rank != 0

    @property
    def lifted(self) -> bool:
        """Whether the recorded answer is on top when the same words are asked again."""
        return self.warm is not None and self.warm.rank == 0

    @property
    def recovered(self) -> bool:
        """Whether it is on top in other words, too."""
        return self.warm_paraphrase is not None and self.warm_paraphrase.rank == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A question of another kind, asked with and without the playbook: nothing about it may differ."""

    question: str
    hits: int
    unchanged: bool
    """Whether ids and distances are the same, hit by hit."""
    boosted: int
    injected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """The whole experiment."""

    trials: tuple[Trial, ...]
    control: Control | None
    """None when the data hold no question of another kind."""

    @property
    def discoveries(self) -> tuple[Trial, ...]:
        """The trials with something to learn."""
        return tuple(trial for trial in self.trials if trial.discovery)


class Experiment:
    """Runs cases against one corpus and the default playbook; each step is a few searches over REST."""

    def __init__(self, client: RestClient, corpus: str) -> None:
        self._client = client
        self._corpus = corpus

    async def cold(self, case: Case) -> Trial:
        """Asks both wordings without the playbook and lets the truth choose."""
        asked = await self._search(case.question, case.role, warm=False)
        reworded = await self._search(case.paraphrase, case.role, warm=False)
        answer = case.choose(asked.hits)
        return Trial(
            case=case,
            answer=answer,
            cold=_standing(asked, answer),
            cold_paraphrase=_standing(reworded, answer),
            hits_before=asked.hits[:3],
        )

    async def record(self, trial: Trial) -> str:
        """Records the right answer of a discovery; returns the playbook_id."""
        entry: dict[str, Any] = {
            "query_text": trial.case.question,
            "answer_id": trial.answer,
            "answer_corpus": self._corpus,
            "score": 1.0,
            "judged_by": "known truth",
        }
        if trial.case.role:
            entry["role"] = trial.case.role
        return await self._client.record(entry)

    async def warm(self, trial: Trial) -> Trial:
        """Asks both wordings again, with the playbook."""
        case = trial.case
        asked = await self._search(case.question, case.role, warm=True)
        reworded = await self._search(case.paraphrase, case.role, warm=True)
        return replace(
            trial,
            warm=_standing(asked, trial.answer),
            warm_paraphrase=_standing(reworded, trial.answer),
            hits_after=asked.hits[:3],
        )

    async def run(self, trials: Sequence[Trial], control: str | None) -> Lift:
        """Records what the cold trials discovered and asks everything again, the control question too."""
        for trial in trials:
            if trial.discovery:
                await self.record(trial)
        after = [await self.warm(trial) if trial.discovery else trial for trial in trials]
        return Lift(trials=tuple(after), control=await self._control(control) if control else None)

    async def _control(self, question: str) -> Control:
        """Asks the control question without and with the playbook.

        Once more if the answers differ though the playbook had no part in it: meanwhile the index may
        have sealed what was added, and a graph may find another hundredth hit than a scan.
        """
        for _ in range(_CONTROL_ATTEMPTS):
            without = await self._search(question, "", warm=False)
            found = await self._search(question, "", warm=True)
            if _same(without, found) or found.boosted or found.injected:
                break
        return Control(
            question=question,
            hits=len(found.hits),
            unchanged=_same(without, found),
            boosted=found.boosted,
            injected=found.injected,
        )

    async def _search(self, text: str, role: str, *, warm: bool) -> Found:
        request: dict[str, Any] = {
            "query_text": text,
            "corpora": [self._corpus],
            "k": DEPTH,
            "use_playbook": warm,
        }
        if role:
            request["query_role"] = role
        return await self._client.search(request)


def _standing(found: Found, answer: str | None) -> Standing:
    rank = found.rank(answer) if answer is not None else None
    return Standing(rank=rank, distance=None if rank is None else found.hits[rank].distance)


def _same(left: Found, right: Found) -> bool:
    return [(hit.id, hit.distance) for hit in left.hits] == [(hit.id, hit.distance) for hit in right.hits]
