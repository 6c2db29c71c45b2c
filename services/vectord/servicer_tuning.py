"""Part of VectorService: eval sets, trials, promotions, the agent."""

from __future__ import annotations

from typing import Any

from lakehouse.vector.v1 import trial_pb2

from services.runtime.jobs.message import job_message
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads
from services.vectord import operations_messages as messages
from services.vectord.operations.agent import Agent
from services.vectord.operations.jobs import Operations
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tuning import evals

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class TuningServicer:
    """Its methods belong to VectorServicer, which makes what they use."""

    _indexes: Indexes
    _operations: Operations
    _agent: Agent
    _reads: Threads
    _writes: Threads

    async def CreateEvalSet(
        self, request: trial_pb2.CreateEvalSetRequest, context: Context
    ) -> trial_pb2.CreateEvalSetResponse:
        index = self._indexes.graphs(request.name)
        return await self._writes.run(self._create_eval_set, index, request)

    def _create_eval_set(
        self, index: Index, request: trial_pb2.CreateEvalSetRequest
    ) -> trial_pb2.CreateEvalSetResponse:
        k = request.k if request.HasField("k") else evals.K
        if request.queries:
            made = evals.given(index.description, messages.queries(request.queries), name=request.eval_set, k=k)
        else:
            made = evals.generate(
                index.snapshot,
                name=request.eval_set,
                sample=request.sample if request.HasField("sample") else evals.SAMPLE,
                seed=request.seed if request.HasField("seed") else evals.SEED,
                k=k,
            )
        index.tuning.create(made)
        return trial_pb2.CreateEvalSetResponse(eval_set=messages.eval_set(made, index.description.name))

    async def ListEvalSets(
        self, request: trial_pb2.ListEvalSetsRequest, context: Context
    ) -> trial_pb2.ListEvalSetsResponse:
        index = self._indexes.graphs(request.name)
        found = await self._reads.run(index.tuning.eval_sets)
        return trial_pb2.ListEvalSetsResponse(
            eval_sets=[messages.eval_set(one, index.description.name) for one in found]
        )

    async def DeleteEvalSet(
        self, request: trial_pb2.DeleteEvalSetRequest, context: Context
    ) -> trial_pb2.DeleteEvalSetResponse:
        index = self._indexes.graphs(request.name)
        gone = await self._writes.run(index.tuning.delete, request.eval_set)
        return trial_pb2.DeleteEvalSetResponse(eval_set=messages.eval_set(gone, index.description.name))

    async def RunTrial(self, request: trial_pb2.RunTrialRequest, context: Context) -> trial_pb2.RunTrialResponse:
        parameters = messages.parameters_from(request.parameters)
        job = await self._operations.trial(request.name, request.eval_set, parameters)
        return trial_pb2.RunTrialResponse(job=job_message(job))

    async def Autotune(self, request: trial_pb2.AutotuneRequest, context: Context) -> trial_pb2.AutotuneResponse:
        job = await self._operations.autotune(request.name, messages.autotune_from(request))
        return trial_pb2.AutotuneResponse(job=job_message(job))

    async def ListTrials(self, request: trial_pb2.ListTrialsRequest, context: Context) -> trial_pb2.ListTrialsResponse:
        index = self._indexes.graphs(request.name)
        size, before = page_size(request.page_size, 100, 1_000), decode_token(request.page_token)
        trials, more = index.tuning.page(size, before)
        return trial_pb2.ListTrialsResponse(
            trials=[messages.trial(one) for one in trials], next_page_token=encode_token(trials[-1].id) if more else ""
        )

    async def PromoteTrial(
        self, request: trial_pb2.PromoteTrialRequest, context: Context
    ) -> trial_pb2.PromoteTrialResponse:
        least = messages.minimum_recall(request)
        promotion, job = await self._operations.promote(request.name, request.trial_id, least)
        return trial_pb2.PromoteTrialResponse(promotion=messages.promotion(promotion), job=job_message(job))

    async def RollbackPromotion(
        self, request: trial_pb2.RollbackPromotionRequest, context: Context
    ) -> trial_pb2.RollbackPromotionResponse:
        before, job = await self._operations.roll_back(request.name)
        promotion = messages.promotion(before) if before is not None else None
        return trial_pb2.RollbackPromotionResponse(promotion=promotion, job=job_message(job))

    async def ListPromotions(
        self, request: trial_pb2.ListPromotionsRequest, context: Context
    ) -> trial_pb2.ListPromotionsResponse:
        promotions = self._indexes.graphs(request.name).tuned.promotions
        return trial_pb2.ListPromotionsResponse(promotions=[messages.promotion(one) for one in promotions])

    async def GetAgent(self, request: trial_pb2.GetAgentRequest, context: Context) -> trial_pb2.GetAgentResponse:
        return trial_pb2.GetAgentResponse(agent=messages.agent(self._agent.state()))

    async def RunAgent(self, request: trial_pb2.RunAgentRequest, context: Context) -> trial_pb2.RunAgentResponse:
        done, job = await self._agent.run(request.name)
        return trial_pb2.RunAgentResponse(step=messages.step(done), job=job_message(job) if job is not None else None)
