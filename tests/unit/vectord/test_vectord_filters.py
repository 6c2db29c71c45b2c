"""Filters mean on columns what they mean on one item's metadata."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.errors import InvalidArgument
from services.vectord.errors import FilterTooDeep
from services.vectord.segments import fields, filters
from services.vectord.segments.fields import Fields
from services.vectord.segments.filters import AllOf, AnyOf, Exists, Filter, In, Not, Range

SCALARS = st.one_of(
    st.none(), st.booleans(), st.sampled_from([-1.5, 0.0, 1.0, 2.0]), st.sampled_from(["", "a", "b", "1"])
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2))
METADATA = st.dictionaries(st.sampled_from(["x", "y", "o"]), VALUES, max_size=3)
NAMES = st.sampled_from(["x", "y", "o", "o.x", "o.y", "absent"])
BOUNDS = st.one_of(st.sampled_from([-1.5, 0.0, 1.0]), st.sampled_from(["", "a", "b"]))
LEAVES = st.one_of(
    st.builds(In, field=NAMES, values=st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(Range, field=NAMES, gt=st.none() | BOUNDS, gte=BOUNDS, lt=st.none() | BOUNDS, lte=st.none() | BOUNDS),
    st.builds(Exists, field=NAMES),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllOf, filters=st.lists(inner, max_size=3)),
        st.builds(AnyOf, filters=st.lists(inner, max_size=3)),
        st.builds(Not, filter=inner),
    ),
    max_leaves=6,
)


def struct(values: dict[str, Any]) -> bytes:
    message = Struct()
    message.update(values)
    return message.SerializeToString()


def look_up(metadata: dict[str, Any], name: str) -> tuple[bool, Any]:
    if name in metadata:
        return True, metadata[name]
    head, _, rest = name.partition(".")
    inner = metadata.get(head)
    return (True, inner[rest]) if isinstance(inner, dict) and rest in inner else (False, None)


def same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and type(one) is type(other) and one == other


def passes(condition: Filter, metadata: dict[str, Any]) -> bool:
    """What a filter means, one item at a time."""
    match condition:
        case AllOf():
            return all(passes(part, metadata) for part in condition.filters)
        case AnyOf():
            return any(passes(part, metadata) for part in condition.filters)
        case Not():
            return not passes(condition.filter, metadata)
    there, value = look_up(metadata, condition.field)
    if isinstance(condition, Exists):
        return there and value is not None
    elements = (value if isinstance(value, list) else [value]) if there else []
    if isinstance(condition, In):
        return any(same(element, wanted) for element in elements for wanted in condition.values)
    kinds = {type(bound) for _, bound in condition.bounds()}
    return any(
        kinds == {type(element)} and all(compare(element, bound) for compare, bound in condition.bounds())
        for element in elements
    )


@pytest.mark.requirement("V5")
@given(items=st.lists(METADATA, max_size=8), condition=FILTERS, first=st.integers(0, 8))
def test_columns_decide_as_one_item_at_a_time_would(items: list[dict[str, Any]], condition: Filter, first: int) -> None:
    metadata = [struct(item) for item in items]
    columns = Fields(metadata)
    expected = [passes(condition, item) for item in items]
    # Columns made for the first items are extended, and a reader of an older state still asks for fewer.
    for count in (min(first, len(items)), len(items), min(first, len(items))):
        assert filters.passing(condition, columns, count).tolist() == expected[:count]


@pytest.mark.requirement("V5")
def test_items_added_later_are_decoded_when_they_are_asked_for() -> None:
    metadata = [struct({"x": "a"})]
    columns = Fields(metadata)
    condition = In(field="x", values=["b"])
    assert filters.passing(condition, columns, 1).tolist() == [False]
    metadata.append(struct({"x": "b"}))
    assert filters.passing(condition, columns, 2).tolist() == [False, True]


@pytest.mark.requirement("V5")
def test_a_name_with_a_dot_is_taken_as_a_whole_before_it_reaches_into_an_object() -> None:
    columns = Fields([struct({"a.b": 1, "a": {"b": 2}}), struct({"a": {"b": 1}})])
    assert filters.passing(In(field="a.b", values=[1.0]), columns, 2).tolist() == [True, True]
    assert filters.passing(In(field="a.b", values=[2.0]), columns, 2).tolist() == [False, False]


@pytest.mark.requirement("V5")
def test_a_value_that_is_not_a_number_equals_nothing() -> None:
    columns = Fields([struct({"x": float("nan")})])
    assert filters.passing(In(field="x", values=[float("nan")]), columns, 1).tolist() == [False]
    assert filters.passing(Exists(field="x"), columns, 1).tolist() == [True]


@pytest.mark.requirement("V5")
def test_invented_fields_do_not_fill_the_memory() -> None:
    columns = Fields([struct({"x": 1})])
    for number in range(3 * fields.MAX_COLUMNS):
        filters.passing(Exists(field=f"invented-{number}"), columns, 1)
    assert len(columns) == fields.MAX_COLUMNS
    assert filters.passing(Exists(field="x"), columns, 1).tolist() == [True]


def nested(levels: int) -> Filter:
    condition: Filter = Exists(field="x")
    for _ in range(levels - 1):
        condition = Not(filter=condition)
    return condition


@pytest.mark.requirement("V5")
def test_a_filter_may_have_as_many_levels_as_the_limit_says() -> None:
    assert filters.check(nested(filters.MAX_DEPTH))
    with pytest.raises(FilterTooDeep):
        filters.check(nested(filters.MAX_DEPTH + 1))
    with pytest.raises(FilterTooDeep):
        filters.check(AllOf(filters=[Exists(field="x"), nested(filters.MAX_DEPTH)]))


@pytest.mark.requirement("V5")
def test_a_range_needs_a_bound() -> None:
    with pytest.raises(InvalidArgument):
        filters.check(AnyOf(filters=[Range(field="x")]))
