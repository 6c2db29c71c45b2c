"""Judges and the files that they and the questions come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.labs.judges import LabelsJudge, RubricJudge, TruthJudge, by_rubric, from_answers, gain, read_labels
from services.labs.needs import Need
from services.labs.plan import UnfitData
from services.labs.queries import Query, read_queries
from services.labs.rest import Hit
from services.labs.sample import Sample, Size


def hit(ident: str, **metadata: Any) -> Hit:
    return Hit(id=ident, corpus="c", distance=0.1, metadata=metadata)


@pytest.mark.requirement("M9")
@pytest.mark.parametrize(
    ("metadata", "rating"),
    [
        ({"role": "welder", "city": "Houston", "certs": "OSHA-10; AWS D1.1"}, 5),
        ({"role": "Welder", "city": "houston", "certs": ["AWS D1.1", "OSHA-10"]}, 5),
        ({"role": "welder", "city": "Houston", "certs": "OSHA-10"}, 3),
        ({"role": "welder", "city": "Boston"}, 2),
        ({"role": "cook", "city": "Boston"}, 1),
        ({"colour": "red"}, None),
    ],
)
def test_a_rubric_rates_by_the_fields_that_agree(metadata: dict[str, Any], rating: int | None) -> None:
    assert by_rubric(metadata, {"role": "Welder", "city": "Houston", "certs": ["AWS D1.1"]}) == rating


@pytest.mark.requirement("M9")
async def test_a_judge_that_does_not_know_gives_no_rating() -> None:
    query = Query(id="q", text="a question")
    assert await RubricJudge(None).rate(query, [hit("a")]) == [None]
    labels = LabelsJudge({("q", "a"): 2, ("a question", "b"): 5})
    assert await labels.rate(query, [hit("a"), hit("b"), hit("c")]) == [2, 5, None]
    sample = Sample.draw(Size(workers=5, ethereal=5), 1)
    worker = sample.roster["w-00001"]
    truth = TruthJudge(sample.roster, {"q": Need(role=worker.role, city=worker.city)})
    assert await truth.rate(query, [hit("w-00001"), hit("unknown")]) == [5, None]


def test_the_best_there_is_comes_from_all_that_a_judge_knows() -> None:
    query = Query(id="q", text="a question")
    assert LabelsJudge({("q", "a"): 5, ("q", "b"): 1, ("x", "c"): 5}).ideal(query, {}) == [1.0, 0.0]
    assert RubricJudge(None).ideal(query, {"a": 5, "b": 3}) == [1.0, 0.2]
    assert [gain(value) for value in (None, 1, 5)] == [0.0, 0.0, 1.0]


def test_questions_are_read_from_csv_and_json_alike(tmp_path: Path) -> None:
    table, document = tmp_path / "q.csv", tmp_path / "q.json"
    table.write_text(
        "query,id,paraphrases,role,expected,answers,out_of_domain,where,contract\n"
        'late parcel,p1,parcel is late | where is it,,"{""topic"": ""parcels""}",T-3 | T-4,no,open,north\n'
        "moon rocks,p2,,geologist,,,true,,south\n",
        encoding="utf-8",
    )
    first = {
        "query": "late parcel",
        "id": "p1",
        "paraphrases": ["parcel is late", "where is it"],
        "expected": {"topic": "parcels"},
        "answers": ["T-3", "T-4"],
        "where": "open",
        "contract": "north",
    }
    second = {"query": "moon rocks", "id": "p2", "role": "geologist", "out_of_domain": True, "contract": "south"}
    document.write_text(json.dumps([first, second]), encoding="utf-8")
    found = read_queries(table)
    assert found == read_queries(document)
    assert found[0].paraphrases == ("parcel is late", "where is it")
    assert found[1].out_of_domain
    assert from_answers(found) == {("p1", "T-3"): 5, ("p1", "T-4"): 5}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("q.csv", "question\nx\n", "WRONG_SHAPE"),
        ("q.csv", "query,colour\nx,red\n", "WRONG_SHAPE"),
        ("q.csv", "query\n", "NO_QUERIES"),
        ("q.csv", "query,out_of_domain\nx,perhaps\n", "WRONG_SHAPE"),
        ("q.csv", "query,expected\nx,[1]\n", "WRONG_SHAPE"),
        ("q.csv", "query,id\nx,1\ny,1\n", "DUPLICATE_IDS"),
        ("q.csv", "query,not_like\nx,9\n", "UNKNOWN_QUERY"),
        ("q.json", "{", "NOT_JSON"),
        ("q.json", "{}", "WRONG_SHAPE"),
        ("q.json", '[{"query": "x", "paraphrases": "y"}]', "WRONG_SHAPE"),
        ("q.json", '[{"query": "  "}]', "WRONG_SHAPE"),
    ],
)
def test_a_file_of_questions_that_will_not_do_says_why(tmp_path: Path, name: str, text: str, reason: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnfitData) as caught:
        read_queries(path)
    assert caught.value.reason == reason


def test_labels_are_read_and_wrong_ones_are_named(tmp_path: Path) -> None:
    table, document = tmp_path / "l.csv", tmp_path / "l.json"
    table.write_text("query,id,rating\np1,T-3,5\nlate parcel,T-9,1\n", encoding="utf-8")
    document.write_text('[{"query": "p1", "id": "T-3", "rating": 5}]', encoding="utf-8")
    assert read_labels(table) == {("p1", "T-3"): 5, ("late parcel", "T-9"): 1}
    assert read_labels(document) == {("p1", "T-3"): 5}
    for text in ("query,id,rating\np1,T-3,6\n", "query,id,rating\np1,T-3,good\n", "query,id\np1,T-3\n"):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(UnfitData):
            read_labels(table)
