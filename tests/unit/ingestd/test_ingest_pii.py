"""Personal data is found by its form, or by form and column name together (I9)."""

from __future__ import annotations

import pytest

from services.ingestd.pii import kind_of, sensitivity_of


@pytest.mark.requirement("I9")
@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("contact", ["ada@example.com", "b.c+d@mail.example.org"], "email"),
        ("note", ["write to ada@example.com", "nothing"], ""),
        ("c", ["078-05-1120", "219-09-9999"], "ssn"),
        ("c", ["000-12-3456", "666-12-3456", "900-12-3456"], ""),
        ("ssn", ["078051120", "219099999"], "ssn"),
        ("amount", ["078051120", "219099999"], ""),
        ("c", ["(313) 555-1234", "313-555-1234", "+1 313.555.1234"], "phone"),
        ("c", ["+49 30 901820", "+44 20 7946 0958"], "phone"),
        ("mobile", ["3135551234", "13135551234"], "phone"),
        ("orders", ["3135551234", "13135551234"], ""),
        ("code", ["123-456", "12-3456"], ""),
        ("name", ["Ada Lovelace", "José Peña-Ortiz", "Conan O’Brien"], "name"),
        ("FirstName", ["Ada", "Grace"], "name"),
        ("last_name", ["Lovelace", "Hopper"], "name"),
        ("worker name", ["Ada Lovelace"], "name"),
        ("file_name", ["report", "invoice"], ""),
        ("company_name", ["Acme", "Initech"], ""),
        ("name", ["pump-12 v2", "7 bolts"], ""),
        ("date_of_birth", ["1990-02-28", "1985-12-01"], "date_of_birth"),
        ("hired_on", ["1990-02-28", "1985-12-01"], ""),
        ("street", ["12 Main St", "7 Oak Ave"], "address"),
        ("home address", ["12 Main St", "7 Oak Ave"], "address"),
        ("ip_address", ["10.0.0.1a", "10.0.0.2a"], ""),
        ("email", [], ""),
        ("email", ["", None], ""),
    ],
)
def test_a_column_is_flagged_with_its_kind(name: str, values: list[str | None], kind: str) -> None:
    assert kind_of(name, values) == kind


def test_most_values_must_fit() -> None:
    assert kind_of("c", ["a@example.com"] * 6 + ["-"] * 4 + [""] * 90) == "email"
    assert kind_of("c", ["a@example.com"] * 5 + ["-"] * 5) == ""


def test_personal_data_is_sensitive() -> None:
    assert (sensitivity_of("email"), sensitivity_of("")) == ("pii", "internal")
