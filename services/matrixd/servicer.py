"""MatrixService: proto in, engines, proto out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakehouse.catalog.v1 import catalog_pb2_grpc
from lakehouse.embed.v1 import embed_pb2_grpc
from lakehouse.matrix.v1 import corpus_pb2, matrix_pb2_grpc, playbook_pb2, search_pb2, tuning_pb2
from lakehouse.query.v1 import query_pb2_grpc
from lakehouse.vector.v1 import encoded_pb2, vector_pb2, vector_pb2_grpc

from services.matrixd import messages, tuning_messages
from services.matrixd.config import MatrixConfig
from services.matrixd.corpora.build import Neighbours
from services.matrixd.corpora.builder import Builder
from services.matrixd.corpora.claims import Claims
from services.matrixd.corpora.corpora import Corpora
from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.freshness import Freshness
from services.matrixd.corpora.passes import Passes
from services.matrixd.corpora.policies import Policies
from services.matrixd.corpora.records import Records
from services.matrixd.corpora.refresh import Refresher
from services.matrixd.corpora.texts import Texts
from services.matrixd.downgrade import decide, force_from
from services.matrixd.playbooks.judge import rate_answers
from services.matrixd.playbooks.merging import merge_playbooks
from services.matrixd.playbooks.recorder import Locks, Recorder
from services.matrixd.playbooks.retirement import Retirement
from services.matrixd.playbooks.vocabularies import Vocabularies
from services.matrixd.relevance import sort_chunks
from services.matrixd.retrieval.lexicons import Lexicons
from services.matrixd.retrieval.limits import LimitTable
from services.matrixd.retrieval.prefilter import Prefilter
from services.matrixd.retrieval.search import Helpers, Searcher
from services.matrixd.retrieval.usual import Usual
from services.matrixd.tuning.experiments import Experiments
from services.matrixd.tuning.tuning import Tunings
from services.runtime.durable import make_directory
from services.runtime.jobs.jobs import Jobs
from services.runtime.jobs.message import job_message
from services.runtime.jobs.store import JobStore
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads

_PAGE, _LARGEST_PAGE = 100, 1_000

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class EncodedVectorStub(vector_pb2_grpc.VectorServiceStub):
    """vectord's stub with the metadata of hits left encoded."""

    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        self.Search: Any = channel.unary_unary(
            "/lakehouse.vector.v1.VectorService/Search",
            request_serializer=vector_pb2.SearchRequest.SerializeToString,
            response_deserializer=encoded_pb2.EncodedHits.FromString,
        )


