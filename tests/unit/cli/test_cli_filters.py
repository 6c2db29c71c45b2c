"""Conditions as people type them."""

from __future__ import annotations

import pytest
import typer
from google.protobuf import json_format

from services.cli.filters import parse


def _shown(*conditions: str) -> list[object]:
    made = parse(conditions)
    assert made is not None
    shown: list[object] = json_format.MessageToDict(made)["all"]["filters"]
    return shown


def test_no_condition_is_no_filter() -> None:
    assert parse([]) is None


def test_several_conditions_must_all_hold() -> None:
    assert len(_shown("city=Detroit", "rating>=4")) == 2


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("Detroit", ["Detroit"]),
        ("48201", [48201.0, "48201"]),
        ("02101", ["02101"]),
        ("4.5", [4.5, "4.5"]),
        ("true", [True, "true"]),
        ("null", [None, "null"]),
        ('"48201"', ["48201"]),
        ("a=b", ["a=b"]),
        ("", [""]),
    ],
)
def test_a_value_matches_everything_it_may_mean(typed: str, values: list[object]) -> None:
    assert _shown(f"field={typed}") == [{"in": {"field": "field", "values": values}}]


def test_unequal_is_the_opposite_of_equal() -> None:
    assert _shown("state!=open") == [{"not": {"in": {"field": "state", "values": ["open"]}}}]


@pytest.mark.parametrize(("operator", "bound"), [(">", "gt"), (">=", "gte"), ("<", "lt"), ("<=", "lte")])
def test_bounds_compare_numbers_as_numbers_and_dates_as_texts(operator: str, bound: str) -> None:
    assert _shown(f"price{operator}10") == [{"range": {"field": "price", bound: 10.0}}]
    assert _shown(f"day {operator} 2026-01-01") == [{"range": {"field": "day", bound: "2026-01-01"}}]


@pytest.mark.parametrize("typed", ["city", "=Detroit", ""])
def test_what_is_no_condition_is_refused(typed: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse([typed])
