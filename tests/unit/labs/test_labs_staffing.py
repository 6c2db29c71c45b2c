"""The staffing data set: the same every time, realistic, and with the values that break careless readers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from services.labs.demands import (
    CONTROL,
    DEMANDS,
    STYLES,
    Demand,
    fits,
    fitting,
    paraphrases,
    phrase,
    shortfalls,
    verbatim,
)
from services.labs.staffing import COLUMNS, TODAY, Worker, workers, write_csv
from services.labs.trades import PLACES, TRADES

COUNT = 3_000


@pytest.fixture(scope="module")
def all_workers() -> list[Worker]:
    return list(workers(10_000))


@pytest.fixture(scope="module")
def roster(all_workers: list[Worker]) -> list[Worker]:
    return all_workers[:COUNT]


def test_the_same_seed_gives_the_same_workers_and_another_seed_gives_others(roster: list[Worker]) -> None:
    assert list(workers(500)) == roster[:500]
    assert list(workers(50, seed=8)) != roster[:50]


def test_a_longer_list_begins_with_the_shorter_one(roster: list[Worker]) -> None:
    assert list(islice(workers(10 * COUNT), 500)) == list(workers(500)) == roster[:500]


def test_the_file_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    assert write_csv(first, workers(200)) == write_csv(second, workers(200)) == first.stat().st_size
    assert first.read_bytes() == second.read_bytes()


def test_a_reader_gets_every_value_back(tmp_path: Path, roster: list[Worker]) -> None:
    path = tmp_path / "workers.csv"
    write_csv(path, roster)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len(COLUMNS) == 18
    assert [row["resume_text"] for row in rows] == [worker.resume_text for worker in roster]
    assert [row["zip"] for row in rows] == [worker.zip for worker in roster]


def test_ids_are_unique_and_carry_their_prefix(roster: list[Worker]) -> None:
    assert len({worker.worker_id for worker in roster}) == COUNT
    assert next(workers(1, prefix="e")).worker_id == "e-00001"


def test_zip_codes_have_five_digits_and_some_begin_with_zero(roster: list[Worker]) -> None:
    assert all(len(worker.zip) == 5 and worker.zip.isdigit() for worker in roster)
    assert sum(worker.zip.startswith("0") for worker in roster) > COUNT / 20


def test_rates_keep_two_decimals(roster: list[Worker]) -> None:
    assert all(len(worker.hourly_rate.partition(".")[2]) == 2 for worker in roster)
    assert any(worker.hourly_rate.endswith("0") for worker in roster)


def test_resumes_have_three_to_eight_lines_and_tell_the_city(roster: list[Worker]) -> None:
    for worker in roster:
        assert 3 <= worker.resume_text.count("\n") + 1 <= 8
        assert worker.city in worker.resume_text


def test_every_certificate_stands_in_the_resume(roster: list[Worker]) -> None:
    for worker in roster:
        assert all(certificate in worker.resume_text for certificate in worker.certifications)


def test_many_resumes_call_the_trade_by_a_synonym_only(roster: list[Worker]) -> None:
    without = [worker for worker in roster if worker.role.lower() not in worker.resume_text.lower()]
    assert COUNT / 5 < len(without) < COUNT * 4 / 5


def test_availability_cannot_be_read_in_the_resume(roster: list[Worker]) -> None:
    assert not any("available" in worker.resume_text.lower() for worker in roster)


def test_every_trade_and_place_occurs_and_common_ones_are_more_common(roster: list[Worker]) -> None:
    roles = Counter(worker.role for worker in roster)
    cities = Counter(worker.city for worker in roster)
    assert set(roles) == {trade.role for trade in TRADES}
    assert set(cities) == {place.city for place in PLACES}
    assert roles["Warehouse Associate"] > 2 * roles["Receptionist"]


def test_values_stay_in_their_range(roster: list[Worker]) -> None:
    for worker in roster:
        assert 0 <= worker.experience_years <= 40
        assert 1.0 <= worker.rating <= 5.0
        assert worker.hired_on < TODAY
        assert worker.last_active.date() <= TODAY


def test_a_shortfall_is_named_for_each_unmet_part_of_a_demand(all_workers: list[Worker], roster: list[Worker]) -> None:
    demand = DEMANDS[0]
    right = next(worker for worker in all_workers if fits(worker, demand))
    assert shortfalls(right, demand) == ()
    other = next(worker for worker in roster if worker.role == "Janitor" and worker.city == "Boston")
    assert {"is a janitor", "lives in Boston", f"no {demand.certificate}"} <= set(shortfalls(other, demand))


@pytest.mark.parametrize("demand", [*DEMANDS, CONTROL], ids=lambda demand: demand.role)
def test_ten_thousand_workers_hold_several_who_fit_each_demand_best_first(
    all_workers: list[Worker], demand: Demand
) -> None:
    found = fitting(all_workers, demand)
    assert len(found) >= 3
    assert [worker.rating for worker in found] == sorted((worker.rating for worker in found), reverse=True)
    assert all(demand.certificate in worker.certifications and worker.available for worker in found)


def test_demands_concern_different_roles_and_the_control_another_one() -> None:
    roles = [demand.role for demand in (*DEMANDS, CONTROL)]
    assert len(set(roles)) == len(roles) >= 9


def test_paraphrases_say_the_same_without_the_name_of_the_role() -> None:
    for demand in DEMANDS:
        assert demand.role.lower() in verbatim(demand).lower()
        first, second = paraphrases(demand)
        assert len({verbatim(demand), first, second}) == 3
        for text in (first, second):
            assert demand.role.lower() not in text.lower()
            assert demand.city in text
            assert demand.certificate in text


def test_a_demand_can_be_worded_in_every_style() -> None:
    assert len({phrase(DEMANDS[0], style) for style in STYLES}) == len(STYLES) == 4
