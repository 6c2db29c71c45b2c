"""The role gate's comparison."""

from __future__ import annotations

import pytest

from services.matrixd.playbooks.roles import same_role


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Forklift Operator", "forklift operators"),
        ("  Forklift   Operator ", "Forklift Operator"),
        ("Nurse", "Nurses"),
        ("coach", "Coaches"),
        ("Boss", "bosses"),
        ("Straße", "STRASSE"),
    ],
)
def test_case_spaces_and_plurals_do_not_make_another_role(one: str, other: str) -> None:
    assert same_role(one, other)
    assert same_role(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Forklift Operator", "CNC Operator"), ("Picker", "Picker Packer"), ("Nurse", "Nursing Assistant")],
)
def test_other_words_make_another_role(one: str, other: str) -> None:
    assert not same_role(one, other)
