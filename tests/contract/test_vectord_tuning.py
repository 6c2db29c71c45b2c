"""Eval sets, trials, promotions and the agent through vectord's stub, on both legs."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from google.protobuf import json_format

from lakehouse.job.v1 import job_pb2
from lakehouse.vector.v1 import operation_pb2, parameters_pb2, trial_pb2, vector_pb2, vector_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tests.contract.vector_client import DIMENSION, Stub, create, ended, info, rebuilt, vectors

ITEMS = 5000
Parameters = parameters_pb2.BuildParameters


@pytest.fixture
def stub(mesh: Mesh) -> Stub:
    return vector_pb2_grpc.VectorServiceStub(mesh.connect("vectord"))


async def tried(stub: Stub, construction: int, search: int, **fields: Any) -> trial_pb2.Trial:
    request = trial_pb2.RunTrialRequest(
        name="workers", parameters=Parameters(ef_construction=construction, ef_search=search), **fields
    )
    job = await ended(stub, (await stub.RunTrial(request)).job.id)
    assert (job.state, job.kind, job.done) == ("succeeded", "index.trial", ITEMS), job
    return trial(json_format.MessageToDict(job.result)["trial"])


def trial(document: dict[str, Any]) -> trial_pb2.Trial:
    return json_format.ParseDict(document, trial_pb2.Trial())


@pytest.mark.requirement("V10")
async def test_an_eval_set_is_given_or_generated_listed_and_deleted(stub: Stub) -> None:
    await create(stub, "workers", 200)
    queries = [trial_pb2.EvalQuery(values=vector) for vector in vectors(3).tolist()]
    given = trial_pb2.CreateEvalSetRequest(name="workers", eval_set="Mine", queries=queries, k=5)
    made = (await stub.CreateEvalSet(given)).eval_set
    assert (made.name, made.index, made.size, made.k, made.origin) == ("Mine", "workers", 3, 5, "given")
    assert not made.HasField("seed")
    generated = trial_pb2.CreateEvalSetRequest(name="workers", eval_set="auto")
    made = (await stub.CreateEvalSet(generated)).eval_set
    assert (made.size, made.k, made.origin, made.seed) == (100, 10, "generated", 42)
    listed = (await stub.ListEvalSets(trial_pb2.ListEvalSetsRequest(name="WORKERS"))).eval_sets
    assert [one.name for one in listed] == ["Mine", "auto"]
    with pytest.raises(AlreadyExists) as raised:
        await stub.CreateEvalSet(trial_pb2.CreateEvalSetRequest(name="workers", eval_set="MINE"))
    assert raised.value.reason == "EVAL_SET_EXISTS"
    gone = await stub.DeleteEvalSet(trial_pb2.DeleteEvalSetRequest(name="workers", eval_set="mine"))
    assert gone.eval_set.name == "Mine"
    with pytest.raises(NotFound) as missing:
        await stub.DeleteEvalSet(trial_pb2.DeleteEvalSetRequest(name="workers", eval_set="mine"))
    assert missing.value.reason == "EVAL_SET_NOT_FOUND"


@pytest.mark.requirement("V10", "X3")
async def test_a_bad_question_is_refused_by_its_place(stub: Stub) -> None:
    await create(stub, "workers")
    good = [1.0] * DIMENSION
    for bad, reason in (([1.0], "WRONG_DIMENSION"), ([math.nan] * DIMENSION, "NOT_FINITE")):
        queries = [trial_pb2.EvalQuery(values=values) for values in (good, bad)]
        with pytest.raises(InvalidArgument) as raised:
            await stub.CreateEvalSet(trial_pb2.CreateEvalSetRequest(name="workers", eval_set="x", queries=queries))
        assert raised.value.reason == reason
        assert raised.value.violations[0].field == "queries[1].values"
    with pytest.raises(FailedPrecondition) as empty:
        await stub.CreateEvalSet(trial_pb2.CreateEvalSetRequest(name="workers", eval_set="x"))
    assert empty.value.reason == "INDEX_EMPTY"


@pytest.mark.requirement("V10")
async def test_a_trial_measures_parameters_aside_and_is_kept(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)
    poor = await tried(stub, 10, 10)
    good = await tried(stub, 200, 60)
    assert 0 < poor.recall < good.recall <= 1
    assert good.recall > 0.9
    assert (good.parameters.m, good.parameters.ef_construction, good.parameters.ef_search) == (16, 200, 60)
    assert (good.items, good.started_by, good.eval_set) == (ITEMS, "call", "generated")
    assert 0 < good.p50_ms <= good.p99_ms
    assert good.build_seconds > 0
    assert (await info(stub, "workers")).parameters.ef_search == 0
    page = await stub.ListTrials(trial_pb2.ListTrialsRequest(name="workers", page_size=1))
    rest = await stub.ListTrials(trial_pb2.ListTrialsRequest(name="workers", page_token=page.next_page_token))
    assert [*page.trials, *rest.trials] == [good, poor]
    assert rest.next_page_token == ""
    assert len((await stub.ListEvalSets(trial_pb2.ListEvalSetsRequest(name="workers"))).eval_sets) == 1
    await stub.DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    await create(stub, "workers")
    assert not (await stub.ListTrials(trial_pb2.ListTrialsRequest(name="workers"))).trials
    assert not (await stub.ListEvalSets(trial_pb2.ListEvalSetsRequest(name="workers"))).eval_sets


@pytest.mark.requirement("V10")
@pytest.mark.settings(vector={"trial_rows": 4500})
async def test_a_trial_of_a_large_index_takes_an_even_sample_and_says_so(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)
    request = trial_pb2.RunTrialRequest(name="workers", parameters=Parameters(ef_construction=40))
    job = await ended(stub, (await stub.RunTrial(request)).job.id)
    made = trial(json_format.MessageToDict(job.result)["trial"])
    assert (job.done, made.items, made.parameters.ef_construction) == (4500, 4500, 40)


@pytest.mark.requirement("V10")
async def test_a_trial_that_cannot_be_is_refused(stub: Stub) -> None:
    await create(stub, "workers", 10)
    await create(stub, "empty")
    fine = Parameters(ef_construction=80, ef_search=30)
    for name, eval_set, parameters, reason in (
        ("nobody", "", fine, "INDEX_NOT_FOUND"),
        ("workers", "nobody", fine, "EVAL_SET_NOT_FOUND"),
        ("empty", "", fine, "INDEX_EMPTY"),
        ("workers", "", Parameters(ef_construction=9, ef_search=30), "INVALID_ARGUMENT"),
        ("workers", "", Parameters(ef_construction=80, ef_search=201), "INVALID_ARGUMENT"),
    ):
        for call in (
            stub.RunTrial(trial_pb2.RunTrialRequest(name=name, eval_set=eval_set, parameters=parameters)),
            stub.Autotune(trial_pb2.AutotuneRequest(name=name, eval_set=eval_set, grid=[parameters])),
        ):
            with pytest.raises((NotFound, InvalidArgument, FailedPrecondition)) as raised:
                await call
            assert raised.value.reason == reason


async def tuned(stub: Stub, **fields: Any) -> tuple[job_pb2.Job, dict[str, Any]]:
    started = await stub.Autotune(trial_pb2.AutotuneRequest(name="workers", **fields))
    job = await ended(stub, started.job.id)
    assert (job.state, job.kind, job.done) == ("succeeded", "index.autotune", job.total), job
    return job, json_format.MessageToDict(job.result)


@pytest.mark.requirement("V10")
async def test_autotune_tries_the_grid_and_names_the_best_that_finds_enough(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)
    job, result = await tuned(stub)
    assert job.done == 5 * ITEMS
    trials = [trial(one) for one in result["trials"]]
    pairs = [(one.parameters.ef_construction, one.parameters.ef_search) for one in trials]
    assert pairs == [(20, 30), (40, 30), (80, 30), (80, 60), (160, 30)]
    assert {one.started_by for one in trials} == {"autotune"}
    won = trial(result["winner"])
    assert won == min(trials, key=lambda one: (-one.recall, one.p50_ms))
    assert result["promoted"] is False
    assert (await info(stub, "workers")).parameters.ef_search == 0
    grid = [Parameters(ef_construction=10, ef_search=10)]
    _, result = await tuned(stub, grid=grid, minimum_recall=1.0, promote=True)
    assert "winner" not in result
    assert result["promoted"] is False
    _, result = await tuned(stub, grid=grid, minimum_recall=0.0, promote=True)
    assert result["promoted"] is True
    assert (await info(stub, "workers")).parameters.ef_construction == 10


@pytest.mark.requirement("V10")
async def test_a_promotion_is_taken_back_until_the_first_parameters_count_again(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)
    poor, good = await tried(stub, 10, 10), await tried(stub, 200, 60)

    async def promote(one: trial_pb2.Trial, **fields: Any) -> trial_pb2.PromoteTrialResponse:
        response = await stub.PromoteTrial(trial_pb2.PromoteTrialRequest(name="workers", trial_id=one.id, **fields))
        assert (await ended(stub, response.job.id)).state == "succeeded"
        return response

    async def roll_back() -> trial_pb2.RollbackPromotionResponse:
        response = await stub.RollbackPromotion(trial_pb2.RollbackPromotionRequest(name="workers"))
        assert (await ended(stub, response.job.id)).state == "succeeded"
        return response

    with pytest.raises(FailedPrecondition) as raised:
        await promote(poor, minimum_recall=1.0)
    assert raised.value.reason == "RECALL_TOO_LOW"
    with pytest.raises(NotFound) as missing:
        await promote(trial_pb2.Trial(id="99"))
    assert missing.value.reason == "TRIAL_NOT_FOUND"
    assert (await promote(poor, minimum_recall=0.0)).promotion.recall == poor.recall
    assert (await promote(good)).promotion.parameters == good.parameters
    seen = await info(stub, "workers")
    assert (seen.parameters, seen.segments) == (good.parameters, 1)
    listed = (await stub.ListPromotions(trial_pb2.ListPromotionsRequest(name="workers"))).promotions
    assert [one.trial_id for one in listed] == [good.id, poor.id]
    assert (await roll_back()).promotion.trial_id == poor.id
    assert (await info(stub, "workers")).parameters == poor.parameters
    assert not (await roll_back()).HasField("promotion")
    seen = await info(stub, "workers")
    assert (seen.parameters.ef_construction, seen.parameters.ef_search) == (80, 0)
    with pytest.raises(FailedPrecondition) as nothing:
        await roll_back()
    assert nothing.value.reason == "NOTHING_TO_ROLL_BACK"


@pytest.mark.requirement("V10")
@pytest.mark.settings(vector={"agent_cool_down_seconds": 600.0})
async def test_the_agent_runs_a_trial_when_asked_and_keeps_to_its_limits(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)
    await create(stub, "small", 10)
    with pytest.raises(NotFound):
        await stub.RunAgent(trial_pb2.RunAgentRequest(name="nobody"))
    small = await stub.RunAgent(trial_pb2.RunAgentRequest(name="small"))
    assert (small.step.action, small.HasField("job")) == ("skipped", False)
    woken = await stub.RunAgent(trial_pb2.RunAgentRequest(name="workers"))
    assert (woken.step.action, woken.step.index) == ("exploited", "workers")
    job = await ended(stub, woken.job.id)
    assert (job.state, job.kind) == ("succeeded", "index.agent")
    agent = (await stub.GetAgent(trial_pb2.GetAgentRequest())).agent
    assert (agent.enabled, agent.trials_last_hour) == (False, 1)
    assert agent.next_trial_at.ToSeconds() > woken.step.at.ToSeconds() + 590
    (made,) = (await stub.ListTrials(trial_pb2.ListTrialsRequest(name="workers"))).trials
    assert (made.started_by, made.id) == ("agent", agent.steps[0].trial_id)
    again = await stub.RunAgent(trial_pb2.RunAgentRequest(name="workers"))
    assert (again.step.action, again.HasField("job")) == ("skipped", False)


@pytest.mark.requirement("V10")
async def test_the_agent_gives_way_to_whoever_wants_to_work(stub: Stub) -> None:
    await create(stub, "workers", ITEMS, parameters=Parameters(ef_construction=400))
    woken = await stub.RunAgent(trial_pb2.RunAgentRequest(name="workers"))
    assert woken.job.kind == "index.agent"
    await rebuilt(stub, name="workers")
    assert (await stub.GetJob(operation_pb2.GetJobRequest(job_id=woken.job.id))).job.state == "cancelled"


@pytest.mark.requirement("V10")
@pytest.mark.settings(vector={"agent": True, "agent_trials_per_hour": 2, "agent_cool_down_seconds": 0.0})
async def test_the_agent_works_by_itself_when_it_is_enabled(stub: Stub) -> None:
    await create(stub, "workers", ITEMS)

    async def both_steps() -> trial_pb2.Agent:
        while True:
            agent = (await stub.GetAgent(trial_pb2.GetAgentRequest())).agent
            if sum(bool(step.trial_id) for step in agent.steps) >= 2:
                return agent
            await asyncio.sleep(0.05)

    agent = await asyncio.wait_for(both_steps(), 30)
    assert agent.enabled
    assert agent.trials_last_hour == 2
    trials = (await stub.ListTrials(trial_pb2.ListTrialsRequest(name="workers"))).trials
    assert {one.started_by for one in trials} == {"agent"}
    assert len({(one.parameters.ef_construction, one.parameters.ef_search) for one in trials}) == 2
    assert agent.next_trial_at.ToSeconds() > agent.steps[-1].at.ToSeconds() + 3500
