"""The sample world: the same for the same seed, and its truth is that of the columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from services.labs.adversarial import KINDS, suite
from services.labs.demands import STYLES
from services.labs.needs import Need, meets, paraphrases, phrase, rating, unmet, where
from services.labs.sample import CATEGORIES, FULL, QUICK, Sample, Size, clusters
from services.labs.staffing import Worker

SMALL = Size(workers=1_500, ethereal=1_500, per_category=10, pairs=80)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample.draw(SMALL, 7)


def test_ids_tell_the_corpora_apart_and_the_seed_decides_everything(sample: Sample, tmp_path: Path) -> None:
    assert Counter(ident[:2] for ident in sample.roster) == {"w-": 1_500, "e-": 1_500}
    again = Sample.draw(SMALL, 7)
    assert again.roster == sample.roster
    assert again.queries() == sample.queries()
    assert suite(again, 80) == suite(sample, 80)
    assert Sample.draw(SMALL, 8).queries() != sample.queries()
    paths = sample.write(tmp_path)
    assert [path.name for path in paths.values()] == ["workers.csv", "ethereal_workers.csv"]


@pytest.mark.requirement("R1")
def test_the_full_sample_has_as_many_questions_as_promised(sample: Sample) -> None:
    asked = sample.queries()
    counted = Counter(query.category for query, _ in asked)
    assert set(counted) == {*CATEGORIES, "out of domain"}
    assert len(CATEGORIES) == 7
    assert sum(counted[name] for name in CATEGORIES) >= 60
    assert FULL.pairs >= 300
    assert (FULL.workers, FULL.ethereal) == (5_000, 10_000)
    assert len({query.text for query, _ in asked}) == len(asked)
    assert len({query.id for query, _ in asked}) == len(asked)


def test_a_question_out_of_domain_has_no_right_answer(sample: Sample) -> None:
    strange = [need for query, need in sample.queries() if query.out_of_domain]
    assert len(strange) == SMALL.out_of_domain
    for need in strange:
        assert max(rating(worker, need) for worker in sample.roster.values()) <= 2


def test_a_rating_counts_what_is_not_met(sample: Sample) -> None:
    worker = next(w for w in sample.roster.values() if w.certifications and w.available and w.experience_years > 3)
    need = Need(role=worker.role, city=worker.city, certificate=worker.certifications[0], available=True)
    assert rating(worker, need) == 5
    assert rating(worker, replace(need, min_years=worker.experience_years + 1)) == 4
    assert rating(worker, replace(need, min_years=worker.experience_years + 2)) == 3
    assert rating(worker, replace(need, city="Nowhere")) == 3
    assert rating(worker, replace(need, city="Nowhere", shift="none")) == 2
    assert rating(worker, replace(need, role="Falconer")) == 2
    assert rating(worker, replace(need, role="Falconer", city="Nowhere")) == 1
    assert unmet(worker, Need(role=worker.role, without=worker.certifications[0])) == ("without",)


def test_the_condition_in_sql_selects_exactly_those_who_meet_the_need(sample: Sample, tmp_path: Path) -> None:
    path = sample.write(tmp_path)["workers"]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE workers AS SELECT * FROM read_csv('{path}', all_varchar = false)")
        for query, need in sample.queries():
            found = connection.execute(f"SELECT worker_id FROM workers WHERE {where(need)}").fetchall()
            truth = {w.worker_id for w in meets(sample.roster.values(), need) if w.worker_id.startswith("w-")}
            assert {ident for (ident,) in found} == truth, query.id


@pytest.mark.parametrize("style", STYLES)
def test_no_wording_of_a_need_leaves_a_condition_out(style: str) -> None:
    need = Need(
        role="Welder",
        city="Houston",
        certificate="AWS D1.1",
        without="OSHA-10",
        min_years=7,
        shift="night",
        skill="TIG",
        active_since=date(2026, 9, 20),
        client="Gulf Marine",
    )
    for text in (phrase(need, style), *paraphrases(need, style)):
        for part in ("Houston", "AWS D1.1", "OSHA-10", "7", "night", "TIG", "2026-09-20"):
            assert part in text, text
    assert len({phrase(need, style), *paraphrases(need, style)}) == 3


@pytest.mark.requirement("M7")
def test_every_pair_looks_alike_and_its_answer_is_wrong_for_the_other_question(sample: Sample) -> None:
    pairs = suite(sample, 80)
    assert Counter(pair.kind for pair in pairs) == dict.fromkeys(KINDS, 10)
    for pair in pairs:
        worker: Worker = sample.roster[pair.answer]
        assert rating(worker, pair.need) == 5
        assert rating(worker, pair.other_need) < 4
        assert pair.question != pair.other
        shared = set(pair.question.split()) & set(pair.other.split())
        assert len(shared) >= 0.5 * len(set(pair.question.split())), pair.question
    questions = [text for pair in pairs for text in (pair.question, pair.other)]
    assert len(set(questions)) == len(questions)


def test_a_cluster_asks_for_other_roles_at_one_place(sample: Sample) -> None:
    for cluster in clusters(sample, QUICK.clusters):
        assert len({need.city for need in cluster.needs}) == 1
        assert len({need.role for need in cluster.needs}) == len(cluster.needs)
