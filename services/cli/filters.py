"""Conditions on metadata as people type them: `city=Detroit`, `rating>=4.5`, `available!=true`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer
from google.protobuf import struct_pb2

from lakehouse.vector.v1 import filter_pb2

_CONDITION = re.compile(r"(?P<field>[^=!<>]+)(?P<operator>!=|>=|<=|=|>|<)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def parse(conditions: Sequence[str]) -> filter_pb2.Filter | None:
    """Makes one filter that demands every condition; None when there are none. Raises BadParameter."""
    if not conditions:
        return None
    return filter_pb2.Filter(all=filter_pb2.FilterList(filters=[_condition(text) for text in conditions]))


def _condition(text: str) -> filter_pb2.Filter:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE (or !=, >, >=, <, <=)", param_hint="--filter")
    field, operator, value = match["field"].strip(), match["operator"], match["value"].strip()
    if operator in _BOUNDS:
        bound = _values(value)[0]
        return filter_pb2.Filter(range=filter_pb2.Range(**{"field": field, _BOUNDS[operator]: bound}))  # type: ignore[arg-type]
    found = filter_pb2.In(field=field)
    getattr(found, "values").extend(_values(value))  # noqa: B009
    same = filter_pb2.Filter()
    getattr(same, "in").CopyFrom(found)  # `in` is a keyword of Python
    return same if operator == "=" else filter_pb2.Filter(**{"not": same})  # type: ignore[arg-type]


def _values(text: str) -> list[struct_pb2.Value]:
    """What a typed value may mean, the likeliest first: 48201 is a number or a text, "48201" only a text."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return [struct_pb2.Value(string_value=text[1:-1])]
    as_text = struct_pb2.Value(string_value=text)
    if text in _WORDS:
        word = _WORDS[text]
        if word is None:
            return [struct_pb2.Value(null_value=struct_pb2.NULL_VALUE), as_text]
        return [struct_pb2.Value(bool_value=word), as_text]
    if _NUMBER.fullmatch(text):
        return [struct_pb2.Value(number_value=float(text)), as_text]
    return [as_text]
