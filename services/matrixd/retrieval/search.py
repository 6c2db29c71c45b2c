"""A search over corpora and playbook: fetch at once, then decide (M1, M2, M5-M8).

One query vector serves every corpus and the playbook. All that ranks is in `ranking` and `fusion`, all
that decides about remembered answers in `gates` and `guard`; here is only what has to be asked of the
neighbours, and in which order.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import encoded_pb2, filter_pb2

from services.matrixd.corpora.corpora import Corpora, CorpusInfo
from services.matrixd.corpora.texts import Texts
from services.matrixd.errors import CorpusNotFound, MissingQuery, MixedModels, NotAPlaybook, NoTexts
from services.matrixd.playbooks.constraints import Constraints
from services.matrixd.playbooks.gates import Recollection, Terms, Verdict
from services.matrixd.playbooks.guard import Guard
from services.matrixd.playbooks.judge import JudgeTerms, Rated, make_judge
from services.matrixd.playbooks.remembered import recollections
from services.matrixd.playbooks.retirement import Retirement
from services.matrixd.playbooks.vocabularies import Vocabularies
from services.matrixd.retrieval.fusion import Arms, Fused, Fusion, Scored, by_words, first_of_each, fuse
from services.matrixd.retrieval.lexicons import Lexicons
from services.matrixd.retrieval.limits import LimitTable
from services.matrixd.retrieval.prefilter import Prefilter, Restriction, narrowed
from services.matrixd.retrieval.ranking import Advice, Answer, Candidate, Ranking, consult, merge, rank
from services.matrixd.retrieval.together import together
from services.matrixd.retrieval.usual import Usual
from services.runtime.errors import InvalidArgument, Violation
from services.runtime.names import same_name

_MAYBE_STALE = ("WRONG_DIMENSION", "MIXED_MODELS")
_NO_ADVICE = Advice()
_NOTHING: Mapping[Answer, bytes] = {}
_FREE: Mapping[str, Restriction] = {}
_UNRATED: Mapping[Answer, Rated] = {}

DENSE, LEXICAL, HYBRID = "dense", "lexical", "hybrid"
_FUSED_DEPTH = 50
"""The fewest hits that each arm gives where two are fused: what one has at the top, the other may have far below."""
_DOUBTS = 8
_EVIDENCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to search for and how. With both text and vector, the vector is searched for."""

    text: str
    vector: Sequence[float]
    corpora: Sequence[str]
    k: int
    per_corpus_k: int
    filter: filter_pb2.Filter | None
    exclude_ids: Sequence[str]
    playbook: str | None
    """The playbook to read; None for a cold search."""
    playbook_top_k: int
    boost_limit: float | None
    inject_limit: float | None
    role: str
    explain: bool
    guard: bool = True
    retrieval: str = DENSE
    retrieval_asked: bool = True
    """Whether the caller named it; a default gives way where a corpus has no words."""
    fusion: Fusion = field(default_factory=Fusion)
    sql: str = ""
    where: str = ""
    judge: JudgeTerms | None = None

    @property
    def depth(self) -> int:
        """How many hits each arm of each corpus gives."""
        return self.per_corpus_k if self.retrieval == DENSE else max(self.per_corpus_k, _FUSED_DEPTH)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer: hits, how many items of each corpus were ranked, and the model that embedded the question."""

    ranking: Ranking
    counts: Mapping[str, int]
    model: str
    arms: Mapping[Answer, Arms] | None = None
    """What each arm said; None for a dense search."""
    asked: Constraints | None = None
    ratings: Mapping[Answer, Rated] = field(default_factory=dict)
    stretch: bool | None = None
    """Whether even the best hit lies farther away than answers usually do; None while that is not known."""


@dataclass(frozen=True, slots=True)
class _Retrieved:
    """What retrieval found, before anything is remembered."""

    cold: Sequence[Candidate]
    counts: Mapping[str, int]
    arms: Mapping[Answer, Arms] | None
    remembered: Sequence[encoded_pb2.EncodedHit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Helpers:
    """What a search asks beside vectord and embedd, each only when it is needed."""

    vocabularies: Vocabularies
    lexicons: Lexicons
    prefilter: Prefilter
    retirement: Retirement
    usual: Usual


class Searcher:
    """Runs searches. Stateless but for what it believes of corpora."""

    def __init__(
        self, corpora: Corpora, texts: Texts, limits: LimitTable, helpers: Helpers, half_life_days: float
    ) -> None:
        """A recording loses half of its weight in `half_life_days`; never for 0."""
        self._corpora = corpora
        self._texts = texts
        self._limits = limits
        self._helpers = helpers
        self._half_life_days = half_life_days

    async def search(self, query: Query) -> Found:
        """Searches every corpus or fails: a silent part of an answer would lie about coverage.

        Raises MissingQuery, MixedModels, NotAPlaybook, CorpusNotFound, CorpusFailed, InvalidArgument.
        """
        if (not query.vector or query.retrieval != DENSE) and not query.text.strip():
            message = "give query_text, or query_vector" if query.retrieval == DENSE else "give words to search for"
            raise MissingQuery(message, violations=[Violation("query_text", message)], field="query_text")
        names = distinct(query.corpora)
        try:
            return await self._attempt(query, names)
        except NoTexts:
            if query.retrieval_asked:
                raise
            query = replace(query, retrieval=DENSE)
        except InvalidArgument as error:
            # A corpus that was deleted and made anew may have another model than it had a moment ago.
            believed = [*names, query.playbook] if query.playbook is not None else names
            if error.reason not in _MAYBE_STALE or not self._corpora.forget(believed):
                raise
        return await self._attempt(query, names)

    async def _attempt(self, query: Query, names: Sequence[str]) -> Found:
        model, playbook = await self._basis(query, names)
        vector, embedded = query.vector, ""
        if not vector and (query.retrieval != LEXICAL or playbook is not None):
            made = await self._texts.embed([query.text], model)
            vector, model, embedded = made.rows[0], made.model, made.model
        restrictions = await self._restrict(query, names) if query.sql or query.where else _FREE
        found = await self._retrieve(query, names, vector, playbook, restrictions)
        advice, fetched, guard, ratings = _NO_ADVICE, _NOTHING, None, _UNRATED
        vetoes: Mapping[Answer, Verdict] = {}
        if found.remembered and playbook is not None:
            terms = self._terms(query, names, model)
            entries = recollections(
                found.remembered, math.inf if query.explain else terms.limits.reach, self._half_life_days
            )
            guard = await self._guard(query, names, entries, terms, model)
            advice = consult(found.cold, entries, terms, guard)
            fetched = await self._fetch(advice, query, restrictions)
            if query.judge is not None and query.judge.judge and fetched:
                ratings, vetoes = await self._judge(query, query.judge, fetched)
            self._notice_gone(query, playbook, advice, fetched)
        elif query.explain and query.text:
            guard = Guard(query.text, await self._helpers.vocabularies.reader(names))
        ranking = rank(found.cold, advice, fetched, query.k, guard, vetoes)
        if query.judge is not None and query.judge.rate_top:
            ratings = {**ratings, **await self._rate_top(query, query.judge, ranking)}
        asked = guard.asked if guard is not None and query.explain else None
        stretch = await self._stretch(found, ranking) if self._helpers.usual.known else None
        return Found(ranking, found.counts, embedded, found.arms, asked, ratings, stretch)

    async def _retrieve(
        self,
        query: Query,
        names: Sequence[str],
        vector: Sequence[float],
        playbook: CorpusInfo | None,
        restrictions: Mapping[str, Restriction],
    ) -> _Retrieved:
        """Asks every arm of every corpus, and the playbook, at once."""
        works: list[Coroutine[Any, Any, Sequence[Any]]] = []
        if query.retrieval != LEXICAL:
            works += [self._candidates(query, name, vector, restrictions.get(name)) for name in names]
        if query.retrieval != DENSE:
            works += [self._words(query, name, restrictions.get(name)) for name in names]
        if playbook is not None:
            works.append(self._remembered(query, playbook, vector))
        results = await together(works)
        remembered = results.pop() if playbook is not None else ()
        if query.retrieval == DENSE:
            counts = {name: len(found) for name, found in zip(names, results, strict=True)}
            return _Retrieved(merge(results), counts, None, remembered)
        fused = _fused(query, names, results)
        kept, counts = first_of_each(fused.candidates, names, query.per_corpus_k)
        return _Retrieved(kept, counts, fused.arms, remembered)

    async def _basis(self, query: Query, names: Sequence[str]) -> tuple[str, CorpusInfo | None]:
        """The model that all vectors come from, empty when unknown or not needed, and the playbook if there is one."""
        if query.vector and query.playbook is None:
            return "", None
        infos = [self._corpora.known(name) or await self._corpora.get(name) for name in names]
        playbook = await self._corpora.find(query.playbook) if query.playbook is not None else None
        if playbook is not None:
            if not playbook.is_playbook:
                raise NotAPlaybook(f"{playbook.name!r} is a corpus, not a playbook", corpus=playbook.name)
            infos = [*infos, playbook]
        return await self._model(infos), playbook

    async def _model(self, infos: Sequence[CorpusInfo]) -> str:
        models = {info.model for info in infos}
        if len(models) > 1 and "" in models:
            models = (models - {""}) | {await self._texts.default_model()}
        if len(models) > 1:
            listing = ", ".join(f"{info.name!r} by {info.model or 'the default model'}" for info in infos)
            message = f"one question cannot be asked of vectors from different models: {listing}"
            raise MixedModels(message, models=",".join(sorted(models)))
        return models.pop()

    async def _candidates(
        self, query: Query, name: str, vector: Sequence[float], restriction: Restriction | None
    ) -> list[Candidate]:
        condition, ids = query.filter, None
        if restriction is not None:
            if restriction.empty:
                return []
            condition, ids = narrowed(query.filter, restriction)
        hits = await self._corpora.search(
            name, vector, query.depth, filter=condition, exclude_ids=query.exclude_ids, ids=ids
        )
        return [Candidate(hit.distance, name, hit.id, hit.metadata) for hit in hits]

    async def _words(self, query: Query, name: str, restriction: Restriction | None) -> list[Scored]:
        condition, ids = query.filter, None
        if restriction is not None:
            if restriction.empty:
                return []
            condition, ids = narrowed(query.filter, restriction)
        return await self._helpers.lexicons.search(
            name, query.text, query.depth, condition=condition, exclude_ids=query.exclude_ids, ids=ids
        )

    async def _restrict(self, query: Query, names: Sequence[str]) -> Mapping[str, Restriction]:
        """What may be ranked of each corpus, met exactly before anything is."""
        infos = [await self._corpora.get(name) for name in names]
        prefilter = self._helpers.prefilter
        found = await together([prefilter.restrict(info, query.sql, query.where) for info in infos])
        return dict(zip(names, found, strict=True))

    async def _remembered(
        self, query: Query, playbook: CorpusInfo, vector: Sequence[float]
    ) -> Sequence[encoded_pb2.EncodedHit]:
        try:
            return await self._corpora.search(playbook.name, vector, query.playbook_top_k)
        except CorpusNotFound:
            # Deleted a moment ago: everything is forgotten, and that is what was asked for.
            return ()

    def _terms(self, query: Query, names: Sequence[str], model: str) -> Terms:
        return Terms(
            corpora={same_name(name): name for name in names},
            excluded_ids=frozenset(query.exclude_ids),
            role=query.role,
            limits=self._limits.of(model, boost=query.boost_limit, inject=query.inject_limit),
        )

    async def _guard(
        self, query: Query, names: Sequence[str], entries: Sequence[Recollection], terms: Terms, model: str
    ) -> Guard | None:
        """The guard of this search, which knows what the words mean that it has to know."""
        if not query.guard or not query.text or not entries:
            return None
        guard = Guard(query.text, await self._helpers.vocabularies.reader(names))
        near = [
            entry
            for entry in entries
            if entry.distance <= terms.limits.reach and terms.asked(entry.answer_corpus) is not None
        ]
        doubts = guard.doubts(near)[:_DOUBTS]
        if doubts:
            asked = list(dict.fromkeys((one.corpus, words) for one in doubts for words in (one.words, *one.apart)))
            found = dict(zip(asked, await together([self._evidence(*one, model) for one in asked]), strict=True))
            for doubt in doubts:
                apart = [found[doubt.corpus, word] for word in doubt.apart]
                guard.learn(doubt, found[doubt.corpus, doubt.words], apart)
        return guard

    async def _evidence(self, corpus: str, words: str, model: str) -> Sequence[Struct]:
        """The metadata of what some words find: by the words themselves where they are at hand, else by meaning."""
        found = await self._helpers.lexicons.evidence(corpus, words, 2 * _EVIDENCE)
        if found is not None:
            return found
        made = await self._texts.embed([words], model)
        hits = await self._corpora.search(corpus, made.rows[0], _EVIDENCE)
        return [Struct.FromString(hit.metadata) for hit in hits]

    async def _fetch(
        self, advice: Advice, query: Query, restrictions: Mapping[str, Restriction]
    ) -> Mapping[Answer, bytes]:
        """The metadata of what is to be injected, where it exists and passes filter and restriction."""
        if not advice.injections:
            return _NOTHING
        ids: dict[str, list[str]] = {}
        for corpus, answer_id in advice.injections:
            ids.setdefault(corpus, []).append(answer_id)
        works = []
        for corpus, wanted in ids.items():
            condition, restriction = query.filter, restrictions.get(corpus)
            if restriction is not None:
                condition, among = narrowed(query.filter, restriction)
                allowed = frozenset(restriction.ids)
                wanted[:] = [one for one in wanted if among is None or one in allowed] if allowed else []
            works.append(self._corpora.metadata(corpus, wanted, condition))
        found = await together(works)
        return {
            (corpus, answer_id): metadata.SerializeToString()
            for corpus, items in zip(ids, found, strict=True)
            for answer_id, metadata in items.items()
        }

    def _notice_gone(self, query: Query, playbook: CorpusInfo, advice: Advice, fetched: Mapping[Answer, bytes]) -> None:
        """Has the entries looked at whose answers were not found, if nothing but their absence can be why."""
        if advice.injections and query.filter is None and not query.sql and not query.where:
            gone = [one.recollection for answer, one in advice.injections.items() if answer not in fetched]
            if gone:
                self._helpers.retirement.retire_later(playbook.name, [entry.playbook_id for entry in gone])

    async def _stretch(self, found: _Retrieved, ranking: Ranking) -> bool | None:
        """Whether the best hit is an unusual one. What the playbook put on top is not."""
        if not ranking.hits:
            return None
        if ranking.hits[0].injected or ranking.hits[0].boosted:
            return False
        best: tuple[float, str] | None = None
        if found.arms is None:
            best = (found.cold[0].distance, found.cold[0].corpus)
        else:
            near = [(arms.dense_distance, answer[0]) for answer, arms in found.arms.items()]
            best = min(((distance, corpus) for distance, corpus in near if distance is not None), default=None)
        if best is None:
            return None
        limit = await self._helpers.usual.limit(best[1])
        return best[0] > limit if limit is not None else None

    async def _judge(
        self, query: Query, terms: JudgeTerms, fetched: Mapping[Answer, bytes]
    ) -> tuple[Mapping[Answer, Rated], Mapping[Answer, Verdict]]:
        """The ratings of what is to be injected, and what the judge has against some of it."""
        keys = {f"{place}": answer for place, answer in enumerate(fetched)}
        answers = {key: Struct.FromString(fetched[answer]) for key, answer in keys.items()}
        rated = await make_judge(terms).rate(terms.original_text or query.text, answers)
        ratings = {keys[key]: one for key, one in rated.items()}
        vetoes = {
            answer: Verdict("judge", False, f"rated {one.rating or 'not at all'}: {one.detail}")
            for answer, one in ratings.items()
            if one.rating is None or one.rating < terms.minimum
        }
        return ratings, vetoes

    async def _rate_top(self, query: Query, terms: JudgeTerms, ranking: Ranking) -> Mapping[Answer, Rated]:
        if not ranking.hits:
            return _UNRATED
        top = ranking.hits[0]
        rated = await make_judge(terms).rate(
            terms.original_text or query.text, {top.id: Struct.FromString(top.payload)}
        )
        return {(top.corpus, top.id): rated[top.id]}


def _fused(query: Query, names: Sequence[str], results: Sequence[Sequence[Any]]) -> Fused:
    lexical = [scored for found in results[-len(names) :] for scored in found]
    if query.retrieval == LEXICAL:
        return by_words(lexical)
    return fuse(merge(results[: len(names)]), lexical, query.fusion)


def distinct(names: Iterable[str]) -> list[str]:
    """Each name once, in order and as first spelled; names that differ in case are one name."""
    spelled: dict[str, str] = {}
    for name in names:
        normal = unicodedata.normalize("NFC", name)
        spelled.setdefault(same_name(normal), normal)
    return list(spelled.values())
