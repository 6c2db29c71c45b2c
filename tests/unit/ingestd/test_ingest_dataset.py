"""Name and fingerprint of a dataset (I3, X14)."""

from __future__ import annotations

import hashlib

import pytest

from services.ingestd.dataset import Column, dataset_name, fingerprint
from services.ingestd.errors import MissingName
from services.runtime.errors import InvalidArgument


@pytest.mark.requirement("I3", "R6")
def test_a_known_schema_has_its_known_fingerprint() -> None:
    columns = (Column(name="id", type="int64"), Column(name="größe", type="string"))

    assert fingerprint(columns) == hashlib.sha256("id\x1fint64\x1egröße\x1fstring".encode()).hexdigest()
    assert fingerprint(columns) == "fbc48e37bc9cb4a07af4bd3482465332975c6b97e3fd6a01a3ead09e01cd24a3"


def test_names_types_and_their_order_count() -> None:
    first, second = Column(name="a", type="int64"), Column(name="b", type="string")
    others = [
        (second, first),
        (first,),
        (first, Column(name="b", type="double")),
        (first, Column(name="c", type="string")),
    ]

    assert all(fingerprint(columns) != fingerprint((first, second)) for columns in others)


def test_a_name_cannot_borrow_from_its_neighbour() -> None:
    assert fingerprint((Column(name="ab", type="string"), Column(name="c", type="string"))) != fingerprint(
        (Column(name="a", type="string"), Column(name="bc", type="string"))
    )


def test_scale_and_personal_data_do_not_count() -> None:
    described = Column(name="a", type="double", scale=2, pii="other", sensitivity="pii", widened="row 5")

    assert fingerprint((described,)) == fingerprint((Column(name="a", type="double"),))


def test_a_dataset_needs_a_name() -> None:
    with pytest.raises(MissingName):
        dataset_name("")


@pytest.mark.parametrize("name", [" workers", "a/b", "..", "x" * 129])
def test_a_dataset_needs_a_legal_name(name: str) -> None:
    with pytest.raises(InvalidArgument):
        dataset_name(name)


def test_a_name_is_kept_in_its_composed_form() -> None:
    assert dataset_name("gro\u0308\u00dfe") == "gr\u00f6\u00dfe"
