"""What a playbook changes in a search: boost, injection, gates, explanation."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from lakehouse.embed.v1 import embed_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from tests.contract.matrix_client import HASH, Matrix, ids, where


@pytest.fixture
def matrix(mesh: Mesh) -> Matrix:
    return Matrix(mesh)


QUESTION = "three forklift operators for the dock"
SAME = "three forklift operators for dock"
OTHER = "pediatric nurse on sundays"
PEOPLE = {
    "w-1": "forklift operators for docks, three",
    "w-2": "forklift driver at a dock",
    "w-3": "crane operator",
    "w-4": "pediatric nurse",
}


@pytest.mark.requirement("M6")
@HASH
async def test_a_recorded_answer_is_boosted_exactly(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    cold = await matrix.search("workers", query_text=QUESTION, use_playbook=True)
    assert (cold.boosted, cold.injected) == (0, 0)
    place = ids(cold).index("w-3")
    await matrix.record(QUESTION, "w-3", "workers", score=1.0)
    warm = await matrix.search("workers", query_text=QUESTION, use_playbook=True)
    assert (warm.boosted, warm.injected) == (1, 0)
    hit = next(hit for hit in warm.hits if hit.id == "w-3")
    assert hit.distance == cold.hits[place].distance * 0.5
    assert ids(warm).index("w-3") < place
    unused = await matrix.search("workers", query_text=QUESTION)
    assert [(hit.id, hit.distance) for hit in unused.hits] == [(hit.id, hit.distance) for hit in cold.hits]


@pytest.mark.requirement("M7")
@HASH
async def test_a_missed_answer_is_injected_with_its_own_metadata(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-4", "workers", score=0.8)
    near = await matrix.distance(QUESTION, SAME)
    assert near < 0.2
    warm = await matrix.search("workers", query_text=SAME, k=2, per_corpus_k=2, use_playbook=True)
    assert (warm.boosted, warm.injected) == (0, 1)
    assert len(warm.hits) == 2
    hit = next(hit for hit in warm.hits if hit.id == "w-4")
    assert hit.distance == pytest.approx(near * 0.6, abs=1e-6)
    assert MessageToDict(hit.metadata) == {"name": "w-4"}


@HASH
async def test_another_question_is_left_alone(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-3", "workers")
    cold = await matrix.search("workers", query_text=OTHER)
    warm = await matrix.search("workers", query_text=OTHER, use_playbook=True)
    assert [(hit.id, hit.distance) for hit in warm.hits] == [(hit.id, hit.distance) for hit in cold.hits]
    assert (warm.boosted, warm.injected) == (0, 0)


@pytest.mark.parametrize(
    ("gate", "fields"),
    [
        ("excluded", {"exclude_ids": ["w-4"]}),
        ("filter", {"filter": where("name", "w-1")}),
        ("distance", {"inject_max_distance": 0.0001}),
        ("role", {"query_role": "Crane Operator"}),
    ],
)
@HASH
async def test_a_gate_keeps_an_answer_out_and_says_so(matrix: Matrix, gate: str, fields: dict[str, Any]) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-4", "workers", role="Nurse")
    warm = await matrix.search(
        "workers", query_text=SAME, k=2, per_corpus_k=2, use_playbook=True, explain=True, **fields
    )
    assert "w-4" not in ids(warm)
    assert warm.injected == 0
    [rejected] = warm.rejected_entries
    assert [verdict.gate for verdict in rejected.gates if not verdict.passed] == [gate]
    assert (rejected.answer_id, rejected.answer_corpus) == ("w-4", "workers")


@pytest.mark.requirement("M8")
@HASH
async def test_the_same_role_in_other_spelling_passes(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-4", "workers", role="Forklift Operator")
    warm = await matrix.search(
        "workers", query_text=SAME, k=1, per_corpus_k=1, use_playbook=True, query_role=" forklift operators"
    )
    assert warm.injected == 1


@HASH
async def test_an_answer_that_is_gone_is_not_injected(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-4", "workers")
    await matrix.vector.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=["w-4"]))
    warm = await matrix.search("workers", query_text=SAME, use_playbook=True)
    assert ids(warm) == ids(await matrix.search("workers", query_text=SAME))


@HASH
async def test_an_answer_of_a_corpus_that_is_not_asked_stays_out(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.texts("others", {"o-1": "crane operator"})
    await matrix.record(QUESTION, "w-4", "workers")
    warm = await matrix.search("others", query_text=SAME, use_playbook=True)
    assert ids(warm) == ["o-1"]


@HASH
async def test_a_rejected_answer_is_moved_away_by_half_of_its_distance_at_most(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    cold = await matrix.search("workers", query_text=QUESTION)
    await matrix.record(QUESTION, "w-2", "workers", outcome="rejected", score=0.8)
    warm = await matrix.search("workers", query_text=QUESTION, use_playbook=True, explain=True)
    assert (warm.boosted, warm.injected) == (0, 0)
    before, after = ({hit.id: hit.distance for hit in found.hits} for found in (cold, warm))
    assert after["w-2"] == before["w-2"] * 1.4
    assert {key: value for key, value in after.items() if key != "w-2"} == {
        key: value for key, value in before.items() if key != "w-2"
    }
    told = next(hit.explanation for hit in warm.hits if hit.id == "w-2")
    assert (told.boost_factor, told.injected) == (1.4, False)


@HASH
async def test_a_rejected_answer_that_was_not_found_is_not_brought_in(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-4", "workers", outcome="rejected")
    warm = await matrix.search("workers", query_text=QUESTION, k=1, use_playbook=True, explain=True)
    assert "w-4" not in ids(warm)
    [rejected] = warm.rejected_entries
    assert [verdict.gate for verdict in rejected.gates if not verdict.passed] == ["outcome"]


@HASH
async def test_an_explanation_recomputes_every_distance(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    boosted = await matrix.record(QUESTION, "w-2", "workers", score=0.5)
    injected = await matrix.record(SAME, "w-4", "workers", score=0.9)
    fields: dict[str, Any] = {"query_text": QUESTION, "k": 4, "per_corpus_k": 3, "use_playbook": True}
    warm = await matrix.search("workers", explain=True, **fields)
    cold = await matrix.search("workers", query_text=QUESTION, k=3)
    for hit in warm.hits:
        told = hit.explanation
        base = told.playbook_distance if told.injected else told.cold_distance
        assert base * told.boost_factor == hit.distance
        if told.injected:
            assert not told.HasField("cold_rank")
        else:
            assert cold.hits[told.cold_rank].id == hit.id
            assert cold.hits[told.cold_rank].distance == told.cold_distance
        assert all(verdict.passed for verdict in told.gates)
    by_id = {hit.id: hit.explanation for hit in warm.hits}
    assert (by_id["w-2"].playbook_id, by_id["w-2"].boost_factor, by_id["w-2"].playbook_score) == (boosted, 0.75, 0.5)
    assert (by_id["w-4"].playbook_id, by_id["w-4"].injected) == (injected, True)
    assert (by_id["w-1"].playbook_id, by_id["w-1"].boost_factor) == ("", 1.0)
    assert [hit.id for hit in (await matrix.search("workers", **fields)).hits] == [hit.id for hit in warm.hits]


@HASH
async def test_a_search_by_vector_reads_the_playbook_too(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-3", "workers")
    response = await matrix.embed.Embed(embed_pb2.EmbedRequest(texts=[QUESTION], model="hash"))
    warm = await matrix.search("workers", query_vector=response.embeddings[0].values, use_playbook=True)
    assert warm.boosted == 1


@HASH
async def test_one_coordinator_reads_the_playbook_of_another(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-3", "workers", corpus="playbook alice")
    assert (await matrix.search("workers", query_text=QUESTION, use_playbook=True)).boosted == 0
    taken = await matrix.search("workers", query_text=QUESTION, use_playbook=True, playbook_corpus="Playbook Alice")
    assert taken.boosted == 1


async def test_a_paraphrase_profits_from_what_was_recorded(matrix: Matrix) -> None:
    roles = ("Forklift operator", "Picker", "Welder", "Registered nurse", "CNC operator")
    cities = ("Detroit", "Toledo", "Cleveland", "Columbus", "Dayton", "Akron")
    workers = {f"w-{role}-{city}": f"{role} in {city}" for role in roles for city in cities}
    workers["w-best"] = "Dock veteran, certified for heavy lift trucks"
    await matrix.texts("workers", workers, model="wordllama")
    question = "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30"
    reworded = "Looking for three forklift drivers in Detroit, Michigan starting 6:00, with OSHA-30"
    before = await matrix.search("workers", query_text=reworded, k=5, use_playbook=True)
    assert "w-best" not in ids(before)
    await matrix.record(question, "w-best", "workers", role="Forklift Operator")
    after = await matrix.search("workers", query_text=reworded, k=5, use_playbook=True, query_role="forklift operators")
    assert ids(after)[0] == "w-best"
    assert after.injected == 1
    nurses = await matrix.search("workers", query_text="Registered nurse for the weekend", k=5, use_playbook=True)
    assert (nurses.boosted, nurses.injected) == (0, 0)
