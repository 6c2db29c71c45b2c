"""Changes of ranking: tried in shadow, promoted with evidence, rolled back."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.job.v1 import job_pb2
from lakehouse.matrix.v1 import search_pb2, tuning_pb2

from services.mesh import Mesh
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.contract.corpus_factory import Factory
from tests.contract.matrix_client import HASH, ids

pytestmark = [HASH, pytest.mark.settings(embed={"hash_dimension": 8})]

SHARED = "worker who can help in many places of the plant"
COUNT = 48
ROWS = [("id", "bio"), *((number, f"{SHARED} quux{number:02d}") for number in range(COUNT))]


class Tuner(Factory):
    """Asks for experiments."""

    async def experiment(self, **fields: Any) -> job_pb2.Job:
        queries = [
            tuning_pb2.LabelledQuery(
                query_text=f"help of quux{number:02d}", answers=[tuning_pb2.RelevantAnswer(answer_id=f"w-{number}")]
            )
            for number in range(COUNT)
        ]
        values: dict[str, Any] = {
            "corpora": ["workers"],
            "queries": queries,
            "candidate": tuning_pb2.Tuning(retrieval="lexical"),
        }
        response = await self.stub.RunExperiment(tuning_pb2.RunExperimentRequest(**(values | fields)))
        return await self.ended(response.job.id)

    async def newest(self) -> tuning_pb2.Experiment:
        return (await self.stub.ListExperiments(tuning_pb2.ListExperimentsRequest())).experiments[0]

    async def promote(self, experiment_id: str) -> tuning_pb2.Tuning:
        request = tuning_pb2.PromoteExperimentRequest(experiment_id=experiment_id)
        return (await self.stub.PromoteExperiment(request)).tuning

    async def counts(self) -> tuple[str, str, int]:
        current = await self.stub.GetTuning(tuning_pb2.GetTuningRequest())
        return current.tuning.retrieval, current.experiment_id, current.previous


@pytest.fixture
async def tuner(mesh: Mesh) -> Tuner:
    made = Tuner(mesh)
    await made.dataset(ROWS)
    assert (await made.build()).state == "succeeded"
    return made


async def test_a_change_that_is_better_is_promoted_for_every_search_and_rolled_back(tuner: Tuner) -> None:
    dense = await tuner.search("workers", query_text="help of quux07", k=3)
    job = await tuner.experiment()
    assert (job.state, job.done) == ("succeeded", COUNT // 2)
    assert ids(await tuner.search("workers", query_text="help of quux07", k=3)) == ids(dense)
    found = await tuner.newest()
    assert job.result["experiment_id"] == found.id
    assert (found.queries, found.held_out, found.candidate_ndcg, found.promotable) == (COUNT, COUNT // 2, 1.0, True)
    assert 0 < found.low <= found.candidate_ndcg - found.baseline_ndcg <= found.high
    assert await tuner.counts() == ("dense", "", 0)
    assert (await tuner.promote(found.id)).retrieval == "lexical"
    await tuner.promote(found.id)
    assert await tuner.counts() == ("lexical", found.id, 1)
    assert ids(await tuner.search("workers", query_text="help of quux07"))[0] == "w-7"
    asked = await tuner.search("workers", query_text="help of quux07", k=3, retrieval="dense")
    assert ids(asked) == ids(dense)
    await tuner.texts("plain", {"p-1": "help"})
    assert ids(await tuner.search("plain", query_text="help")) == ["p-1"]
    back = await tuner.stub.RollbackTuning(tuning_pb2.RollbackTuningRequest())
    assert back.tuning.retrieval == "dense"
    assert await tuner.counts() == ("dense", "", 0)
    with pytest.raises(FailedPrecondition) as nothing:
        await tuner.stub.RollbackTuning(tuning_pb2.RollbackTuningRequest())
    assert nothing.value.reason == "NOTHING_TO_ROLL_BACK"


async def test_a_change_without_evidence_is_not_promoted(tuner: Tuner) -> None:
    await tuner.experiment(candidate=tuning_pb2.Tuning(retrieval="dense"))
    same = await tuner.newest()
    assert (same.low, same.high, same.promotable) == (0.0, 0.0, False)
    with pytest.raises(FailedPrecondition) as raised:
        await tuner.promote(same.id)
    assert raised.value.reason == "NOT_PROMOTABLE"
    with pytest.raises(NotFound) as missing:
        await tuner.promote("nothing")
    assert missing.value.reason == "EXPERIMENT_NOT_FOUND"


async def test_evidence_about_another_tuning_is_no_evidence(tuner: Tuner) -> None:
    await tuner.experiment()
    first = await tuner.newest()
    fusion = search_pb2.Fusion(dense_weight=0.01)
    await tuner.experiment(candidate=tuning_pb2.Tuning(retrieval="hybrid", fusion=fusion))
    second = await tuner.newest()
    assert second.promotable
    await tuner.promote(first.id)
    with pytest.raises(FailedPrecondition):
        await tuner.promote(second.id)


async def test_the_same_seed_gives_the_same_result(tuner: Tuner) -> None:
    results = []
    for seed in (7, 7, 8):
        await tuner.experiment(seed=seed, held_out=0.25)
        one = await tuner.newest()
        results.append((one.held_out, one.baseline_ndcg, one.low, one.high))
    assert results[0] == results[1] != results[2]


async def test_remembered_questions_can_decide(tuner: Tuner) -> None:
    with pytest.raises(NotFound):
        await tuner.experiment(queries=[])
    for number in range(24):
        await tuner.record(
            f"quux{number:02d}", f"w-{number}", "workers", outcome="accepted" if number < 20 else "rejected"
        )
    assert (await tuner.experiment(queries=[])).state == "succeeded"
    assert (await tuner.newest()).queries == 20


async def test_too_few_questions_decide_nothing(tuner: Tuner) -> None:
    queries = [tuning_pb2.LabelledQuery(query_text="q", answers=[tuning_pb2.RelevantAnswer(answer_id="w-1")])] * 19
    with pytest.raises(InvalidArgument):
        await tuner.experiment(queries=queries)
    with pytest.raises(NotFound):
        await tuner.experiment(corpora=["nowhere"])
