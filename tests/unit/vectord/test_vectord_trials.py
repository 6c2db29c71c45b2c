"""Trials: what is tried, what wins, what is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.runtime.errors import InvalidArgument
from services.vectord.errors import EvalSetExists, EvalSetNotFound, IndexEmpty, RecallTooLow, TrialNotFound
from services.vectord.segments.building import Parameters
from services.vectord.segments.snapshot import Query
from services.vectord.tree.items import Item
from services.vectord.tuning import evals, trial
from services.vectord.tuning.evals import EvalSet
from services.vectord.tuning.measure import measure
from services.vectord.tuning.store import Tuning
from services.vectord.tuning.trial import Promotion, Trial, Tuned
from tests.unit.vectord.conftest import Opener

PRESENT = Parameters(m=24, ef_construction=80, ef_search=64)


def ended(recall: float = 1.0, p50_ms: float = 1.0, **fields: object) -> Trial:
    given = {
        "parameters": PRESENT,
        "eval_set": "generated",
        "p99_ms": 2.0,
        "build_seconds": 1.0,
        "items": 5000,
        "of": 5000,
        "started_by": "call",
        "ended_ns": 1,
    }
    return Trial(recall=recall, p50_ms=p50_ms, **{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.requirement("V10")
def test_the_grid_is_the_documented_one_with_the_links_of_the_index() -> None:
    tried = trial.grid([], PRESENT)
    assert [(one.ef_construction, one.ef_search) for one in tried] == [
        (20, 30),
        (40, 30),
        (80, 30),
        (80, 60),
        (160, 30),
    ]
    assert {one.m for one in tried} == {24}
    twice = [Parameters(m=0, ef_construction=40, ef_search=30), Parameters(m=24, ef_construction=40, ef_search=30)]
    assert len(trial.grid(twice, PRESENT)) == 1


@pytest.mark.requirement("V10")
@pytest.mark.parametrize("field", ["ef_construction", "ef_search"])
def test_parameters_out_of_bounds_are_refused_by_their_place(field: str) -> None:
    limit = {"ef_construction": 400, "ef_search": 200}[field]
    for value in (10, limit, 0):
        trial.check(replace(PRESENT, **{field: value}), "parameters")
    for value in (9, limit + 1):
        with pytest.raises(InvalidArgument) as raised:
            trial.grid([PRESENT, replace(PRESENT, **{field: value})], PRESENT)
        assert [violation.field for violation in raised.value.violations] == [f"grid[1].{field}"]


@pytest.mark.requirement("V10")
def test_the_best_recall_wins_then_the_fastest_and_nobody_below_the_least() -> None:
    slow, fast, faster = ended(0.97, 3.0), ended(0.97, 2.0), ended(0.95, 0.1)
    assert trial.winner([slow, faster, fast]) is fast
    assert trial.winner([slow, fast, faster], 0.971) is None
    assert trial.winner([ended(0.899)]) is None
    assert trial.winner([ended(0.9)]) is not None
    assert trial.winner([]) is None
    with pytest.raises(RecallTooLow):
        trial.check_promotable(ended(0.89), 0.9)


@pytest.mark.requirement("V10")
def test_a_roll_back_past_the_oldest_promotion_gives_the_first_parameters_again() -> None:
    tuned = Tuned()
    present = PRESENT
    for number in range(60):
        parameters = replace(PRESENT, ef_search=10 + number)
        promotion = Promotion(parameters=parameters, trial_id=str(number), recall=1.0, promoted_ns=number)
        tuned, present = tuned.promoted(promotion, present), parameters
    assert len(tuned.promotions) == 50
    seen = []
    while (back := tuned.rolled_back()) is not None:
        tuned, present = back
        seen.append(present.ef_search)
    assert seen == [*range(68, 19, -1), PRESENT.ef_search]
    assert tuned == Tuned()


def questions(name: str, **fields: object) -> EvalSet:
    queries = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = {"name": name, "queries": queries, "k": 10, "origin": "given", "created_ns": 7}
    return EvalSet(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.requirement("V10", "X11")
def test_trials_and_eval_sets_are_there_after_a_restart(tmp_path: Path) -> None:
    first = Tuning(tmp_path)
    assert (first.trials(), first.eval_sets(), list(tmp_path.iterdir())) == ([], [], [])
    kept = [first.keep(ended(recall)) for recall in (0.5, 0.9)]
    first.create(questions("Mine"))
    first.create(questions("other", origin="generated", seed=42, of=9))
    first.close()
    second = Tuning(tmp_path)
    assert second.trials() == kept
    assert [one.id for one in kept] == ["00000001", "00000002"]
    assert second.trial("00000002").recall == 0.9
    assert second.keep(ended()).id == "00000003"
    read = second.eval_set("MINE")
    assert np.array_equal(read.queries, questions("x").queries)
    assert [(one.name, one.k, one.origin, one.seed, one.of) for one in second.eval_sets()] == [
        ("Mine", 10, "given", None, 0),
        ("other", 10, "generated", 42, 9),
    ]
    with pytest.raises(EvalSetExists):
        second.create(questions("mine"))
    second.delete("mine")
    with pytest.raises(EvalSetNotFound):
        second.eval_set("Mine")
    with pytest.raises(TrialNotFound):
        second.trial("1")
    second.close()


def test_a_damaged_eval_set_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tuning = Tuning(tmp_path)
    tuning.create(questions("good"))
    tuning.create(questions("bad"))
    next(tmp_path.glob("tuning/evals/bad*")).write_bytes(b"LHR1")
    assert [one.name for one in tuning.eval_sets()] == ["good"]
    assert "bad" in caplog.text


def items(numbers: range, seed: int = 1) -> list[Item]:
    vectors = np.random.default_rng(seed).standard_normal((len(numbers), 16)).astype(np.float32)
    return [Item(id=f"{number:05d}", vector=vectors[place]) for place, number in enumerate(numbers)]


@pytest.mark.requirement("V10")
def test_the_same_items_and_seed_give_the_same_questions_however_they_are_kept(opener: Opener) -> None:
    one, other = opener.create("l2", name="one"), opener.create("l2", name="other")
    given = items(range(300))
    one.add(given)
    other.add(given[200:])
    other.compact()
    other.add(given[:200])
    made = [
        evals.generate(index.snapshot, name="x", sample=50, seed=seed, k=3)
        for index, seed in ((one, 42), (other, 42), (one, 43), (one, -1))
    ]
    assert made[0].queries.shape == (50, 16)
    assert np.array_equal(made[0].queries, made[1].queries)
    assert not np.array_equal(made[0].queries, made[2].queries)
    assert (made[0].origin, made[0].seed, made[0].k, made[0].of) == ("generated", 42, 3, 300)
    for query in made[0].queries:
        found = one.search([query], Query(k=1), ["x"])[0]
        assert 0 < found.distances[0] < 1


def test_an_empty_index_gives_no_questions(opener: Opener) -> None:
    with pytest.raises(IndexEmpty):
        evals.generate(opener.create().snapshot, name="x", sample=10, seed=42, k=3)


@pytest.mark.requirement("V10")
def test_a_scan_finds_every_right_neighbour_also_among_equals(opener: Opener) -> None:
    index = opener.create("l2")
    index.add([*items(range(100)), *(Item(id=f"same-{n}", vector=np.ones(16, dtype=np.float32)) for n in range(30))])
    queries = np.concatenate([np.ones((1, 16), dtype=np.float32), np.zeros((1, 16), dtype=np.float32)])
    measured = measure(index.snapshot, queries, k=10, ef=None, stop=lambda: False)
    assert measured.recall == 1.0
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measure(index.snapshot, queries, k=1000, ef=None, stop=lambda: False).recall == 1.0
