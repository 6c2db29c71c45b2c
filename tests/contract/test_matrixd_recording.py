"""Recording, listing and taking back what a playbook remembers."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from lakehouse.matrix.v1 import playbook_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from services.runtime.errors import InvalidArgument, NotFound
from tests.contract.matrix_client import HASH, Matrix, reason_of


@pytest.fixture
def matrix(mesh: Mesh) -> Matrix:
    return Matrix(mesh)


QUESTION = "three forklift operators for the dock"
PEOPLE = {
    "w-1": "forklift operators for docks, three",
    "w-2": "forklift driver at a dock",
    "w-3": "crane operator",
    "w-4": "pediatric nurse",
}


@pytest.mark.requirement("M5")
@HASH
async def test_an_entry_has_an_id_made_of_question_corpus_and_answer(matrix: Matrix) -> None:
    await matrix.texts("Workers", PEOPLE)
    expected = hashlib.sha256(f"{QUESTION}\x1fWorkers\x1fw-1".encode()).hexdigest()
    assert await matrix.record(QUESTION, "w-1", "Workers") == expected
    assert await matrix.record(QUESTION, "w-1", "WORKERS") == expected


@HASH
async def test_recording_again_replaces(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    request = playbook_pb2.RecordPlaybookRequest(
        query_text=QUESTION, answer_id="w-1", answer_corpus="workers", score=0.25, tags=["a"], judged_by="ann", role="R"
    )
    first = await matrix.stub.RecordPlaybook(request)
    request.score, request.outcome = 0.0, "rejected"
    second = await matrix.stub.RecordPlaybook(request)
    assert (first.replaced, second.replaced) == (False, True)
    assert first.playbook_id == second.playbook_id
    [entry] = (await matrix.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest())).playbooks
    assert (entry.playbook_id, entry.query_text, entry.answer_id, entry.answer_corpus) == (
        first.playbook_id,
        QUESTION,
        "w-1",
        "workers",
    )
    assert (entry.score, entry.outcome, entry.judged_by, entry.role, list(entry.tags)) == (
        0.0,
        "rejected",
        "ann",
        "R",
        ["a"],
    )
    assert entry.recorded_at.seconds > 1_700_000_000


@HASH
async def test_many_first_recordings_at_once_all_arrive(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    made = await asyncio.gather(*[matrix.record(f"{QUESTION} {n}", "w-1", "workers") for n in range(8)])
    listed = (await matrix.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest())).playbooks
    assert {entry.playbook_id for entry in listed} == set(made)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query_text": ""}, "query_text"),
        ({"query_text": "  "}, "query_text"),
        ({"answer_id": ""}, "answer_id"),
        ({"answer_corpus": ""}, "answer_corpus"),
        ({"score": 1.5}, "score"),
        ({"score": float("nan")}, "score"),
        ({"outcome": "maybe"}, "outcome"),
        ({"corpus": "a/b"}, "corpus"),
    ],
)
async def test_a_bad_field_is_refused_by_name(matrix: Matrix, fields: dict[str, Any], field: str) -> None:
    values: dict[str, Any] = {"query_text": "q", "answer_id": "a", "answer_corpus": "c", **fields}
    with pytest.raises(InvalidArgument) as raised:
        await matrix.stub.RecordPlaybook(playbook_pb2.RecordPlaybookRequest(**values))
    assert [violation.field for violation in raised.value.violations] == [field]


@HASH
async def test_an_answer_that_is_not_there_cannot_be_recorded(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    with pytest.raises(NotFound) as raised:
        await matrix.record(QUESTION, "w-99", "workers")
    assert reason_of(raised) == "ANSWER_NOT_FOUND"
    with pytest.raises(NotFound) as raised:
        await matrix.record(QUESTION, "w-1", "nowhere")
    assert reason_of(raised) == "CORPUS_NOT_FOUND"


@HASH
async def test_a_corpus_is_no_playbook(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    with pytest.raises(InvalidArgument) as raised:
        await matrix.record(QUESTION, "w-1", "workers", corpus="workers")
    assert reason_of(raised) == "NOT_A_PLAYBOOK"
    with pytest.raises(InvalidArgument) as raised:
        await matrix.search("workers", query_text=QUESTION, use_playbook=True, playbook_corpus="workers")
    assert reason_of(raised) == "NOT_A_PLAYBOOK"


@HASH
async def test_a_playbook_holds_questions_of_one_model(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.texts("people", PEOPLE, model="wordllama")
    await matrix.record(QUESTION, "w-1", "workers")
    with pytest.raises(InvalidArgument) as raised:
        await matrix.record(QUESTION, "w-1", "people")
    assert reason_of(raised) == "MIXED_MODELS"
    await matrix.record(QUESTION, "w-1", "people", corpus="playbook people")
    with pytest.raises(InvalidArgument) as raised:
        await matrix.search("people", query_text=QUESTION, use_playbook=True)
    assert reason_of(raised) == "MIXED_MODELS"


@HASH
async def test_a_bad_entry_of_a_batch_never_fails_the_others(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    entry = playbook_pb2.PlaybookEntry
    entries = [
        entry(query_text="alpha", answer_id="w-1", answer_corpus="workers"),
        entry(query_text="", answer_id="w-1", answer_corpus="workers"),
        entry(query_text="bravo", answer_id="w-2", answer_corpus="workers", corpus="mine", role="R", score=0.5),
        entry(query_text="charlie", answer_id="w-99", answer_corpus="workers"),
        entry(query_text="delta", answer_id="w-1", answer_corpus="nowhere"),
        entry(query_text="echo", answer_id="w-1", answer_corpus="workers", score=7),
        entry(query_text="foxtrot", answer_id="w-1", answer_corpus="workers", corpus="workers"),
    ]
    response = await matrix.stub.RecordPlaybooks(playbook_pb2.RecordPlaybooksRequest(entries=entries, corpus="shared"))
    assert (response.recorded, response.failed) == (2, 5)
    assert [result.index for result in response.results] == list(range(7))
    assert [result.HasField("playbook_id") for result in response.results] == [True, False, True, *[False] * 4]
    assert [result.HasField("error") for result in response.results] == [False, True, False, *[True] * 4]
    assert response.results[0].playbook_id == hashlib.sha256(b"alpha\x1fworkers\x1fw-1").hexdigest()
    for playbook, expected in (("shared", ["alpha"]), ("mine", ["bravo"])):
        listed = await matrix.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest(corpus=playbook))
        assert [one.query_text for one in listed.playbooks] == expected


async def test_a_batch_without_entries_is_refused(matrix: Matrix) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await matrix.stub.RecordPlaybooks(playbook_pb2.RecordPlaybooksRequest())
    assert raised.value.violations[0].field == "entries"


@HASH
async def test_entries_are_listed_page_by_page_in_the_order_of_ids(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    made = sorted([await matrix.record(f"question {n}", "w-1", "workers") for n in range(5)])
    seen: list[str] = []
    token = ""
    while True:
        page = await matrix.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest(page_size=2, page_token=token))
        seen += [entry.playbook_id for entry in page.playbooks]
        token = page.next_page_token
        if not token:
            break
    assert seen == made


async def test_a_playbook_that_is_not_there_is_not_found(matrix: Matrix) -> None:
    with pytest.raises(NotFound) as raised:
        await matrix.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest(corpus="nowhere"))
    assert reason_of(raised) == "CORPUS_NOT_FOUND"
    with pytest.raises(NotFound) as raised:
        await matrix.stub.DeletePlaybook(playbook_pb2.DeletePlaybookRequest(playbook_id="x"))
    assert reason_of(raised) == "CORPUS_NOT_FOUND"


@HASH
async def test_a_recording_can_be_taken_back(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    made = await matrix.record(QUESTION, "w-3", "workers")
    deleted = await matrix.stub.DeletePlaybook(playbook_pb2.DeletePlaybookRequest(playbook_id=made))
    assert (deleted.playbook.playbook_id, deleted.playbook.answer_id) == (made, "w-3")
    assert (await matrix.search("workers", query_text=QUESTION, use_playbook=True)).boosted == 0
    with pytest.raises(NotFound) as raised:
        await matrix.stub.DeletePlaybook(playbook_pb2.DeletePlaybookRequest(playbook_id=made))
    assert reason_of(raised) == "PLAYBOOK_NOT_FOUND"


@HASH
async def test_deleting_the_playbook_forgets_everything_and_the_next_recording_makes_it_anew(matrix: Matrix) -> None:
    await matrix.texts("workers", PEOPLE)
    await matrix.record(QUESTION, "w-3", "workers")
    await matrix.vector.DeleteIndex(vector_pb2.DeleteIndexRequest(name="playbook_memory"))
    assert (await matrix.search("workers", query_text=QUESTION, use_playbook=True)).boosted == 0
    await matrix.record(QUESTION, "w-2", "workers")
    assert (await matrix.search("workers", query_text=QUESTION, use_playbook=True)).boosted == 1
