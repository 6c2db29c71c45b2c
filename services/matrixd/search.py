"""A search over corpora and playbook: fetch at once, then decide (M1, M2, M5-M8).

One query vector serves every corpus and the playbook. All that ranks is in `ranking`; here is only
what has to be asked of the neighbours, and in which order.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import filter_pb2, vector_pb2

from services.matrixd.corpora import Corpora, CorpusInfo
from services.matrixd.errors import CorpusNotFound, MissingQuery, MixedModels, NotAPlaybook
from services.matrixd.gates import Recollection, Terms
from services.matrixd.limits import LimitTable
from services.matrixd.ranking import Advice, Answer, Candidate, Ranking, consult, merge, rank
from services.matrixd.texts import Texts
from services.matrixd.together import together
from services.runtime.errors import InvalidArgument, Violation
from services.runtime.names import same_name

_MAYBE_STALE = ("WRONG_DIMENSION", "MIXED_MODELS")
_NO_ADVICE = Advice()
_NOTHING: Mapping[Answer, Struct] = {}


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


@dataclass(frozen=True, slots=True)
class Found:
    """The answer: hits, how many items of each corpus were ranked, and the model that embedded the question."""

    ranking: Ranking
    counts: Mapping[str, int]
    model: str


class Searcher:
    """Runs searches. Stateless but for what it believes of corpora."""

    def __init__(self, corpora: Corpora, texts: Texts, limits: LimitTable) -> None:
        self._corpora = corpora
        self._texts = texts
        self._limits = limits

    async def search(self, query: Query) -> Found:
        """Searches every corpus or fails: a silent part of an answer would lie about coverage.

        Raises MissingQuery, MixedModels, NotAPlaybook, CorpusNotFound, CorpusFailed, InvalidArgument.
        """
        if not query.vector and not query.text.strip():
            message = "give query_text, or query_vector"
            raise MissingQuery(message, violations=[Violation("query_text", message)], field="query_text")
        names = distinct(query.corpora)
        try:
            return await self._attempt(query, names)
        except InvalidArgument as error:
            # A corpus that was deleted and made anew may have another model than it had a moment ago.
            believed = [*names, query.playbook] if query.playbook is not None else names
            if error.reason not in _MAYBE_STALE or not self._corpora.forget(believed):
                raise
        return await self._attempt(query, names)

    async def _attempt(self, query: Query, names: Sequence[str]) -> Found:
        model, playbook = await self._basis(query, names)
        vector, embedded = query.vector, ""
        if not vector:
            made = await self._texts.embed([query.text], model)
            vector, model, embedded = made.rows[0], made.model, made.model
        works: list[Coroutine[Any, Any, Sequence[Any]]] = [self._candidates(query, name, vector) for name in names]
        if playbook is not None:
            works.append(self._remembered(query, playbook, vector))
        results = await together(works)
        remembered = results.pop() if playbook is not None else ()
        cold = merge(results)
        advice, fetched = _NO_ADVICE, _NOTHING
        if remembered:
            terms = self._terms(query, names, model)
            advice = consult(cold, recollections(remembered, query, terms), terms)
            fetched = await self._fetch(advice, query.filter)
        counts = {name: len(found) for name, found in zip(names, results, strict=True)}
        return Found(rank(cold, advice, fetched, query.k), counts, embedded)

    async def _basis(self, query: Query, names: Sequence[str]) -> tuple[str, CorpusInfo | None]:
        """The model that all vectors come from, empty when unknown or not needed, and the playbook if there is one."""
        if query.vector and query.playbook is None:
            return "", None
        infos = await together([self._corpora.get(name) for name in names])
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

    async def _candidates(self, query: Query, name: str, vector: Sequence[float]) -> list[Candidate]:
        hits = await self._corpora.search(
            name, vector, query.per_corpus_k, filter=query.filter, exclude_ids=query.exclude_ids
        )
        return [Candidate(hit.distance, name, hit.id, hit.metadata) for hit in hits]

    async def _remembered(
        self, query: Query, playbook: CorpusInfo, vector: Sequence[float]
    ) -> Sequence[vector_pb2.Hit]:
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

    async def _fetch(self, advice: Advice, condition: filter_pb2.Filter | None) -> Mapping[Answer, Struct]:
        """The metadata of what is to be injected, where it exists and passes the filter."""
        if not advice.injections:
            return _NOTHING
        ids: dict[str, list[str]] = {}
        for corpus, answer_id in advice.injections:
            ids.setdefault(corpus, []).append(answer_id)
        found = await together([self._corpora.metadata(corpus, wanted, condition) for corpus, wanted in ids.items()])
        return {
            (corpus, answer_id): metadata
            for corpus, items in zip(ids, found, strict=True)
            for answer_id, metadata in items.items()
        }


def distinct(names: Iterable[str]) -> list[str]:
    """Each name once, in order and as first spelled; names that differ in case are one name."""
    spelled: dict[str, str] = {}
    for name in names:
        normal = unicodedata.normalize("NFC", name)
        spelled.setdefault(same_name(normal), normal)
    return list(spelled.values())


def recollections(hits: Iterable[vector_pb2.Hit], query: Query, terms: Terms) -> list[Recollection]:
    """The entries among a playbook's hits; those beyond every limit only where an explanation is wanted."""
    reach = math.inf if query.explain else max(terms.limits.boost, terms.limits.inject)
    return [entry for hit in hits if hit.distance <= reach and (entry := recollect(hit)) is not None]


def recollect(hit: vector_pb2.Hit) -> Recollection | None:
    """The playbook entry in a hit; None for an item that is no entry. About 3 us."""
    fields = hit.metadata.fields
    answer_id, answer_corpus = fields["answer_id"].string_value, fields["answer_corpus"].string_value
    score = fields["score"].number_value
    if not answer_id or not answer_corpus or not 0 <= score <= 1:
        return None
    return Recollection(
        playbook_id=hit.id,
        answer_id=answer_id,
        answer_corpus=answer_corpus,
        score=score,
        outcome=fields["outcome"].string_value,
        role=fields["role"].string_value,
        distance=hit.distance,
    )
