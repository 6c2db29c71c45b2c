"""Two arms in one list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.matrixd.retrieval.fusion import DBSF, HALFWAY, RRF, Fusion, Scored, by_words, fuse
from services.matrixd.retrieval.ranking import Candidate


def dense(*distances: tuple[str, float]) -> list[Candidate]:
    return [Candidate(distance, "c", item, b"") for item, distance in distances]


def lexical(*scores: tuple[str, float]) -> list[Scored]:
    return [Scored(score, "c", item, b"") for item, score in scores]


def test_what_both_arms_have_at_the_top_comes_first() -> None:
    fused = fuse(dense(("a", 0.2), ("b", 0.3), ("c", 0.4)), lexical(("c", 9.0), ("b", 8.0)), Fusion())
    assert [one.id for one in fused.candidates] == ["c", "b", "a"]
    said = fused.arms["c", "b"]
    assert (said.dense_rank, said.dense_distance, said.lexical_rank, said.lexical_score) == (1, 0.3, 1, 8.0)
    assert fused.arms["c", "a"].lexical_rank is None


@pytest.mark.requirement("M10")
def test_reciprocal_ranks_are_known() -> None:
    fused = fuse(dense(("a", 0.5)), lexical(("b", 3.0), ("a", 2.0)), Fusion(rrf_k=1, dense_weight=3, lexical_weight=1))
    scores = {item: said.fused_score for (_, item), said in fused.arms.items()}
    # Half of 3/4 x 1 + 1/4 x 2/3, and half of 1/4 x 1: the nearest dense item is at 0.5.
    assert scores == {"a": pytest.approx(0.5 * (0.75 + 0.25 * 2 / 3)), "b": pytest.approx(0.5 * 0.25)}


def test_scores_that_stand_out_count_more_by_spread() -> None:
    near = dense(("a", 0.1), ("b", 0.5), ("c", 0.5), ("d", 0.5))
    fused = fuse(near, lexical(("b", 5.1), ("a", 5.0)), Fusion(method=DBSF))
    assert fused.candidates[0].id == "a"


def test_a_weight_of_zero_leaves_an_arm_out_of_the_order() -> None:
    near = dense(("a", 0.1), ("b", 0.2))
    fused = fuse(near, lexical(("b", 9.0), ("a", 1.0)), Fusion(lexical_weight=0))
    assert [one.id for one in fused.candidates] == ["a", "b"]


def test_items_that_are_all_far_away_still_have_an_order() -> None:
    fused = fuse(dense(("a", 1.2), ("b", 1.3)), lexical(("b", 9.0), ("c", 1.0)), Fusion(dense_weight=0.1))
    assert [one.id for one in fused.candidates] == ["b", "c", "a"]


def test_words_alone_have_a_distance_below_one() -> None:
    fused = by_words(lexical(("a", HALFWAY), ("b", 3 * HALFWAY)))
    assert [(one.id, one.distance) for one in fused.candidates] == [("b", 0.25), ("a", 0.5)]


ARMS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 2), max_size=8)


@given(ARMS, st.dictionaries(st.sampled_from("efghijkl"), st.floats(0, 50), max_size=8), st.sampled_from([RRF, DBSF]))
def test_every_item_of_either_arm_is_there_once_with_a_score_of_zero_to_one(
    near: dict[str, float], said: dict[str, float], method: str
) -> None:
    one = sorted(dense(*near.items()), key=lambda candidate: (candidate.distance, candidate.id))
    fused = fuse(one, lexical(*said.items()), Fusion(method=method))
    assert sorted(candidate.id for candidate in fused.candidates) == sorted(near.keys() | said.keys())
    assert [c.distance for c in fused.candidates] == sorted(c.distance for c in fused.candidates)
    for candidate in fused.candidates:
        score = fused.arms["c", candidate.id].fused_score
        assert score is not None
        assert 0 <= score <= 1
        assert candidate.distance == 1 - score
    again = fuse(one, lexical(*reversed(said.items())), Fusion(method=method))
    assert [c.id for c in again.candidates] == [c.id for c in fused.candidates]
