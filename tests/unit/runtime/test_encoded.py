"""Messages that stand for others must have the same bytes, or they would lie."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from lakehouse.matrix.v1 import encoded_pb2 as matrix_encoded_pb2
from lakehouse.matrix.v1 import search_pb2
from lakehouse.vector.v1 import encoded_pb2, vector_pb2

PAIRS = [
    (encoded_pb2.EncodedHit, vector_pb2.Hit),
    (encoded_pb2.EncodedHits, vector_pb2.SearchResponse),
    (encoded_pb2.EncodedHits, vector_pb2.SearchResult),
    (encoded_pb2.EncodedResults, vector_pb2.BatchSearchResponse),
    (matrix_encoded_pb2.EncodedHit, search_pb2.Hit),
    (matrix_encoded_pb2.EncodedSearchResponse, search_pb2.SearchResponse),
]
BYTES, MESSAGE = FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE


def shape(descriptor: Descriptor) -> dict[int, tuple[str, bool, bool]]:
    return {field.number: (field.name, field.is_repeated, field.has_presence) for field in descriptor.fields}


@pytest.mark.parametrize(("encoded", "real"), PAIRS, ids=lambda message: message.DESCRIPTOR.full_name)
def test_an_encoded_form_has_every_field_of_what_it_stands_for(encoded: type, real: type) -> None:
    ours, theirs = encoded.DESCRIPTOR, real.DESCRIPTOR  # type: ignore[attr-defined]
    different = [field for field in ours.fields if field.type != theirs.fields_by_number[field.number].type]
    assert [field.name for field in ours.fields] == [field.name for field in theirs.fields]
    assert all(
        (field.name, field.type, theirs.fields_by_number[field.number].type) == ("metadata", BYTES, MESSAGE)
        for field in different
    )
    assert shape(ours) == shape(theirs)


def test_an_encoded_answer_is_read_as_what_it_stands_for() -> None:
    hit = vector_pb2.Hit(id="a", distance=0.5)
    hit.metadata.update({"city": "Ohio", "years": 3})
    encoded = encoded_pb2.EncodedHits()
    encoded.hits.add(id="a", distance=0.5, metadata=hit.metadata.SerializeToString())
    encoded.hits.add(id="b", distance=0.5, metadata=b"")
    [one, other] = vector_pb2.SearchResponse.FromString(encoded.SerializeToString()).hits
    assert one == hit
    assert other.HasField("metadata")
