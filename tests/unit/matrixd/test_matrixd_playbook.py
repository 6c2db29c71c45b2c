"""Entries, drafts and limits."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from services.matrixd.config import MatrixConfig
from services.matrixd.playbooks.draft import Draft, check_draft
from services.matrixd.playbooks.gates import Limits
from services.matrixd.playbooks.playbook import Entry, from_metadata, playbook_id, to_metadata
from services.matrixd.retrieval.limits import LimitTable
from services.matrixd.retrieval.search import distinct
from services.runtime.errors import InvalidArgument

NOW = datetime(2026, 3, 1, 12, 30, 15, 123000, tzinfo=UTC)
ENTRY = Entry(
    query_text="Need 3 forklift operators",
    answer_id="w-17",
    answer_corpus="workers",
    score=0.8,
    judged_by="ann",
    role="Forklift Operator",
    tags=("night", "detroit"),
    recorded_at=NOW,
)


def test_a_playbook_id_is_known() -> None:
    assert playbook_id("q", "c", "a") == hashlib.sha256(b"q\x1fc\x1fa").hexdigest()
    assert playbook_id("ab", "c", "d") != playbook_id("a", "bc", "d")


def test_an_entry_survives_its_metadata() -> None:
    assert from_metadata(to_metadata(ENTRY)) == ENTRY


@pytest.mark.parametrize("missing", sorted(to_metadata(ENTRY)))
def test_an_item_that_is_no_entry_is_left_out(missing: str) -> None:
    metadata = to_metadata(ENTRY)
    del metadata[missing]
    assert from_metadata(metadata) is None


@pytest.mark.parametrize("value", [{"score": 7.0}, {"score": "high"}, {"recorded_at": "yesterday"}, {"tags": None}])
def test_an_entry_with_a_wrong_value_is_left_out(value: dict[str, Any]) -> None:
    assert from_metadata(to_metadata(ENTRY) | value) is None


def test_a_draft_takes_the_documented_defaults() -> None:
    entry = check_draft(Draft(query_text="q", answer_id="a", answer_corpus="c"), NOW)
    assert (entry.score, entry.outcome, entry.role, entry.tags, entry.recorded_at) == (1.0, "accepted", "", (), NOW)


def test_a_score_of_zero_is_a_score() -> None:
    assert check_draft(Draft(query_text="q", answer_id="a", answer_corpus="c", score=0.0), NOW).score == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query_text", " \n"),
        ("query_text", "x" * 65_537),
        ("answer_id", ""),
        ("answer_id", "ä" * 513),
        ("answer_corpus", ""),
        ("answer_corpus", "a/b"),
        ("score", 1.01),
        ("score", -0.01),
        ("score", float("nan")),
        ("outcome", "maybe"),
        ("judged_by", "x" * 256),
        ("role", "x" * 256),
        ("tags", ["x"] * 101),
    ],
)
def test_a_draft_with_a_bad_field_is_refused_naming_it(field: str, value: Any) -> None:
    values: dict[str, Any] = {"query_text": "q", "answer_id": "a", "answer_corpus": "c", field: value}
    with pytest.raises(InvalidArgument) as raised:
        check_draft(Draft(**values), NOW)
    assert [violation.field for violation in raised.value.violations] == [field]


def test_a_bad_name_of_a_playbook_is_refused_naming_its_field() -> None:
    with pytest.raises(InvalidArgument) as raised:
        check_draft(Draft(query_text="q", answer_id="a", answer_corpus="c", playbook="a\\b"), NOW)
    assert raised.value.violations[0].field == "corpus"


def test_limits_belong_to_the_model() -> None:
    table = LimitTable({}, {})
    assert table.of("wordllama") == Limits(boost=0.50, inject=0.40)
    assert table.of("nomic-embed-text") == Limits(boost=0.5, inject=0.20)
    assert table.of("") == Limits(boost=0.5, inject=0.20)


def test_settings_replace_one_limit_of_one_model() -> None:
    table = LimitTable({"wordllama": 0.6}, {"other": 0.1})
    assert table.of("wordllama") == Limits(boost=0.6, inject=0.40)
    assert table.of("other") == Limits(boost=0.5, inject=0.1)


def test_a_request_replaces_limits_and_zero_is_a_limit() -> None:
    assert LimitTable({}, {}).of("wordllama", boost=0.0, inject=1.0) == Limits(boost=0.0, inject=1.0)


@pytest.mark.parametrize(
    "setting",
    [
        {"boost_limits": {"wordllama": 2.5}},
        {"inject_limits": {"wordllama": float("nan")}},
        {"corpus_seconds": -1.0},
        {"concurrent_builds": 0},
        {"kept_jobs": 0},
        {"threads": 0},
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(setting))}: "):
        MatrixConfig(**setting)


def test_corpora_that_differ_in_case_are_asked_once() -> None:
    assert distinct(["Workers", "jobs", "workers", "WORKERS", "jobs"]) == ["Workers", "jobs"]
    assert distinct(["caf\u0065\u0301", "caf\u00e9"]) == ["caf\u00e9"]
