"""Messages of the contract to the engine's values and back. No rule is decided here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf.struct_pb2 import Value

from lakehouse.vector.v1 import encoded_pb2, filter_pb2, parameters_pb2, vector_pb2

from services.runtime.errors import InvalidArgument
from services.runtime.floats import set_floats
from services.vectord.files.manifest import Description, Source
from services.vectord.segments.building import Parameters
from services.vectord.segments.filters import AllOf, AnyOf, Bound, Exists, Filter, In, Not, Range, Scalar
from services.vectord.segments.metric import METRICS, Metric
from services.vectord.segments.snapshot import Found, Query
from services.vectord.segments.storage import STORAGE_TYPES, StorageType
from services.vectord.tree.engine import Checked, Info
from services.vectord.tree.items import Item

DEFAULT_K = 10


def description(request: vector_pb2.CreateIndexRequest) -> Description:
    """What is to be created; empty fields get their documented defaults."""
    defaults = Parameters()
    given = request.parameters
    return Description(
        name=request.name,
        dimension=request.dimension,
        metric=_metric(request.metric),
        storage_type=_storage_type(request.storage_type),
        parameters=Parameters(
            m=given.m or defaults.m,
            ef_construction=given.ef_construction or defaults.ef_construction,
            ef_search=given.ef_search or defaults.ef_search,
        ),
        source=Source(
            dataset=request.source.dataset,
            dataset_version=request.source.dataset_version,
            embedding_model=request.source.embedding_model,
            embedding_model_version=request.source.embedding_model_version,
            properties=request.source.properties.SerializeToString(),
        ),
        bucket=request.bucket or "primary",
        backend=request.backend or "memory",
    )


def _metric(word: str) -> Metric:
    return next((metric for metric in METRICS if metric == word), METRICS[0])


def _storage_type(word: str) -> StorageType:
    return next((storage for storage in STORAGE_TYPES if storage == word), STORAGE_TYPES[0])


def index(info: Info, aliases: Sequence[str] = ()) -> vector_pb2.Index:
    """What is known of an index."""
    described = info.description
    message = vector_pb2.Index(
        name=described.name,
        dimension=described.dimension,
        metric=described.metric,
        storage_type=described.storage_type,
        count=info.count,
        hot_count=info.hot_count,
        segments=info.segments,
        tombstones=info.tombstones,
        parameters=parameters_pb2.BuildParameters(
            m=described.parameters.m,
            ef_construction=described.parameters.ef_construction,
            ef_search=described.parameters.ef_search,
        ),
        source=vector_pb2.IndexSource(
            dataset=described.source.dataset,
            dataset_version=described.source.dataset_version,
            embedding_model=described.source.embedding_model,
            embedding_model_version=described.source.embedding_model_version,
        ),
        bucket=described.bucket,
        backend=described.backend,
        size=info.size,
        problems=info.problems,
        aliases=aliases,
    )
    if info.checked is not None:
        message.recall.CopyFrom(recall(info.checked))
    message.source.properties.MergeFromString(described.source.properties)
    message.created_at.FromNanoseconds(described.created_ns)
    message.updated_at.FromNanoseconds(info.updated_ns)
    return message


def recall(checked: Checked) -> vector_pb2.RecallCheck:
    """What a check found."""
    found = checked.recall
    message = vector_pb2.RecallCheck(recall=found.recall, k=found.k, sample=found.sample)
    message.checked_at.FromNanoseconds(checked.checked_ns)
    return message


def items(messages: Sequence[vector_pb2.Item]) -> list[Item]:
    """Items to add; some 5 us each."""
    return [
        Item(
            id=message.id,
            vector=np.asarray(message.vector, dtype=np.float32),
            metadata=message.metadata.SerializeToString() if message.HasField("metadata") else None,
        )
        for message in messages
    ]


def query(request: vector_pb2.SearchRequest) -> Query:
    """What a search may return."""
    if request.ids and not request.restrict_to_ids:
        raise InvalidArgument.of("ids", "has no effect unless restrict_to_ids is true")
    return Query(
        k=request.k if request.HasField("k") else DEFAULT_K,
        filter=condition(request.filter) if request.HasField("filter") else None,
        exclude_ids=request.exclude_ids,
        only_ids=request.ids if request.restrict_to_ids else None,
        ef=request.ef_search if request.HasField("ef_search") else None,
        exact=request.exact,
        with_vectors=request.with_vectors,
    )


def batch_query(request: vector_pb2.BatchSearchRequest) -> Query:
    """What each search of a batch may return."""
    return Query(
        k=request.k if request.HasField("k") else DEFAULT_K,
        filter=condition(request.filter) if request.HasField("filter") else None,
        exclude_ids=request.exclude_ids,
        ef=request.ef_search if request.HasField("ef_search") else None,
        exact=request.exact,
    )


def condition(message: filter_pb2.Filter, field: str = "filter") -> Filter:
    """A filter; raises InvalidArgument naming the part that is no condition."""
    kind = message.WhichOneof("condition")
    if kind == "all":
        return AllOf(filters=_conditions(message.all, f"{field}.all"))
    if kind == "any":
        return AnyOf(filters=_conditions(message.any, f"{field}.any"))
    if kind == "not":
        return Not(filter=condition(getattr(message, "not"), f"{field}.not"))
    if kind == "equals":
        return In(field=message.equals.field, values=[_scalar(message.equals.value, f"{field}.equals.value")])
    if kind == "in":
        return _one_of(getattr(message, "in"), f"{field}.in")
    if kind == "range":
        return _range(message.range, f"{field}.range")
    return Exists(field=message.exists.field) if kind == "exists" else AllOf(filters=())


def _conditions(message: filter_pb2.FilterList, field: str) -> list[Filter]:
    return [condition(one, f"{field}.filters[{place}]") for place, one in enumerate(message.filters)]


def _one_of(message: filter_pb2.In, field: str) -> In:
    values = [_scalar(value, f"{field}.values[{place}]") for place, value in enumerate(message.values)]
    return In(field=message.field, values=values)


def _range(message: filter_pb2.Range, field: str) -> Range:
    bounds: dict[str, Bound] = {}
    for name in ("gt", "gte", "lt", "lte"):
        if message.HasField(name):
            bounds[name] = _bound(getattr(message, name), f"{field}.{name}")
    return Range(field=message.field, **bounds)


def _bound(value: Value, field: str) -> Bound:
    bound = _scalar(value, field)
    if bound is None or isinstance(bound, bool):
        raise InvalidArgument.of(field, "must be a number or text")
    return bound


def _scalar(value: Value, field: str) -> Scalar:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return value.number_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "null_value":
        return None
    raise InvalidArgument.of(field, "must be text, a number, true, false or null")


def add_hits(message: encoded_pb2.EncodedHits, found: Found) -> None:
    """Fills `hits`: 0.5 us each, since the stored metadata stays as it is."""
    add = message.hits.add
    for item_id, distance, metadata in zip(found.ids, found.distances, found.metadata, strict=True):
        add(id=item_id, distance=distance, metadata=metadata)
    if found.vectors is not None:
        for hit, vector in zip(message.hits, found.vectors, strict=True):
            set_floats(hit, "vector", vector)


def add_items(message: vector_pb2.GetItemsResponse | vector_pb2.ListItemsResponse, found: Found) -> None:
    """Fills `items`."""
    for place, item_id in enumerate(found.ids):
        item = message.items.add(id=item_id)
        item.metadata.MergeFromString(found.metadata[place])
        if found.vectors is not None:
            set_floats(item, "vector", found.vectors[place])
