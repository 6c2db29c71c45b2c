"""nDCG, the paired bootstrap, and what is promoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.matrixd.errors import NothingToRollBack
from services.matrixd.retrieval.fusion import Fusion
from services.matrixd.tuning.evidence import held_out, ndcg, paired
from services.matrixd.tuning.tuning import Promoted, Tuning, Tunings


def test_ndcg_is_known() -> None:
    assert ndcg(["a", "b"], {"a": 1}) == 1
    assert ndcg(["b", "a"], {"a": 1}) == pytest.approx(1 / 1.5849625)
    assert ndcg(["b", "a"], {"a": 3, "b": 1}) == pytest.approx((1 + 3 / 1.5849625) / (3 + 1 / 1.5849625))
    assert ndcg(["z"] * 10 + ["a"], {"a": 1}) == ndcg([], {"a": 1}) == ndcg(["a"], {}) == 0


def test_an_interval_holds_the_mean_and_is_the_same_for_the_same_seed() -> None:
    differences = [0.1, -0.2, 0.3, 0.4, 0.0, 0.2, 0.1]
    interval = paired(differences, 42)
    assert interval.low < interval.mean < interval.high
    assert interval == paired(differences, 42)
    assert paired([0.5] * 5, 1) == paired([0.5] * 5, 2)


def test_questions_are_split_by_the_seed() -> None:
    assert held_out(10, 0.5, 1) == held_out(10, 0.5, 1) != held_out(10, 0.5, 3)
    assert [len(held_out(10, share, 1)) for share in (0.1, 0.26, 0.9)] == [1, 3, 9]


def test_what_was_promoted_outlives_the_process_and_can_be_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "current.json"
    first = Promoted(Tuning(retrieval="hybrid", fusion=Fusion(rrf_k=9), substitutes={"a": "b"}), "e1")
    Tunings(path).promote(first)
    Tunings(path).promote(Promoted(Tuning(boost_limit=0.3), "e2"))
    again = Tunings(path)
    again.promote(again.current)
    assert (again.current.experiment, again.previous) == ("e2", 2)
    assert again.roll_back() == first.tuning
    assert Tunings(path).current == first
    assert again.roll_back() == Tuning()
    with pytest.raises(NothingToRollBack):
        again.roll_back()


def test_a_file_that_cannot_be_read_counts_as_nothing_promoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "current.json"
    path.write_bytes(b'{"current": 1}')
    assert Tunings(path).current == Promoted(Tuning())
    assert "cannot be read" in caplog.text
