"""Merge, boost, inject, gates and explanation, with exact numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.matrixd.playbooks.gates import Limits, Recollection, Terms
from services.matrixd.retrieval.ranking import Advice, Candidate, Hit, Ranking, boost_factor, consult, merge, rank

LIMITS = Limits(boost=0.5, inject=0.2)


def candidate(distance: float, identifier: str, corpus: str = "workers") -> Candidate:
    return Candidate(distance, corpus, identifier, {"id": identifier})


def recollection(
    answer_id: str,
    distance: float,
    *,
    score: float = 1.0,
    corpus: str = "workers",
    outcome: str = "accepted",
    role: str = "",
    playbook_id: str = "",
) -> Recollection:
    return Recollection(
        playbook_id=playbook_id or f"p-{answer_id}-{distance}",
        answer_id=answer_id,
        answer_corpus=corpus,
        score=score,
        outcome=outcome,
        role=role,
        distance=distance,
    )


def terms(*, role: str = "", excluded: frozenset[str] = frozenset(), limits: Limits = LIMITS) -> Terms:
    return Terms(corpora={"workers": "workers", "jobs": "jobs"}, excluded_ids=excluded, role=role, limits=limits)


def warm(
    cold: list[Candidate],
    memory: list[Recollection],
    asked: Terms | None = None,
    *,
    k: int = 10,
    gone: tuple[str, ...] = (),
) -> Ranking:
    advice = consult(cold, memory, asked or terms())
    fetched = {answer: {"id": answer[1]} for answer in advice.injections if answer[1] not in gone}
    return rank(cold, advice, fetched, k)


def ids(ranking: Ranking) -> list[str]:
    return [hit.id for hit in ranking.hits]


def failed_gates(ranking: Ranking) -> list[tuple[str, str]]:
    return [
        (refused.recollection.playbook_id, verdict.gate)
        for refused in ranking.refused
        for verdict in refused.verdicts
        if not verdict.passed
    ]


def test_corpora_are_merged_by_distance_then_corpus_then_id() -> None:
    merged = merge(
        [
            [candidate(0.1, "b"), candidate(0.3, "a")],
            [candidate(0.1, "a", "jobs"), candidate(0.1, "c", "jobs"), candidate(0.2, "z", "jobs")],
        ]
    )
    assert [(one.corpus, one.id) for one in merged] == [
        ("jobs", "a"),
        ("jobs", "c"),
        ("workers", "b"),
        ("jobs", "z"),
        ("workers", "a"),
    ]


def test_without_advice_the_cold_order_is_cut_to_k() -> None:
    ranking = rank([candidate(0.1, "a"), candidate(0.2, "b"), candidate(0.3, "c")], Advice(), {}, 2)
    assert ids(ranking) == ["a", "b"]
    assert [(hit.cold_rank, hit.factor, hit.boosted, hit.injected) for hit in ranking.hits] == [
        (0, 1.0, False, False),
        (1, 1.0, False, False),
    ]


@pytest.mark.parametrize(("score", "factor"), [(0.0, 1.0), (0.5, 0.75), (0.8, 0.6), (1.0, 0.5)])
def test_a_boost_takes_away_half_the_score(score: float, factor: float) -> None:
    assert boost_factor(0.6566, score) == factor
    [hit] = warm([candidate(0.6566, "c")], [recollection("c", 0.1, score=score)]).hits
    assert hit.distance == 0.6566 * factor
    assert hit.boosted == (score > 0)


def test_a_full_score_moves_the_third_to_the_second_place() -> None:
    cold = [candidate(0.25, "a"), candidate(0.40, "b"), candidate(0.6566, "c")]
    ranking = warm(cold, [recollection("c", 0.0)])
    assert ids(ranking) == ["a", "c", "b"]
    assert ranking.hits[1].distance == 0.3283


def test_a_boost_never_more_than_halves() -> None:
    cold = [candidate(0.1, "a"), candidate(0.3, "c")]
    ranking = warm(cold, [recollection("c", 0.0), recollection("c", 0.01), recollection("c", 0.02)])
    assert ids(ranking) == ["a", "c"]
    assert ranking.hits[1].distance == 0.15


def test_a_boost_never_pushes_an_inner_product_distance_away() -> None:
    cold = [candidate(-3.0, "a"), candidate(-2.5, "b")]
    ranking = warm(cold, [recollection("b", 0.1)])
    assert ids(ranking) == ["b", "a"]
    assert ranking.hits[0].distance == -3.75
    assert ranking.hits[0].boosted


def test_the_best_score_of_several_entries_counts() -> None:
    memory = [recollection("c", 0.05, score=0.2), recollection("c", 0.3, score=0.8), recollection("c", 0.1, score=0.8)]
    ranking = warm([candidate(0.5, "c")], memory)
    assert ranking.hits[0].distance == 0.5 * 0.6
    assert ranking.hits[0].counted is not None
    assert ranking.hits[0].counted.recollection.distance == 0.1
    assert failed_gates(ranking) == [("p-c-0.05", "present"), ("p-c-0.3", "present")]


def test_the_same_id_in_another_corpus_is_another_answer() -> None:
    cold = [candidate(0.5, "c"), candidate(0.5, "c", "jobs")]
    ranking = warm(cold, [recollection("c", 0.1, corpus="jobs")])
    assert [(hit.corpus, hit.distance) for hit in ranking.hits] == [("jobs", 0.25), ("workers", 0.5)]


def test_an_entry_beyond_the_boost_limit_does_not_boost() -> None:
    ranking = warm([candidate(0.5, "c")], [recollection("c", 0.5001)])
    assert ranking.hits[0].distance == 0.5
    assert failed_gates(ranking) == [("p-c-0.5001", "distance")]


def test_an_entry_at_the_limit_still_counts() -> None:
    assert warm([candidate(0.5, "c")], [recollection("c", 0.5)]).hits[0].distance == 0.25
    assert ids(warm([], [recollection("c", 0.2)])) == ["c"]


def test_a_missed_answer_is_injected_at_the_distance_of_its_question() -> None:
    cold = [candidate(0.1, "a"), candidate(0.3, "b")]
    ranking = warm(cold, [recollection("c", 0.16, score=0.5)])
    assert ids(ranking) == ["a", "c", "b"]
    hit = ranking.hits[1]
    assert hit.distance == 0.16 * 0.75
    assert (hit.injected, hit.cold_distance, hit.cold_rank, hit.boosted) == (True, None, None, False)
    assert hit.payload == {"id": "c"}


def test_the_cut_comes_after_boost_and_injection() -> None:
    cold = [candidate(0.2, "a"), candidate(0.3, "b"), candidate(0.35, "d")]
    ranking = warm(cold, [recollection("c", 0.02), recollection("d", 0.02)], k=2)
    assert ids(ranking) == ["c", "d"]


def test_an_answer_that_retrieval_found_is_boosted_and_never_injected() -> None:
    ranking = warm([candidate(0.9, "c")], [recollection("c", 0.01)])
    assert ids(ranking) == ["c"]
    assert ranking.hits[0].distance == 0.45
    assert not ranking.hits[0].injected


def test_several_entries_for_one_missed_answer_inject_it_once_at_the_nearest() -> None:
    memory = [recollection("c", 0.19), recollection("c", 0.02, score=0.5), recollection("c", 0.1)]
    ranking = warm([], memory)
    assert ids(ranking) == ["c"]
    assert ranking.hits[0].distance == 0.02 * 0.75
    assert failed_gates(ranking) == [("p-c-0.1", "present"), ("p-c-0.19", "present")]


def test_an_entry_between_both_limits_does_not_inject() -> None:
    ranking = warm([], [recollection("c", 0.21)])
    assert ids(ranking) == []
    assert failed_gates(ranking) == [("p-c-0.21", "distance")]


def test_an_excluded_answer_is_not_injected() -> None:
    ranking = warm([], [recollection("c", 0.01)], terms(excluded=frozenset({"c"})))
    assert ids(ranking) == []
    assert failed_gates(ranking) == [("p-c-0.01", "excluded")]


def test_an_answer_of_a_corpus_that_was_not_asked_is_not_injected() -> None:
    ranking = warm([], [recollection("c", 0.01, corpus="elsewhere")])
    assert ids(ranking) == []
    assert failed_gates(ranking) == [("p-c-0.01", "excluded")]


def test_an_answer_that_is_gone_or_filtered_out_is_not_injected() -> None:
    ranking = warm([candidate(0.3, "a")], [recollection("c", 0.01)], gone=("c",))
    assert ids(ranking) == ["a"]
    assert failed_gates(ranking) == [("p-c-0.01", "filter")]


def test_a_rejected_answer_is_moved_away_and_never_brought_in() -> None:
    memory = [recollection("a", 0.01, outcome="rejected"), recollection("c", 0.01, outcome="rejected")]
    ranking = warm([candidate(0.3, "a")], memory)
    assert [(hit.id, hit.distance, hit.boosted) for hit in ranking.hits] == [("a", 0.3 * 1.5, False)]
    assert failed_gates(ranking) == [("p-c-0.01", "outcome")]


def test_an_entry_for_another_role_is_ignored_for_boost_and_injection() -> None:
    asked = terms(role="CNC Operator")
    memory = [
        recollection("e-6193", 0.135, role="Forklift Operator"),
        recollection("a", 0.135, role="Forklift Operator"),
    ]
    ranking = warm([candidate(0.3, "a")], memory, asked)
    assert [(hit.id, hit.distance) for hit in ranking.hits] == [("a", 0.3)]
    assert failed_gates(ranking) == [("p-a-0.135", "role"), ("p-e-6193-0.135", "role")]


@pytest.mark.parametrize(
    ("recorded", "asked"), [("Forklift Operator", "forklift operators"), ("", "CNC Operator"), ("Picker", ""), ("", "")]
)
def test_the_role_gate_is_open_for_the_same_role_and_where_a_side_has_none(recorded: str, asked: str) -> None:
    ranking = warm([], [recollection("c", 0.1, role=recorded)], terms(role=asked))
    assert ids(ranking) == ["c"]


def test_corpora_are_the_same_whatever_their_case() -> None:
    asked = Terms(corpora={"workers": "Workers"}, excluded_ids=frozenset(), role="", limits=LIMITS)
    ranking = warm([candidate(0.4, "a", "Workers")], [recollection("a", 0.1, corpus="WORKERS")], asked)
    assert ranking.hits[0].distance == 0.2


def test_every_gate_of_a_counted_entry_is_told() -> None:
    ranking = warm([candidate(0.4, "a")], [recollection("a", 0.1), recollection("c", 0.1)])
    verdicts = {hit.id: hit.counted.verdicts for hit in ranking.hits if hit.counted is not None}
    gates = {identifier: [verdict.gate for verdict in told] for identifier, told in verdicts.items()}
    assert gates == {
        "a": ["outcome", "retired", "role", "excluded", "distance"],
        "c": ["outcome", "retired", "role", "excluded", "present", "distance", "filter"],
    }
    assert all(verdict.passed for told in verdicts.values() for verdict in told)


unit = st.floats(0, 1)
answers = st.sampled_from("abcdef")


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[Candidate], list[Recollection], Terms, int]:
    found = draw(st.dictionaries(answers, st.floats(-1, 2, allow_nan=False), max_size=6))
    cold = sorted(candidate(distance, identifier) for identifier, distance in found.items())
    memory = [
        recollection(
            draw(answers),
            draw(unit),
            score=draw(unit),
            outcome=draw(st.sampled_from(["accepted", "rejected"])),
            playbook_id=str(number),
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    asked = terms(excluded=frozenset(draw(st.sets(answers, max_size=2)) - set(found)))
    return cold, memory, asked, draw(st.integers(1, 8))


def recomputed(hit: Hit) -> float:
    base = hit.cold_distance
    if base is None:
        assert hit.counted is not None
        base = hit.counted.recollection.distance
    return base * hit.factor


@given(searches())
def test_recomputing_from_the_explanation_gives_the_returned_distance(
    search: tuple[list[Candidate], list[Recollection], Terms, int],
) -> None:
    cold, memory, asked, k = search
    ranking = warm(cold, memory, asked, k=k)
    for hit in ranking.hits:
        assert recomputed(hit) == hit.distance
        if hit.cold_rank is not None:
            assert cold[hit.cold_rank].id == hit.id


@given(searches())
def test_every_answer_keeps_the_rules(search: tuple[list[Candidate], list[Recollection], Terms, int]) -> None:
    cold, memory, asked, k = search
    ranking = warm(cold, memory, asked, k=k)
    order = [(hit.distance, hit.corpus, hit.id) for hit in ranking.hits]
    assert order == sorted(order)
    assert len({(hit.corpus, hit.id) for hit in ranking.hits}) == len(ranking.hits) <= k
    found = {one.id for one in cold}
    for hit in ranking.hits:
        assert hit.id not in asked.excluded_ids
        assert hit.injected == (hit.id not in found)
        if hit.cold_distance is not None and hit.cold_distance > 0:
            assert hit.cold_distance / 2 <= hit.distance <= hit.cold_distance * 1.5
        if hit.counted is not None and hit.cold_distance is not None and hit.cold_distance > 0:
            accepted = hit.counted.recollection.outcome == "accepted"
            assert (hit.distance <= hit.cold_distance) if accepted else (hit.distance >= hit.cold_distance)
        if hit.injected:
            assert hit.counted is not None
            assert hit.counted.recollection.outcome == "accepted"
    counted = {hit.counted.recollection.playbook_id for hit in ranking.hits if hit.counted is not None}
    refused = [one.recollection.playbook_id for one in ranking.refused]
    assert len(refused) == len(set(refused))
    assert counted.isdisjoint(refused)


def test_distances_are_compared_exactly() -> None:
    one, other = 0.1, math.nextafter(0.1, 1)
    assert [hit.id for hit in merge([[candidate(other, "a")], [candidate(one, "b")]])] == ["b", "a"]
