"""Between the contract's messages and this daemon's values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from lakehouse.matrix.v1 import corpus_pb2, encoded_pb2, playbook_pb2, search_pb2
from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.freshness import Stale
from services.matrixd.corpora.plan import BuildRequest
from services.matrixd.playbooks.constraints import Constraints
from services.matrixd.playbooks.draft import Draft
from services.matrixd.playbooks.gates import Verdict
from services.matrixd.playbooks.judge import JudgeTerms, Rated, make_judge
from services.matrixd.playbooks.playbook import ACCEPTED, DEFAULT_PLAYBOOK, REJECTED, Entry, decay
from services.matrixd.playbooks.recorder import Recorded, Result
from services.matrixd.relevance import Chunk, Focus, Scored, Sorted
from services.matrixd.retrieval.fusion import RRF, Arms, Fusion
from services.matrixd.retrieval.ranking import Answer, Hit, Refused
from services.matrixd.retrieval.search import DENSE, Found, Query
from services.matrixd.tuning.tuning import Tuning
from services.runtime.encoded import standing_for
from services.runtime.errors import InvalidArgument

_DEFAULT_K = 10
_MINIMUM_RATING = 4
_FUSION = Fusion()
_TUNING = Tuning()
_NO_ARMS = Arms()
_SIGNS = {"click": (ACCEPTED, 0.3), "placement": (ACCEPTED, 1.0), "dismissal": (REJECTED, 0.5)}
"""What each sign is worth. A sign never replaces one of a higher score."""


def query_from(request: search_pb2.SearchRequest, tuning: Tuning = _TUNING) -> Query:
    """The search that a request asks for, defaults filled in by what was promoted last."""
    k = request.k if request.HasField("k") else _DEFAULT_K
    return Query(
        text=request.query_text,
        vector=request.query_vector,
        corpora=_instead(request.corpora, tuning.substitutes) if tuning.substitutes else request.corpora,
        k=k,
        per_corpus_k=request.per_corpus_k if request.HasField("per_corpus_k") else k,
        filter=request.filter if request.HasField("filter") else None,
        exclude_ids=request.exclude_ids,
        playbook=(request.playbook_corpus or DEFAULT_PLAYBOOK) if request.use_playbook else None,
        playbook_top_k=request.playbook_top_k if request.HasField("playbook_top_k") else _DEFAULT_K,
        boost_limit=request.playbook_max_distance if request.HasField("playbook_max_distance") else tuning.boost_limit,
        inject_limit=request.inject_max_distance if request.HasField("inject_max_distance") else tuning.inject_limit,
        role=request.query_role,
        explain=request.explain,
        guard=not request.HasField("constraint_guard") or request.constraint_guard,
        retrieval=request.retrieval or (tuning.retrieval if request.query_text else DENSE),
        retrieval_asked=bool(request.retrieval),
        fusion=fusion_from(request.fusion) if request.HasField("fusion") else tuning.fusion,
        sql=request.sql,
        where=request.where,
        judge=judge_from(request.judge_gate) if request.HasField("judge_gate") else None,
    )


def _instead(corpora: Sequence[str], substitutes: Mapping[str, str]) -> list[str]:
    return [substitutes.get(name, name) for name in corpora]


def fusion_from(fusion: search_pb2.Fusion) -> Fusion:
    """How to fuse, defaults filled in. Raises InvalidArgument where nothing would count."""
    made = Fusion(
        method=fusion.method or RRF,
        rrf_k=fusion.rrf_k if fusion.HasField("rrf_k") else _FUSION.rrf_k,
        dense_weight=fusion.dense_weight if fusion.HasField("dense_weight") else 1.0,
        lexical_weight=fusion.lexical_weight if fusion.HasField("lexical_weight") else 1.0,
    )
    if not 0 < made.dense_weight + made.lexical_weight < math.inf:
        raise InvalidArgument.of("fusion", "must give one arm at least a weight above 0")
    return made


def judge_from(gate: search_pb2.JudgeGate) -> JudgeTerms | None:
    """Who judges and by what; None where nobody is asked. Raises InvalidArgument, JudgeNotAvailable."""
    if not gate.judge and not gate.rate_top:
        return None
    terms = JudgeTerms(
        judge=gate.judge,
        minimum=gate.minimum_rating if gate.HasField("minimum_rating") else _MINIMUM_RATING,
        original_text=gate.original_text,
        rate_top=gate.rate_top,
        expected=MessageToDict(gate.expected),
    )
    make_judge(terms)
    return terms


def search_response(found: Found, explain: bool) -> search_pb2.SearchResponse:
    """The answer of a search. 0.7 us a hit, since metadata goes through as it came."""
    response = encoded_pb2.EncodedSearchResponse(embedding_model=found.model, per_corpus_counts=found.counts)
    add = response.hits.add
    for hit in found.ranking.hits:
        message = add(id=hit.id, corpus=hit.corpus, distance=hit.distance, metadata=hit.payload)
        if hit.counted is not None:
            response.boosted += hit.boosted
            response.injected += hit.injected
        if explain:
            message.explanation.CopyFrom(_explanation(hit, found.arms))
        if found.ratings:
            _rate(message, found.ratings.get((hit.corpus, hit.id)))
    if found.stretch is not None:
        response.stretch = found.stretch
    if explain:
        if found.asked is not None:
            response.constraints.extend(_constraints(found.asked))
        response.rejected_entries.extend(_rejected(refused) for refused in found.ranking.refused)
    return standing_for(search_pb2.SearchResponse, response)


def _rate(message: encoded_pb2.EncodedHit, rated: Rated | None) -> None:
    if rated is not None and rated.rating is not None:
        message.rating = rated.rating


def _constraints(asked: Constraints) -> list[search_pb2.Constraint]:
    """What a question asks for, as the contract says it. What a negation without a value is about has no field."""
    return [
        *(
            search_pb2.Constraint(kind="number", value=f"{one.value} {one.unit}".strip(), negated=one.negated)
            for one in asked.numbers
        ),
        *(search_pb2.Constraint(kind="date", value=value, negated=negated) for value, negated in sorted(asked.moments)),
        *(
            search_pb2.Constraint(kind="value", field=name, value=one.value, negated=one.negated)
            for one in asked.values
            for name in sorted(one.fields)
        ),
        *(
            search_pb2.Constraint(kind="value", value=" ".join(sorted(words)), negated=True)
            for words in asked.negations
            if words
        ),
    ]


def _explanation(hit: Hit, arms: Mapping[Answer, Arms] | None) -> search_pb2.Explanation:
    counted = hit.counted
    message = search_pb2.Explanation(
        cold_distance=hit.cold_distance, cold_rank=hit.cold_rank, boost_factor=hit.factor, injected=hit.injected
    )
    said = Arms(hit.cold_rank, hit.cold_distance) if arms is None else arms.get((hit.corpus, hit.id), _NO_ARMS)
    for name, value in zip(Arms._fields, said, strict=True):
        if value is not None:
            setattr(message, name, value)
    if counted is not None:
        message.playbook_id = counted.recollection.playbook_id
        message.playbook_distance = counted.recollection.distance
        message.playbook_score = counted.recollection.score
        message.gates.extend(_gates(counted.verdicts))
    return message


def _rejected(refused: Refused) -> search_pb2.RejectedEntry:
    recollection = refused.recollection
    return search_pb2.RejectedEntry(
        playbook_id=recollection.playbook_id,
        answer_id=recollection.answer_id,
        answer_corpus=recollection.answer_corpus,
        distance=recollection.distance,
        gates=_gates(refused.verdicts),
    )


def _gates(verdicts: Sequence[Verdict]) -> list[search_pb2.GateVerdict]:
    return [search_pb2.GateVerdict(gate=gate, passed=passed, detail=detail) for gate, passed, detail in verdicts]


def draft_from(request: playbook_pb2.RecordPlaybookRequest | playbook_pb2.PlaybookEntry, playbook: str = "") -> Draft:
    """The answer to remember; `playbook` is the one to write when the entry names none."""
    return Draft(
        query_text=request.query_text,
        answer_id=request.answer_id,
        answer_corpus=request.answer_corpus,
        score=request.score if request.HasField("score") else None,
        outcome=request.outcome,
        judged_by=request.judged_by,
        role=request.role,
        tags=tuple(request.tags),
        playbook=request.corpus or playbook,
    )


def batch_response(results: Sequence[Result]) -> playbook_pb2.RecordPlaybooksResponse:
    """One result for each entry, and how many there are of each kind."""
    response = playbook_pb2.RecordPlaybooksResponse()
    for index, result in enumerate(results):
        if isinstance(result, Recorded):
            response.recorded += 1
            response.results.add(index=index, playbook_id=result.playbook_id)
        else:
            response.failed += 1
            response.results.add(index=index, error=result.message)
    return response


def playbook_message(entry: Entry, half_life_days: float) -> playbook_pb2.Playbook:
    """A remembered answer."""
    return playbook_pb2.Playbook(
        playbook_id=entry.playbook_id,
        query_text=entry.query_text,
        answer_id=entry.answer_id,
        answer_corpus=entry.answer_corpus,
        score=entry.score,
        outcome=entry.outcome,
        judged_by=entry.judged_by,
        role=entry.role,
        tags=entry.tags,
        recorded_at=_timestamp(entry.recorded_at),
        dataset_version=entry.dataset_version,
        retired_at=_timestamp(entry.retired_at),
        retired_reason=entry.retired_reason,
        weight=decay(entry.recorded_at, datetime.now(UTC), half_life_days),
    )


def feedback_from(request: playbook_pb2.RecordFeedbackRequest) -> Draft:
    """What a sign says of an answer."""
    outcome, score = _SIGNS[request.signal]
    return Draft(
        query_text=request.query_text,
        answer_id=request.answer_id,
        answer_corpus=request.answer_corpus,
        score=score,
        outcome=outcome,
        judged_by=request.signal,
        role=request.role,
        playbook=request.corpus,
    )


def corpus_message(index: vector_pb2.Index) -> corpus_pb2.Corpus:
    """An index as something that can be searched."""
    return corpus_pb2.Corpus(
        name=index.name,
        dimension=index.dimension,
        count=index.count,
        embedding_model=index.source.embedding_model,
        dataset=index.source.dataset,
        metric=index.metric,
        updated_at=index.updated_at,
    )


def build_from(request: corpus_pb2.BuildCorpusRequest) -> BuildRequest:
    """The build that a request asks for."""
    return BuildRequest(
        corpus=request.corpus,
        dataset=request.dataset,
        id_column=request.id_column,
        text_columns=tuple(request.text_columns),
        template=request.template,
        metadata_columns=tuple(request.metadata_columns),
        id_prefix=request.id_prefix,
        batch_size=request.batch_size if request.HasField("batch_size") else None,
        model=request.model,
        chunk_size=request.chunk_size if request.HasField("chunk_size") else None,
        chunk_overlap=request.chunk_overlap if request.HasField("chunk_overlap") else None,
        storage_type=request.storage_type,
        bucket=request.bucket,
    )


def stale_response(found: Sequence[Stale]) -> corpus_pb2.ListStaleResponse:
    """The stale datasets."""
    datasets = [
        corpus_pb2.StaleDataset(dataset=stale.dataset.name, stale_since=_timestamp(stale.since), corpora=stale.corpora)
        for stale in found
    ]
    return corpus_pb2.ListStaleResponse(datasets=datasets)


def rating_response(ids: Sequence[str], rated: Mapping[str, Rated]) -> search_pb2.RateAnswersResponse:
    """One rating for each answer, in order."""
    ratings = [search_pb2.Rating(id=one, rating=rated[one].rating, detail=rated[one].detail) for one in ids]
    return search_pb2.RateAnswersResponse(ratings=ratings)


def focus_from(focus: search_pb2.FocusFile) -> Focus:
    """The file that is worked on."""
    return Focus(path=focus.path, text=focus.text, defined=focus.defined_symbols, imported=focus.imported_symbols)


def chunk_from(chunk: search_pb2.Chunk) -> Chunk:
    """A piece of code or text."""
    return Chunk(id=chunk.id, path=chunk.path, text=chunk.text)


def relevance_response(result: Sorted) -> search_pb2.FilterRelevanceResponse:
    """The sorted chunks."""
    return search_pb2.FilterRelevanceResponse(
        kept=[_scored(one) for one in result.kept],
        dropped=[_scored(one) for one in result.dropped],
        threshold=result.threshold,
    )


def _scored(one: Scored) -> search_pb2.ScoredChunk:
    signals = [search_pb2.RelevanceSignal(signal=signal.name, value=signal.value) for signal in one.signals]
    return search_pb2.ScoredChunk(id=one.chunk.id, path=one.chunk.path, score=one.score, signals=signals)


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
