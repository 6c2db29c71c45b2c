"""What contracts declare about fields is enforced, and every bad field is named with its path."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from lakehouse.catalog.v1.catalog_pb2 import Column, RegisterDatasetRequest
from lakehouse.matrix.v1.playbook_pb2 import RecordPlaybookRequest
from lakehouse.matrix.v1.search_pb2 import SearchRequest
from lakehouse.vector.v1.vector_pb2 import CreateIndexRequest

from services.runtime import fields
from services.runtime.errors import InvalidArgument


def bad_fields(message: Message) -> dict[str, str]:
    return {violation.field: violation.description for violation in fields.violations(message)}


def test_a_message_that_keeps_the_rules_passes() -> None:
    fields.check(CreateIndexRequest(name="a", dimension=3, metric="cosine"))


def test_every_missing_field_is_named_at_once() -> None:
    with pytest.raises(fields.MissingField) as caught:
        fields.check(CreateIndexRequest())
    assert [violation.field for violation in caught.value.violations] == ["name", "dimension"]


def test_a_word_that_is_not_allowed_is_refused_with_the_nearest() -> None:
    found = bad_fields(CreateIndexRequest(name="a", dimension=3, metric="cosin"))
    assert "did you mean 'cosine'" in found["metric"]


@pytest.mark.parametrize(
    ("score", "bad"), [(0.0, False), (1.0, False), (-0.1, True), (1.1, True), (float("nan"), True)]
)
def test_a_zero_that_was_sent_is_a_value_and_nan_never_is(score: float, bad: bool) -> None:
    request = RecordPlaybookRequest(query_text="q", answer_id="a", answer_corpus="c", score=score)
    assert ("score" in bad_fields(request)) == bad


def test_fields_of_repeated_messages_are_named_by_position() -> None:
    columns = [Column(name="a", type="int64"), Column(type="number")]
    request = RegisterDatasetRequest(name="n", schema_fingerprint="f", columns=columns)
    assert bad_fields(request).keys() == {"columns[1].name", "columns[1].type"}


def test_elements_of_repeated_texts_are_named_by_position() -> None:
    assert bad_fields(SearchRequest(corpora=["fine", "a/b"])).keys() == {"corpora[1]"}


def test_too_many_elements_are_refused() -> None:
    assert "corpora" in bad_fields(SearchRequest(corpora=[str(number) for number in range(65)]))


def test_a_filter_deep_inside_is_checked() -> None:
    request = SearchRequest(corpora=["a"])
    inner = getattr(request.filter, "not")
    inner.all.filters.add().equals.field = ""
    inner.all.filters.add().exists.SetInParent()
    assert set(bad_fields(request)) == {
        "filter.not.all.filters[0].equals.field",
        "filter.not.all.filters[0].equals.value",
        "filter.not.all.filters[1].exists.field",
    }


def test_names_become_nfc() -> None:
    request = CreateIndexRequest(name="u\u0308ber", dimension=1)
    fields.check(request)
    assert request.name == "über"


def test_a_long_text_is_refused_by_its_bytes() -> None:
    assert "answer_id" in bad_fields(RecordPlaybookRequest(query_text="q", answer_id="é" * 513, answer_corpus="c"))
    assert issubclass(fields.InvalidField, InvalidArgument)
