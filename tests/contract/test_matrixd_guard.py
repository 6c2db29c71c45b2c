"""A playbook that cannot mislead: the guard, outcomes, undo, retirement, feedback and hand-over."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.matrix.v1 import playbook_pb2, search_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.contract.corpus_factory import Factory, eventually
from tests.contract.matrix_client import HASH, where

ROLES = {"Forklift Operator": "lift truck driver", "Electrician": "wireman", "Line Cook": "grill cook"}
CITIES = {"Detroit": "MI", "Toledo": "OH", "Columbus": "OH", "Memphis": "TN"}
ROWS = [
    ("id", "bio", "role", "city", "state", "certificates"),
    *(
        (f"{role[0]}{city[0]}{number}", f"{role} {alias} in {city} with {certificate}", role, city, state, certificate)
        for role, alias in ROLES.items()
        for city, state in CITIES.items()
        for number, certificate in enumerate(("OSHA-30; CPR", "OSHA-10", "First Aid"))
    ),
]
ASKED = "Need 3 forklift operators in Detroit, MI at 6 am with OSHA-30 and at least 5 years, available now"
ANSWER = "w-FD0"
PARAPHRASES = (
    "Need three forklift operators in Detroit MI at 6:00 with OSHA-30 and at least 5 years, available now",
    "Looking for 3 forklift operators around Detroit, MI at 6 am: OSHA-30 is a must, 5+ years, available now",
    "Need 3 lift truck experts in Detroit, MI at 6 am with OSHA-30 and at least 5 years, available now",
    "Detroit MI, forklift operators x3, 6 am, OSHA 30, 5+ yrs, available now",
)
OTHERS = (
    ASKED.replace("3 ", "4 "),
    ASKED.replace("Detroit, MI", "Toledo, OH"),
    ASKED.replace("forklift operators", "electricians"),
    ASKED.replace("forklift operators", "line cooks"),
    ASKED.replace("forklift operators", "wiremen"),
    ASKED.replace("OSHA-30", "OSHA-10"),
    ASKED.replace("with OSHA-30", "without OSHA-30"),
    ASKED.replace("with OSHA-30", "no OSHA-30"),
    ASKED.replace("available now", "not available now"),
    ASKED.replace("6 am", "6 pm"),
    ASKED.replace("5 years", "7 years"),
    ASKED.replace("at least", "at most"),
)


@pytest.fixture
async def factory(mesh: Mesh) -> Factory:
    made = Factory(mesh)
    await made.dataset(ROWS)
    job = await made.build(model="wordllama")
    assert job.state == "succeeded"
    return made


async def used(factory: Factory, question: str, **fields: Any) -> bool:
    """Whether the one recorded answer was boosted or injected."""
    response = await factory.search("workers", query_text=question, k=3, use_playbook=True, **fields)
    return response.boosted + response.injected > 0


@pytest.mark.requirement("M6", "M7")
async def test_only_a_question_that_asks_for_the_same_profits_and_without_the_guard_others_do(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    assert await used(factory, ASKED)
    assert [question for question in PARAPHRASES if not await used(factory, question)] == []
    assert [question for question in OTHERS if await used(factory, question)] == []
    misled = [question for question in OTHERS if await used(factory, question, constraint_guard=False)]
    assert len(misled) == len(OTHERS)


@pytest.mark.requirement("M10")
async def test_the_guard_says_what_differs(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    response = await factory.search("workers", query_text=OTHERS[1], use_playbook=True, explain=True)
    [rejected] = response.rejected_entries
    [verdict] = [verdict for verdict in rejected.gates if not verdict.passed]
    assert verdict.gate == "constraint"
    assert "toledo" in verdict.detail
    found = {(one.kind, one.field, one.value, one.negated) for one in response.constraints}
    assert {("value", "city", "toledo", False), ("date", "", "06:00", False), ("number", "", "5 year", False)} <= found


async def test_an_answer_that_moved_away_from_the_question_is_not_brought_in(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    moved = [row if row[0] != "FD0" else (*row[:3], "Toledo", "OH", row[5]) for row in ROWS]
    await factory.dataset(moved)
    assert (await factory.build(model="wordllama")).state == "succeeded"

    async def known() -> bool:
        return not await used(factory, ASKED)

    await eventually(known)


async def test_a_corpus_with_new_values_is_understood_anew(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    assert await used(factory, ASKED)
    await factory.dataset(
        [*ROWS, *((f"FA{n}", "Forklift Operator in Akron", "Forklift Operator", "Akron", "OH", "") for n in range(3))]
    )
    await factory.build(model="wordllama")

    async def known() -> bool:
        request = search_pb2.SearchRequest(corpora=["workers"], query_text="someone in Akron", explain=True)
        response = await factory.stub.Search(request)
        return ("city", "akron") in {(one.field, one.value) for one in response.constraints}

    await eventually(known)


@pytest.mark.settings(matrix={"half_life_days": 0.0})
async def test_a_recording_can_be_taken_back_to_the_one_it_replaced(factory: Factory) -> None:
    first = await factory.record(ASKED, ANSWER, "workers", score=0.4, judged_by="ann")
    second = await factory.record(ASKED, ANSWER, "workers", outcome="rejected", judged_by="ben")
    assert first == second
    request = playbook_pb2.DeletePlaybookRequest(playbook_id=first)
    undone = await factory.stub.DeletePlaybook(request)
    assert (undone.playbook.outcome, undone.restored.outcome, undone.restored.judged_by) == (
        "rejected",
        "accepted",
        "ann",
    )
    assert undone.restored.score == 0.4
    [entry] = (await factory.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest())).playbooks
    assert (entry.score, entry.judged_by, entry.weight) == (0.4, "ann", 1.0)
    assert entry.dataset_version > 0
    assert await used(factory, ASKED)
    assert not (await factory.stub.DeletePlaybook(request)).HasField("restored")
    with pytest.raises(NotFound):
        await factory.stub.DeletePlaybook(request)


async def test_saying_the_same_again_leaves_nothing_to_take_back(factory: Factory) -> None:
    first = await factory.record(ASKED, ANSWER, "workers", score=0.4)
    await factory.record(ASKED, ANSWER, "workers", score=0.4)
    undone = await factory.stub.DeletePlaybook(playbook_pb2.DeletePlaybookRequest(playbook_id=first))
    assert not undone.HasField("restored")


async def entries(factory: Factory, playbook: str = "", *, retired: bool = False) -> dict[str, str]:
    request = playbook_pb2.ListPlaybooksRequest(corpus=playbook, include_retired=retired)
    return {one.answer_id: one.retired_reason for one in (await factory.stub.ListPlaybooks(request)).playbooks}


async def test_an_entry_retires_with_its_answer_and_comes_back_with_it(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    await factory.record(OTHERS[1], "w-FT0", "workers")
    vectors = await factory.vector.GetItems(vector_pb2.GetItemsRequest(name="workers", ids=[ANSWER]))
    await factory.vector.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=[ANSWER]))
    swept = await factory.stub.SweepPlaybook(playbook_pb2.SweepPlaybookRequest())
    assert (swept.checked, swept.retired, swept.revived) == (2, 1, 0)
    assert set(await entries(factory)) == {"w-FT0"}
    assert (await entries(factory, retired=True))[ANSWER]
    again = await factory.stub.SweepPlaybook(playbook_pb2.SweepPlaybookRequest())
    assert (again.checked, again.retired, again.revived) == (2, 0, 0)
    await factory.vector.AddItems(vector_pb2.AddItemsRequest(name="workers", items=vectors.items))
    assert not await used(factory, ASKED)
    revived = await factory.stub.SweepPlaybook(playbook_pb2.SweepPlaybookRequest())
    assert (revived.retired, revived.revived) == (0, 1)
    assert await used(factory, ASKED)


async def test_a_search_that_misses_an_answer_has_its_entry_retired(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers")
    await factory.vector.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=[ANSWER]))
    assert not await used(factory, ASKED, filter=where("city", "Detroit"))
    assert not await used(factory, ASKED)

    async def retired() -> bool:
        return await entries(factory) == {}

    await eventually(retired)


async def test_a_refresh_sweeps_the_playbooks(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers", corpus="ann")
    await factory.dataset([row for row in ROWS if row[0] != "FD0"])
    assert (await factory.refresh()).state == "succeeded"

    async def retired() -> bool:
        return await entries(factory, "ann") == {}

    await eventually(retired)


async def feedback(factory: Factory, signal: str) -> None:
    await factory.stub.RecordFeedback(
        playbook_pb2.RecordFeedbackRequest(query_text=ASKED, answer_id=ANSWER, answer_corpus="workers", signal=signal)
    )


async def test_a_weaker_sign_never_replaces_a_stronger_one(factory: Factory) -> None:
    seen = []
    for signal in ("click", "dismissal", "click", "placement", "dismissal", "placement"):
        await feedback(factory, signal)
        [entry] = (await factory.stub.ListPlaybooks(playbook_pb2.ListPlaybooksRequest())).playbooks
        seen.append((entry.judged_by, entry.outcome, entry.score))
    click, dismissal, placement = (
        ("click", "accepted", 0.3),
        ("dismissal", "rejected", 0.5),
        ("placement", "accepted", 1.0),
    )
    assert seen == [click, dismissal, dismissal, placement, placement, placement]


async def merge(factory: Factory, source: str, dest: str, **fields: Any) -> playbook_pb2.MergePlaybooksResponse:
    return await factory.stub.MergePlaybooks(playbook_pb2.MergePlaybooksRequest(source=source, dest=dest, **fields))


async def test_a_coordinator_hands_a_playbook_over(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers", corpus="ann", score=0.5)
    await factory.record(OTHERS[1], "w-FT0", "workers", corpus="ann")
    await factory.record(ASKED, ANSWER, "workers", corpus="ben", score=0.9)
    merged = await merge(factory, "ann", "ben")
    assert (merged.merged, merged.skipped, merged.source_count, merged.dest_count) == (1, 1, 2, 2)
    again = await merge(factory, "ann", "ben", clear_source=True)
    assert (again.merged, again.skipped, again.source_count, again.dest_count) == (0, 2, 0, 2)
    assert await used(factory, OTHERS[1], playbook_corpus="ben")
    request = playbook_pb2.ListPlaybooksRequest(corpus="ben")
    scores = {one.answer_id: one.score for one in (await factory.stub.ListPlaybooks(request)).playbooks}
    assert scores == {ANSWER: 0.9, "w-FT0": 1.0}
    made = await merge(factory, "ben", "carl")
    assert (made.merged, made.dest_count) == (2, 2)


async def test_playbooks_that_cannot_be_merged_are_refused(factory: Factory) -> None:
    await factory.record(ASKED, ANSWER, "workers", corpus="ann")
    with pytest.raises(InvalidArgument):
        await merge(factory, "ann", "ANN")
    with pytest.raises(NotFound) as missing:
        await merge(factory, "nobody", "ann")
    assert missing.value.reason == "CORPUS_NOT_FOUND"
    await factory.texts("hashed", {"h-1": "a text"})
    await factory.record("a question", "h-1", "hashed", corpus="hash playbook")
    with pytest.raises(FailedPrecondition) as mixed:
        await merge(factory, "ann", "hash playbook")
    assert mixed.value.reason == "MIXED_MODELS"


@HASH
async def test_a_corpus_is_no_playbook_to_sweep(factory: Factory) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await factory.stub.SweepPlaybook(playbook_pb2.SweepPlaybookRequest(corpus="workers"))
    assert raised.value.reason == "NOT_A_PLAYBOOK"
