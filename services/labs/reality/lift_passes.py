"""Ask cold, judge, record the best, ask again, ask in other words, judge again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.labs.judges import ACCEPTED
from services.labs.matrix import Answer, each
from services.labs.queries import Query
from services.labs.rest import Json
from services.labs.world import World

PURPOSE = "lift"
TOO_FAR = 2.0
"""A recorded answer that lies so many times as far as the first one cannot pass it: a distance is halved at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One search: where the recorded answer stood, and how the first hit was rated."""

    rank: int | None
    """Counted from 0; None when it was not among the hits."""
    distance: float | None
    top_id: str
    top_distance: float | None
    top_rating: int | None
    boosted: int = 0
    injected: int = 0
    strangers: int = 0
    """Hits moved by an entry that was recorded for another role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One question from the first search to the last."""

    query: Query
    ids: tuple[str, ...]
    ratings: tuple[int | None, ...]
    best: str = ""
    """The id of the best answer that was rated; empty when none was worth remembering."""
    best_corpus: str = ""
    best_rating: int | None = None
    cold: Seen
    warm: Seen | None = None
    cold_paraphrases: tuple[Seen, ...] = ()
    warm_paraphrases: tuple[Seen, ...] = ()
    playbook_id: str = ""
    stretch: bool | None = None
    """Whether the mesh calls the first answer far-fetched, at the end; None when it does not say."""

    @property
    def recorded(self) -> bool:
        """Whether the playbook was given an answer."""
        return bool(self.playbook_id)

    @property
    def discovery(self) -> bool:
        """Whether the best answer was not on top, so that there was something to learn."""
        return self.recorded and self.cold.rank != 0

    @property
    def lifted(self) -> bool:
        """Whether the recorded answer is on top now."""
        return self.warm is not None and self.warm.rank == 0

    @property
    def out_of_reach(self) -> bool:
        """Whether even half its distance is more than that of the first hit."""
        first, mine = self.cold.top_distance, self.cold.distance
        return first is not None and mine is not None and mine > TOO_FAR * first


class Passes:
    """The passes of one run; each is a few searches for a question."""

    def __init__(self, world: World, k: int) -> None:
        self._world = world
        self._k = k

    async def run(self) -> tuple[Round, ...]:
        """All passes over all questions. Raises ServiceError."""
        playbook = self._world.playbook(PURPOSE)
        await self._world.client.drop_index(playbook)
        rounds = await each(self._cold, self._world.queries)
        rounds = await self._record(rounds, playbook)
        if not any(one.recorded for one in rounds):
            return tuple(rounds)
        roles = {one.playbook_id: one.query.role for one in rounds if one.recorded}

        async def warm(one: Round) -> Round:
            return await self._warm(one, roles)

        return tuple(await each(warm, rounds))

    async def stretches(self, rounds: Sequence[Round]) -> tuple[Round, ...]:
        """Asks once more whether answers are far-fetched: the mesh learns what is usual on the way, in its own time."""

        async def again(one: Round) -> Round:
            return replace(one, stretch=(await self._ask(one.query, one.query.text, warm=False)).stretch)

        return tuple(await each(again, rounds))

    async def _cold(self, query: Query) -> Round:
        answer = await self._ask(query, query.text, warm=False)
        ratings = await self._world.judge.rate(query, answer.hits)
        rank, best_rating = _best(ratings)
        hit = None if rank is None else answer.hits[rank]
        best = hit.id if hit else ""
        paraphrases = [await self._ask(query, text, warm=False) for text in query.paraphrases]
        return Round(
            query=query,
            ids=answer.ids,
            ratings=tuple(ratings),
            best=best,
            best_corpus=hit.corpus if hit else "",
            best_rating=best_rating,
            cold=await self._seen(query, answer, best, {}),
            cold_paraphrases=tuple([await self._seen(query, other, best, {}) for other in paraphrases]),
        )

    async def _record(self, rounds: Sequence[Round], playbook: str) -> list[Round]:
        worth = [one for one in rounds if one.best and not one.query.out_of_domain]
        found = await self._world.client.record_all([self._entry(one) for one in worth], playbook)
        ids = {one.query.id: ident for one, ident in zip(worth, found, strict=True)}
        return [replace(one, playbook_id=ids.get(one.query.id, "")) for one in rounds]

    def _entry(self, one: Round) -> Json:
        return {
            "query_text": one.query.text,
            "answer_id": one.best,
            "answer_corpus": one.best_corpus,
            "score": 1.0,
            "judged_by": self._world.judge.name[:60],
            **({"role": one.query.role} if one.query.role else {}),
        }

    async def _warm(self, one: Round, roles: dict[str, str]) -> Round:
        answer = await self._ask(one.query, one.query.text, warm=True)
        others = [await self._ask(one.query, text, warm=True) for text in one.query.paraphrases]
        return replace(
            one,
            warm=await self._seen(one.query, answer, one.best, roles),
            warm_paraphrases=tuple([await self._seen(one.query, other, one.best, roles) for other in others]),
        )

    async def _ask(self, query: Query, text: str, *, warm: bool) -> Answer:
        request: Json = {"query_text": text, "corpora": list(self._world.corpora), "k": self._k}
        if warm:
            request |= {"use_playbook": True, "playbook_corpus": self._world.playbook(PURPOSE)}
        if query.role:
            request["query_role"] = query.role
        return await self._world.client.ask(request)

    async def _seen(self, query: Query, answer: Answer, best: str, roles: dict[str, str]) -> Seen:
        top = answer.hits[:1]
        rated = await self._world.judge.rate(query, top) if top else [None]
        rank = answer.rank(best) if best else None
        return Seen(
            rank=rank,
            distance=None if rank is None else answer.hits[rank].distance,
            top_id=top[0].id if top else "",
            top_distance=top[0].distance if top else None,
            top_rating=rated[0],
            boosted=answer.boosted,
            injected=answer.injected,
            strangers=sum(hit.moved and roles.get(hit.playbook_id, query.role) != query.role for hit in answer.hits),
        )


def _best(ratings: Sequence[int | None]) -> tuple[int | None, int | None]:
    """The rank and rating of the best hit that is worth remembering, the nearest of equals."""
    worth = [(-value, rank) for rank, value in enumerate(ratings) if value is not None and value >= ACCEPTED]
    if not worth:
        return None, None
    value, rank = min(worth)
    return rank, -value
