"""Part of VectorService: aliases, rebuilds, jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from lakehouse.vector.v1 import operation_pb2

from services.runtime.jobs.jobs import Jobs
from services.runtime.jobs.message import job_message
from services.runtime.jobs.store import JobStore
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads
from services.vectord import operations_messages as messages
from services.vectord.config import VectorConfig
from services.vectord.operations.agent import Agent
from services.vectord.operations.jobs import Operations
from services.vectord.tree.indexes import Indexes
from services.vectord.tuning.agent_journal import AgentJournal
from services.vectord.tuning.rules import Limits

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class OperationsServicer:
    """Its methods belong to VectorServicer, which makes what they use."""

    _indexes: Indexes
    _writes: Threads
    _builders: Threads

    async def _start_operations(self, config: VectorConfig, data: Path) -> None:
        store = await self._writes.run(JobStore, data / "jobs")
        self._jobs = Jobs(store, self._writes, concurrent=config.concurrent_jobs, kept=config.kept_jobs)
        await self._jobs.load()
        self._operations = Operations(
            self._indexes, self._jobs, threads=self._writes, builders=self._builders, trial_rows=config.trial_rows
        )
        journal = await self._writes.run(AgentJournal, data / "agent.log")
        limits = Limits(trials_per_hour=config.agent_trials_per_hour, cool_down_seconds=config.agent_cool_down_seconds)
        self._agent = Agent(
            self._indexes, self._operations, journal, threads=self._writes, limits=limits, enabled=config.agent
        )
        self._agent.start()

    async def _close_operations(self) -> None:
        await self._agent.stop()
        await self._jobs.close()
        self._agent.close()
        self._builders.close()

    async def SetAlias(
        self, request: operation_pb2.SetAliasRequest, context: Context
    ) -> operation_pb2.SetAliasResponse:
        alias, created = await self._writes.run(self._indexes.set_alias, request.name, request.index)
        return operation_pb2.SetAliasResponse(alias=messages.alias(alias), created=created)

    async def ListAliases(
        self, request: operation_pb2.ListAliasesRequest, context: Context
    ) -> operation_pb2.ListAliasesResponse:
        return operation_pb2.ListAliasesResponse(
            aliases=[messages.alias(alias) for alias in self._indexes.aliases.all()]
        )

    async def RollbackAlias(
        self, request: operation_pb2.RollbackAliasRequest, context: Context
    ) -> operation_pb2.RollbackAliasResponse:
        alias = await self._writes.run(self._indexes.roll_back_alias, request.name)
        return operation_pb2.RollbackAliasResponse(alias=messages.alias(alias))

    async def DeleteAlias(
        self, request: operation_pb2.DeleteAliasRequest, context: Context
    ) -> operation_pb2.DeleteAliasResponse:
        alias = await self._writes.run(self._indexes.delete_alias, request.name)
        return operation_pb2.DeleteAliasResponse(alias=messages.alias(alias))

    async def RebuildIndex(
        self, request: operation_pb2.RebuildIndexRequest, context: Context
    ) -> operation_pb2.RebuildIndexResponse:
        job = await self._operations.rebuild(request.name, messages.rebuild_from(request))
        return operation_pb2.RebuildIndexResponse(job=job_message(job))

    async def MigrateIndex(
        self, request: operation_pb2.MigrateIndexRequest, context: Context
    ) -> operation_pb2.MigrateIndexResponse:
        job = await self._operations.migrate(request.name, request.backend)
        return operation_pb2.MigrateIndexResponse(job=job_message(job))

    async def GetJob(self, request: operation_pb2.GetJobRequest, context: Context) -> operation_pb2.GetJobResponse:
        return operation_pb2.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    async def WatchJob(
        self, request: operation_pb2.WatchJobRequest, context: Context
    ) -> AsyncGenerator[operation_pb2.WatchJobResponse, None]:
        async with aclosing(self._jobs.watch(request.job_id)) as states:
            async for job in states:
                yield operation_pb2.WatchJobResponse(job=job_message(job))

    async def ListJobs(
        self, request: operation_pb2.ListJobsRequest, context: Context
    ) -> operation_pb2.ListJobsResponse:
        jobs, last = self._jobs.page(page_size(request.page_size, 100, 1_000), decode_token(request.page_token))
        return operation_pb2.ListJobsResponse(
            jobs=[job_message(job) for job in jobs], next_page_token=encode_token(last)
        )

    async def CancelJob(
        self, request: operation_pb2.CancelJobRequest, context: Context
    ) -> operation_pb2.CancelJobResponse:
        return operation_pb2.CancelJobResponse(job=job_message(await self._jobs.cancel(request.job_id)))
