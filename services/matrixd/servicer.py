"""MatrixService: proto in, engines, proto out."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakehouse.catalog.v1 import catalog_pb2_grpc
from lakehouse.embed.v1 import embed_pb2_grpc
from lakehouse.matrix.v1 import corpus_pb2, matrix_pb2_grpc, playbook_pb2, search_pb2
from lakehouse.query.v1 import query_pb2_grpc
from lakehouse.vector.v1 import vector_pb2_grpc

from services.matrixd import messages
from services.matrixd.build import Neighbours
from services.matrixd.builder import Builder
from services.matrixd.config import MatrixConfig
from services.matrixd.corpora import Corpora
from services.matrixd.datasets import Datasets
from services.matrixd.downgrade import decide, force_from
from services.matrixd.limits import LimitTable
from services.matrixd.recorder import Recorder
from services.matrixd.relevance import sort_chunks
from services.matrixd.search import Searcher
from services.matrixd.texts import Texts
from services.matrixd.unsupported import refuse_options
from services.runtime.durable import make_directory
from services.runtime.jobs.jobs import Jobs
from services.runtime.jobs.message import job_message
from services.runtime.jobs.store import JobStore
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads

_PAGE, _LARGEST_PAGE = 100, 1_000

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class MatrixServicer(matrix_pb2_grpc.MatrixServiceServicer):
    """Hands over the right slice of knowledge."""

    def __init__(
        self,
        *,
        config: MatrixConfig,
        data: Path,
        vector: vector_pb2_grpc.VectorServiceStub,
        embed: embed_pb2_grpc.EmbedServiceStub,
        query: query_pb2_grpc.QueryServiceStub,
        catalog: catalog_pb2_grpc.CatalogServiceStub,
    ) -> None:
        self._weak_models = config.weak_models
        self._corpora = Corpora(vector, config.corpus_seconds)
        texts = Texts(embed)
        limits = LimitTable(config.boost_limits, config.inject_limits)
        self._searcher = Searcher(self._corpora, texts, limits)
        self._recorder = Recorder(self._corpora, texts, lambda: datetime.now(UTC))
        self._threads = Threads("matrixd", config.threads)
        self._jobs = Jobs(
            JobStore(data / "jobs"), self._threads, concurrent=config.concurrent_builds, kept=config.kept_jobs
        )
        neighbours = Neighbours(corpora=self._corpora, texts=texts, datasets=Datasets(catalog, query))
        scratch = make_directory(data / "scratch")
        self._builder = Builder(neighbours, self._jobs, threads=self._threads, scratch=scratch)

    async def start(self) -> None:
        """Reads the jobs of earlier runs."""
        await self._jobs.load()

    async def close(self) -> None:
        """Interrupts what runs."""
        await self._jobs.close()
        self._threads.close()

    async def Search(self, request: search_pb2.SearchRequest, context: Context) -> search_pb2.SearchResponse:
        refuse_options(
            retrieval=request.retrieval,
            fusion=request.HasField("fusion"),
            judge=request.judge_gate.judge,
            rate_top=request.judge_gate.rate_top,
            sql=request.sql,
        )
        found = await self._searcher.search(messages.query_from(request))
        return messages.search_response(found, request.explain)

    async def RecordPlaybook(
        self, request: playbook_pb2.RecordPlaybookRequest, context: Context
    ) -> playbook_pb2.RecordPlaybookResponse:
        recorded = await self._recorder.record(messages.draft_from(request))
        return playbook_pb2.RecordPlaybookResponse(playbook_id=recorded.playbook_id, replaced=recorded.replaced)

    async def RecordPlaybooks(
        self, request: playbook_pb2.RecordPlaybooksRequest, context: Context
    ) -> playbook_pb2.RecordPlaybooksResponse:
        drafts = [messages.draft_from(entry, request.corpus) for entry in request.entries]
        return messages.batch_response(await self._recorder.record_all(drafts))

    async def ListPlaybooks(
        self, request: playbook_pb2.ListPlaybooksRequest, context: Context
    ) -> playbook_pb2.ListPlaybooksResponse:
        size = page_size(request.page_size, _PAGE, _LARGEST_PAGE)
        entries, token = await self._recorder.page(request.corpus, size, request.page_token)
        playbooks = [messages.playbook_message(entry) for entry in entries]
        return playbook_pb2.ListPlaybooksResponse(playbooks=playbooks, next_page_token=token)

    async def DeletePlaybook(
        self, request: playbook_pb2.DeletePlaybookRequest, context: Context
    ) -> playbook_pb2.DeletePlaybookResponse:
        entry = await self._recorder.delete(request.corpus, request.playbook_id)
        return playbook_pb2.DeletePlaybookResponse(playbook=messages.playbook_message(entry))

    async def FilterRelevance(
        self, request: search_pb2.FilterRelevanceRequest, context: Context
    ) -> search_pb2.FilterRelevanceResponse:
        threshold = request.threshold if request.HasField("threshold") else None
        chunks = [messages.chunk_from(chunk) for chunk in request.chunks]
        # Many long chunks take longer than the event loop may wait.
        result = await self._threads.run(sort_chunks, messages.focus_from(request.focus), chunks, threshold)
        return messages.relevance_response(result)

    async def Downgrade(self, request: search_pb2.DowngradeRequest, context: Context) -> search_pb2.DowngradeResponse:
        force = request.force if request.HasField("force") else force_from(os.environ)
        decision = decide(request.mode, request.model, force=force, weak_models=self._weak_models)
        return search_pb2.DowngradeResponse(mode=decision.mode, downgraded=decision.downgraded, reason=decision.reason)

    async def ListCorpora(
        self, request: corpus_pb2.ListCorporaRequest, context: Context
    ) -> corpus_pb2.ListCorporaResponse:
        response = await self._corpora.indexes(page_size(request.page_size, _PAGE, _LARGEST_PAGE), request.page_token)
        corpora = [messages.corpus_message(index) for index in response.indexes]
        return corpus_pb2.ListCorporaResponse(corpora=corpora, next_page_token=response.next_page_token)

    async def BuildCorpus(
        self, request: corpus_pb2.BuildCorpusRequest, context: Context
    ) -> corpus_pb2.BuildCorpusResponse:
        job = await self._builder.start(messages.build_from(request))
        return corpus_pb2.BuildCorpusResponse(job=job_message(job))

    async def GetJob(self, request: corpus_pb2.GetJobRequest, context: Context) -> corpus_pb2.GetJobResponse:
        return corpus_pb2.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    async def WatchJob(
        self, request: corpus_pb2.WatchJobRequest, context: Context
    ) -> AsyncGenerator[corpus_pb2.WatchJobResponse, None]:
        async with aclosing(self._jobs.watch(request.job_id)) as states:
            async for job in states:
                yield corpus_pb2.WatchJobResponse(job=job_message(job))

    async def ListJobs(self, request: corpus_pb2.ListJobsRequest, context: Context) -> corpus_pb2.ListJobsResponse:
        size = page_size(request.page_size, _PAGE, _LARGEST_PAGE)
        jobs, last = self._jobs.page(size, decode_token(request.page_token))
        return corpus_pb2.ListJobsResponse(jobs=[job_message(job) for job in jobs], next_page_token=encode_token(last))

    async def CancelJob(self, request: corpus_pb2.CancelJobRequest, context: Context) -> corpus_pb2.CancelJobResponse:
        return corpus_pb2.CancelJobResponse(job=job_message(await self._jobs.cancel(request.job_id)))
