"""Conditions on metadata and the items that meet them (V5).

A filter becomes a mask over a segment's items before anything is ranked, so it never costs result
slots. What to do with the mask, scan or walk the graph, is the search's affair.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime.errors import InvalidArgument
from services.vectord.errors import FilterTooDeep
from services.vectord.segments.fields import BOOL, NULL, NUMBER, Column, Fields
from services.vectord.segments.metric import Mask

MAX_DEPTH = 32

Scalar = str | float | bool | None
Bound = str | float
Compare = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Every one of these; none of them admits everything."""

    filters: Sequence[Filter]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """At least one of these; none of them admits nothing."""

    filters: Sequence[Filter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """Not this, so also items without the field."""

    filter: Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class In:
    """A field, or an element of the list in it, has one of these values; types are never mixed up."""

    field: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A field, or an element of the list in it, lies between bounds; numbers by size, text by code point."""

    field: str
    gt: Bound | None = None
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None

    def bounds(self) -> list[tuple[Compare, Bound]]:
        """The bounds that are set, each with its comparison."""
        pairs: tuple[tuple[Compare, Bound | None], ...] = (
            (operator.gt, self.gt),
            (operator.ge, self.gte),
            (operator.lt, self.lt),
            (operator.le, self.lte),
        )
        return [(compare, bound) for compare, bound in pairs if bound is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """A field is there and is not null."""

    field: str


Filter = AllOf | AnyOf | Not | In | Range | Exists


def check(condition: Filter, field: str = "filter") -> Filter:
    """Returns a filter unchanged. Raises FilterTooDeep, or InvalidArgument for a range without bounds."""
    for depth, part in _walk(condition, 1):
        if depth > MAX_DEPTH:
            raise FilterTooDeep.of(field, f"must have at most {MAX_DEPTH} levels", limit=MAX_DEPTH)
        if isinstance(part, Range) and not part.bounds():
            raise InvalidArgument.of(field, "a range needs at least one of gt, gte, lt, lte")
    return condition


def passing(condition: Filter, fields: Fields, count: int) -> Mask:
    """Which of the first `count` items pass.

    Some 20 us for 10,000 items and a condition, once the fields it names have been decoded.
    """
    names = {part.field for _, part in _walk(condition, 1) if isinstance(part, In | Range | Exists)}
    return _mask(condition, fields.columns(names, count), count)


def _walk(condition: Filter, depth: int) -> Iterator[tuple[int, Filter]]:
    yield depth, condition
    if depth > MAX_DEPTH:
        return
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.filters:
            yield from _walk(part, depth + 1)
    elif isinstance(condition, Not):
        yield from _walk(condition.filter, depth + 1)


def _mask(condition: Filter, columns: Mapping[str, Column], count: int) -> Mask:
    match condition:
        case AllOf():
            return _joined(condition.filters, columns, count, every=True)
        case AnyOf():
            return _joined(condition.filters, columns, count, every=False)
        case Not():
            return ~_mask(condition.filter, columns, count)
        case In():
            column = columns[condition.field]
            return column.mask(_equal(column, condition.values), count)
        case Range():
            column = columns[condition.field]
            return column.mask(_between(column, condition), count)
        case Exists():
            return columns[condition.field].there(count)


def _joined(filters: Sequence[Filter], columns: Mapping[str, Column], count: int, *, every: bool) -> Mask:
    joined: Mask = np.full(count, every)
    for part in filters:
        mask = _mask(part, columns, count)
        joined = joined & mask if every else joined | mask
    return joined


def _equal(column: Column, values: Sequence[Scalar]) -> Mask:
    texts = [column.texts[value] for value in values if isinstance(value, str) and value in column.texts]
    truths = [float(value) for value in values if isinstance(value, bool)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    chosen: Mask = _among(column.codes, texts)
    if numbers:
        chosen |= (column.kinds == NUMBER) & _among(column.numbers, numbers)
    if truths:
        chosen |= (column.kinds == BOOL) & np.isin(column.numbers, truths)
    if None in values:
        chosen |= column.kinds == NULL
    return chosen


def _among(entries: npt.NDArray[Any], values: Sequence[float]) -> Mask:
    if len(values) == 1:
        return np.asarray(entries == values[0], dtype=np.bool_)
    return np.isin(entries, values)


def _between(column: Column, wanted: Range) -> Mask:
    bounds = wanted.bounds()
    if all(isinstance(bound, str) for _, bound in bounds):
        known = list(column.texts.items())
        codes = [code for text, code in known if all(compare(text, bound) for compare, bound in bounds)]
        return _among(column.codes, codes)
    chosen: Mask = column.kinds == NUMBER
    for compare, bound in bounds:
        if isinstance(bound, str):
            return np.zeros(len(chosen), dtype=np.bool_)
        chosen &= np.asarray(compare(column.numbers, bound), dtype=np.bool_)
    return chosen