class MatrixServicer(matrix_pb2_grpc.MatrixServiceServicer):
    """Hands over the right slice of knowledge."""

    def __init__(
        self,
        *,
        config: MatrixConfig,
        data: Path,
        vector: EncodedVectorStub,
        embed: embed_pb2_grpc.EmbedServiceStub,
        query: query_pb2_grpc.QueryServiceStub,
        catalog: catalog_pb2_grpc.CatalogServiceStub,
    ) -> None:
        self._weak_models = config.weak_models
        self._corpora = Corpora(vector, config.corpus_seconds)
        texts = Texts(embed)
        limits = LimitTable(config.boost_limits, config.inject_limits)
        self._threads = Threads("matrixd", config.threads)
        self._jobs = Jobs(
            JobStore(data / "jobs"), self._threads, concurrent=config.concurrent_builds, kept=config.kept_jobs
        )
        neighbours = Neighbours(corpora=self._corpora, texts=texts, datasets=Datasets(catalog, query))
        records = Records(data / "corpora")
        scratch = make_directory(data / "scratch")
        self._locks = Locks()
        self._half_life_days = config.half_life_days
        self._retirement = Retirement(self._corpora, self._locks, _now)
        self._vocabularies = Vocabularies(self._corpora, self._threads)
        self._lexicons = Lexicons(data / "lexical", self._corpora, neighbours.datasets, records, self._threads, scratch)
        self._usual = Usual(data / "usual", self._corpora, self._threads)
        helpers = Helpers(
            vocabularies=self._vocabularies,
            lexicons=self._lexicons,
            prefilter=Prefilter(neighbours.datasets, self._threads),
            retirement=self._retirement,
            usual=self._usual,
        )
        self._searcher = Searcher(self._corpora, texts, limits, helpers, config.half_life_days)
        self._recorder = Recorder(self._corpora, texts, _now, neighbours.datasets.version_of, self._locks, self._usual)
        self._tunings = Tunings(make_directory(data / "tuning") / "current.json")
        self._experiments = Experiments(
            data / "experiments",
            self._tunings,
            self._searcher,
            self._recorder,
            self._corpora,
            self._jobs,
            self._threads,
            _now,
        )
        self._freshness = Freshness(self._corpora, neighbours.datasets, records)
        passes = Passes(
            neighbours,
            records,
            self._freshness,
            threads=self._threads,
            scratch=scratch,
            in_flight=config.batches_in_flight,
            lexicons=self._lexicons,
            changed=self._retirement.sweep_later,
        )
        claims = Claims(self._jobs)
        self._builder = Builder(neighbours, self._jobs, claims, passes, self._freshness)
        self._refresher = Refresher(neighbours, self._jobs, claims, passes, self._freshness, records)
        self._policies = Policies(
            neighbours.datasets,
            self._jobs,
            self._refresher.start,
            seconds=config.refresh_seconds,
            clock=time.monotonic,
        )
        self._watch_seconds = config.watch_seconds
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads the jobs of earlier runs, and begins to watch for datasets to refresh."""
        await self._jobs.load()
        self._watching = asyncio.create_task(self._policies.keep_watching(self._watch_seconds))

    async def close(self) -> None:
        """Interrupts what runs."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._jobs.close()
        await self._retirement.close()
        await self._usual.close()
        await self._vocabularies.close()
        await self._lexicons.close()
        self._threads.close()

    async def Search(self, request: search_pb2.SearchRequest, context: Context) -> search_pb2.SearchResponse:
        found = await self._searcher.search(messages.query_from(request, self._tunings.current.tuning))
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
        entries, token = await self._recorder.page(
            request.corpus, size, request.page_token, retired=request.include_retired
        )
        playbooks = [messages.playbook_message(entry, self._half_life_days) for entry in entries]
        return playbook_pb2.ListPlaybooksResponse(playbooks=playbooks, next_page_token=token)

    async def DeletePlaybook(
        self, request: playbook_pb2.DeletePlaybookRequest, context: Context
    ) -> playbook_pb2.DeletePlaybookResponse:
        entry, before = await self._recorder.delete(request.corpus, request.playbook_id)
        response = playbook_pb2.DeletePlaybookResponse(playbook=messages.playbook_message(entry, self._half_life_days))
        if before is not None:
            response.restored.CopyFrom(messages.playbook_message(before, self._half_life_days))
        return response

    async def RecordFeedback(
        self, request: playbook_pb2.RecordFeedbackRequest, context: Context
    ) -> playbook_pb2.RecordFeedbackResponse:
        recorded = await self._recorder.feedback(messages.feedback_from(request))
        return playbook_pb2.RecordFeedbackResponse(playbook_id=recorded.playbook_id)

    async def MergePlaybooks(
        self, request: playbook_pb2.MergePlaybooksRequest, context: Context
    ) -> playbook_pb2.MergePlaybooksResponse:
        merged = await merge_playbooks(
            self._corpora, self._locks, request.source, request.dest, clear_source=request.clear_source
        )
        return playbook_pb2.MergePlaybooksResponse(**asdict(merged))

    async def SweepPlaybook(
        self, request: playbook_pb2.SweepPlaybookRequest, context: Context
    ) -> playbook_pb2.SweepPlaybookResponse:
        return playbook_pb2.SweepPlaybookResponse(**asdict(await self._retirement.sweep(request.corpus)))

    async def RateAnswers(
        self, request: search_pb2.RateAnswersRequest, context: Context
    ) -> search_pb2.RateAnswersResponse:
        rated = await rate_answers(
            self._corpora, messages.judge_from(request.judge), request.query_text, request.corpus, request.ids
        )
        return messages.rating_response(request.ids, rated)

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

    async def RefreshCorpus(
        self, request: corpus_pb2.RefreshCorpusRequest, context: Context
    ) -> corpus_pb2.RefreshCorpusResponse:
        return corpus_pb2.RefreshCorpusResponse(
            job=job_message(await self._refresher.start(request.dataset, request.corpus))
        )

    async def ListStale(self, request: corpus_pb2.ListStaleRequest, context: Context) -> corpus_pb2.ListStaleResponse:
        return messages.stale_response(await self._freshness.stale())

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

    async def RunExperiment(
        self, request: tuning_pb2.RunExperimentRequest, context: Context
    ) -> tuning_pb2.RunExperimentResponse:
        job = await self._experiments.start(tuning_messages.trial_from(request))
        return tuning_pb2.RunExperimentResponse(job=job_message(job))

    async def ListExperiments(
        self, request: tuning_pb2.ListExperimentsRequest, context: Context
    ) -> tuning_pb2.ListExperimentsResponse:
        experiments = [tuning_messages.experiment_message(one) for one in self._experiments.newest()]
        return tuning_pb2.ListExperimentsResponse(experiments=experiments)

    async def PromoteExperiment(
        self, request: tuning_pb2.PromoteExperimentRequest, context: Context
    ) -> tuning_pb2.PromoteExperimentResponse:
        tuning = await self._experiments.promote(request.experiment_id)
        return tuning_pb2.PromoteExperimentResponse(tuning=tuning_messages.tuning_message(tuning))

    async def GetTuning(self, request: tuning_pb2.GetTuningRequest, context: Context) -> tuning_pb2.GetTuningResponse:
        current = self._tunings.current
        return tuning_pb2.GetTuningResponse(
            tuning=tuning_messages.tuning_message(current.tuning),
            experiment_id=current.experiment,
            previous=self._tunings.previous,
        )

    async def RollbackTuning(
        self, request: tuning_pb2.RollbackTuningRequest, context: Context
    ) -> tuning_pb2.RollbackTuningResponse:
        tuning = await self._threads.run(self._tunings.roll_back)
        return tuning_pb2.RollbackTuningResponse(tuning=tuning_messages.tuning_message(tuning))


def _now() -> datetime:
    return datetime.now(UTC)
