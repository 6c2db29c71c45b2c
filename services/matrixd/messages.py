"""Between the contract's messages and this daemon's values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lakehouse.matrix.v1 import corpus_pb2, playbook_pb2, search_pb2
from lakehouse.vector.v1 import vector_pb2

from services.matrixd.draft import Draft
from services.matrixd.gates import Verdict
from services.matrixd.plan import BuildRequest
from services.matrixd.playbook import DEFAULT_PLAYBOOK, Entry
from services.matrixd.ranking import Hit, Refused
from services.matrixd.recorder import Recorded, Result
from services.matrixd.relevance import Chunk, Focus, Scored, Sorted
from services.matrixd.search import Found, Query

_DEFAULT_K = 10


def query_from(request: search_pb2.SearchRequest) -> Query:
    """The search that a request asks for, defaults filled in."""
    k = request.k if request.HasField("k") else _DEFAULT_K
    return Query(
        text=request.query_text,
        vector=request.query_vector,
        corpora=request.corpora,
        k=k,
        per_corpus_k=request.per_corpus_k if request.HasField("per_corpus_k") else k,
        filter=request.filter if request.HasField("filter") else None,
        exclude_ids=request.exclude_ids,
        playbook=(request.playbook_corpus or DEFAULT_PLAYBOOK) if request.use_playbook else None,
        playbook_top_k=request.playbook_top_k if request.HasField("playbook_top_k") else _DEFAULT_K,
        boost_limit=request.playbook_max_distance if request.HasField("playbook_max_distance") else None,
        inject_limit=request.inject_max_distance if request.HasField("inject_max_distance") else None,
        role=request.query_role,
        explain=request.explain,
    )


def search_response(found: Found, explain: bool) -> search_pb2.SearchResponse:
    """The answer of a search. 2 us a hit."""
    response = search_pb2.SearchResponse(embedding_model=found.model, per_corpus_counts=found.counts)
    hits = response.hits
    for hit in found.ranking.hits:
        message = hits.add(id=hit.id, corpus=hit.corpus, distance=hit.distance)
        message.metadata.CopyFrom(hit.payload)
        if hit.counted is not None:
            response.boosted += hit.boosted
            response.injected += hit.injected
        if explain:
            message.explanation.CopyFrom(_explanation(hit))
    if explain:
        response.rejected_entries.extend(_rejected(refused) for refused in found.ranking.refused)
    return response


def _explanation(hit: Hit) -> search_pb2.Explanation:
    counted = hit.counted
    message = search_pb2.Explanation(
        cold_distance=hit.cold_distance, cold_rank=hit.cold_rank, boost_factor=hit.factor, injected=hit.injected
    )
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


def playbook_message(entry: Entry) -> playbook_pb2.Playbook:
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
