"""Words beside meaning, and structured conditions met before anything is ranked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lakehouse.matrix.v1 import search_pb2

from services.mesh import SECTIONS, Mesh
from services.runtime.config import Settings
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.contract.corpus_factory import Factory, eventually
from tests.contract.matrix_client import HASH, ids, where

pytestmark = HASH

ROWS = [
    ("id", "bio", "city", "years"),
    (1, "forklift operator at the docks, zebra certificate", "Detroit", 3),
    (2, "night nurse in a clinic", "Toledo", 4),
    (3, "crane operator, forklift too", "Detroit", 5),
    (4, "pediatric nurse with zebra badge", "Columbus", 6),
]


@pytest.fixture
async def factory(mesh: Mesh) -> Factory:
    made = Factory(mesh)
    await made.dataset(ROWS)
    assert (await made.build()).state == "succeeded"
    return made


async def test_words_find_what_has_them(factory: Factory) -> None:
    found = await factory.search("workers", query_text="zebra nurses", retrieval="lexical", explain=True)
    assert ids(found) == ["w-4", "w-2", "w-1"]
    assert dict(found.per_corpus_counts) == {"workers": 3}
    assert found.hits[0].metadata["city"] == "Columbus"
    assert found.embedding_model == ""
    for rank, hit in enumerate(found.hits):
        told = hit.explanation
        assert (told.lexical_rank, told.HasField("dense_rank")) == (rank, False)
        assert hit.distance == pytest.approx(10 / (told.lexical_score + 10))
        assert 0 < hit.distance < 1


@pytest.mark.requirement("M10")
@pytest.mark.parametrize("method", ["rrf", "dbsf"])
async def test_hybrid_fuses_both_arms_and_explains_them(factory: Factory, method: str) -> None:
    fusion = search_pb2.Fusion(method=method, dense_weight=1, lexical_weight=2)
    found = await factory.search("workers", query_text="zebra nurse", retrieval="hybrid", fusion=fusion, explain=True)
    assert ids(found)[0] == "w-4"
    assert set(ids(found)) == {"w-1", "w-2", "w-3", "w-4"}
    for hit in found.hits:
        told = hit.explanation
        assert hit.distance == told.cold_distance == 1 - told.fused_score
        assert told.HasField("dense_distance")
    assert not found.hits[ids(found).index("w-3")].explanation.HasField("lexical_rank")


@pytest.mark.requirement("M2", "M14")
@pytest.mark.parametrize("retrieval", ["dense", "lexical", "hybrid"])
async def test_conditions_hold_for_every_arm_before_ranking(factory: Factory, retrieval: str) -> None:
    async def found(**fields: Any) -> set[str]:
        asked = "zebra nurse forklift operator"
        return set(ids(await factory.search("workers", query_text=asked, retrieval=retrieval, **fields)))

    assert await found() == {"w-1", "w-2", "w-3", "w-4"}
    assert await found(where="city = 'Detroit' AND years > 3") == {"w-3"}
    assert await found(where="years > 3 -- and a remark") == {"w-2", "w-3", "w-4"}
    assert await found(where="years > 100") == set()
    assert await found(where="city <> ')' AND (years = 6) /* ( */") == {"w-4"}
    assert await found(sql="SELECT id FROM people WHERE years < 5 ORDER BY id") == {"w-1", "w-2"}
    assert await found(sql="SELECT 'w-' || id FROM people WHERE years = 6") == {"w-4"}
    assert await found(sql="SELECT id FROM people WHERE false") == set()
    assert await found(sql="SELECT id FROM people WHERE years < 5", where="city = 'Detroit'") == {"w-1"}
    assert await found(exclude_ids=["w-1"], k=3) == {"w-2", "w-3", "w-4"}
    assert await found(filter=where("city", "Detroit"), k=2) == {"w-1", "w-3"}
    assert len(await found(where="years > 3", filter=where("city", "Detroit"), k=1)) == 1


async def test_conditions_hold_for_what_the_playbook_brings_in(factory: Factory) -> None:
    await factory.record("zebra nurse", "w-3", "workers")
    asked: dict[str, Any] = {"query_text": "zebra nurse", "k": 1, "use_playbook": True}
    assert (await factory.search("workers", **asked)).injected == 1
    assert (await factory.search("workers", where="city = 'Detroit'", **asked)).injected <= 1
    shut_out = await factory.search("workers", where="city <> 'Detroit'", **asked)
    assert (shut_out.injected, ids(shut_out)[0]) == (0, "w-4")


async def test_a_remembered_answer_counts_in_a_hybrid_search(factory: Factory) -> None:
    asked: dict[str, Any] = {"query_text": "zebra nurse", "retrieval": "hybrid", "explain": True, "use_playbook": True}
    assert ids(await factory.search("workers", **asked))[0] == "w-4"
    await factory.record("zebra nurse", "w-2", "workers")
    warm = await factory.search("workers", **asked)
    assert (ids(warm)[0], warm.boosted) == ("w-2", 1)
    for hit in warm.hits:
        assert hit.explanation.cold_distance * hit.explanation.boost_factor == hit.distance


@pytest.mark.requirement("M14")
async def test_conditions_reach_the_pieces_of_documents(factory: Factory) -> None:
    await factory.build(corpus="pieces", chunk_size=16, chunk_overlap=2)
    for retrieval in ("dense", "hybrid"):
        found = await factory.search("pieces", query_text="nurse", retrieval=retrieval, where="city = 'Toledo'", k=50)
        assert {item.partition("#")[0] for item in ids(found)} == {"w-2"}
        assert len(found.hits) > 1


async def test_a_rebuilt_corpus_has_its_new_words(factory: Factory) -> None:
    await factory.dataset([*ROWS[:3], (5, "quagga keeper", "Akron", 1)])
    assert (await factory.refresh()).state == "succeeded"
    assert ids(await factory.search("workers", query_text="quagga", retrieval="lexical")) == ["w-5"]
    assert ids(await factory.search("workers", query_text="pediatric crane", retrieval="lexical")) == []


@pytest.mark.parametrize("local", [True, False], ids=["local", "remote"])
async def test_words_that_were_lost_are_made_again(tmp_path: Path, local: bool) -> None:
    settings = Settings(SECTIONS, overrides={"mesh": {"data": tmp_path}, "embed": {"default_model": "hash"}})
    for lost in (False, True):
        mesh = Mesh(settings, instance_id="test", local=local, ephemeral=True)
        await mesh.start()
        factory = Factory(mesh)
        if not lost:
            await factory.dataset(ROWS)
            await factory.build()
        found = await factory.search("workers", query_text="zebra nurse", retrieval="lexical")
        await mesh.stop(grace=0)
        assert ids(found)[0] == "w-4"
        shutil.rmtree(tmp_path / "matrixd" / "lexical")


async def test_a_corpus_of_vectors_alone_has_no_words(factory: Factory) -> None:
    await factory.texts("plain", {"p-1": "a text"})
    for retrieval in ("lexical", "hybrid"):
        with pytest.raises(FailedPrecondition) as raised:
            await factory.search("plain", query_text="a", retrieval=retrieval)
        assert (raised.value.reason, raised.value.metadata["corpus"]) == ("NO_TEXTS", "plain")
    with pytest.raises(FailedPrecondition) as condition:
        await factory.search("plain", query_text="a", where="x = 1")
    assert condition.value.reason == "NO_DATASET"
    with pytest.raises(NotFound):
        await factory.search("nowhere", query_text="a", retrieval="lexical")


@pytest.mark.parametrize(
    "fields",
    [
        {"where": "no_such_column = 1"},
        {"where": "1 = 1) UNION (SELECT 2"},
        {"where": "city = ')' OR ("},
        {"where": "1 = 1; SELECT 1"},
        {"sql": "DROP TABLE people"},
        {"retrieval": "lexical", "query_text": " "},
        {"retrieval": "hybrid", "fusion": search_pb2.Fusion(dense_weight=0, lexical_weight=0)},
    ],
)
async def test_what_cannot_be_asked_is_refused(factory: Factory, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await factory.search("workers", **({"query_text": "nurse"} | fields))


RUBRIC = search_pb2.JudgeGate(judge="rubric")
RUBRIC.expected.update({"city": "detroit", "years": 5})


@pytest.mark.requirement("M9")
async def test_a_judge_keeps_out_what_it_rates_low(factory: Factory) -> None:
    await factory.record("zebra nurse", "w-1", "workers")
    await factory.record("zebra nurse", "w-3", "workers")
    asked: dict[str, Any] = {"query_text": "zebra nurse", "k": 2, "per_corpus_k": 1, "use_playbook": True}
    found = await factory.search("workers", judge_gate=RUBRIC, explain=True, **asked)
    assert found.injected == 1
    assert {hit.id: hit.rating for hit in found.hits if hit.HasField("rating")} == {"w-3": 5}
    [kept_out] = found.rejected_entries
    assert [verdict.gate for verdict in kept_out.gates if not verdict.passed] == ["judge"]
    lenient = search_pb2.JudgeGate()
    lenient.CopyFrom(RUBRIC)
    lenient.minimum_rating, lenient.rate_top = 3, True
    both = await factory.search("workers", judge_gate=lenient, **(asked | {"k": 4}))
    assert {hit.id: hit.rating for hit in both.hits if hit.HasField("rating")} == {"w-1": 3, "w-3": 5}
    cold = await factory.search("workers", judge_gate=lenient, query_text="zebra nurse", k=2)
    assert [hit.HasField("rating") for hit in cold.hits] == [True, False]
    assert cold.hits[0].rating == 1


@pytest.mark.requirement("M9")
async def test_answers_are_rated_in_order_and_absent_ones_are_not(factory: Factory) -> None:
    request = search_pb2.RateAnswersRequest(query_text="q", corpus="workers", ids=["w-3", "w-9", "w-2"], judge=RUBRIC)
    ratings = (await factory.stub.RateAnswers(request)).ratings
    assert [(one.id, one.rating if one.HasField("rating") else None) for one in ratings] == [
        ("w-3", 5),
        ("w-9", None),
        ("w-2", 1),
    ]
    request.judge.expected.Clear()
    with pytest.raises(InvalidArgument):
        await factory.stub.RateAnswers(request)


@pytest.mark.requirement("M9")
async def test_a_search_says_when_even_its_best_hit_is_a_stretch(factory: Factory) -> None:
    rows = [("id", "bio"), *((number, f"painter of wall {number} in the old town") for number in range(30))]
    await factory.dataset(rows, "painters")
    await factory.build(corpus="painters", dataset="painters", id_prefix="p-")
    asked: dict[str, Any] = {"query_text": "a painter of wall 7 in town"}
    assert not (await factory.search("painters", **asked)).HasField("stretch")
    for number in range(25):
        await factory.record(f"a painter of wall {number} in town", f"p-{number}", "painters")

    async def known() -> bool:
        return (await factory.search("painters", **asked)).HasField("stretch")

    await eventually(known)
    for retrieval in ("dense", "hybrid"):
        assert not (await factory.search("painters", retrieval=retrieval, **asked)).stretch
        far = await factory.search("painters", query_text="quantum chromodynamics lecture", retrieval=retrieval)
        assert far.stretch
    assert not (await factory.search("workers", query_text="anything")).HasField("stretch")
