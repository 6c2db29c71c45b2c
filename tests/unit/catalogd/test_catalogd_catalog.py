"""Datasets in memory: found without regard to case, listed in order, and clocked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.catalogd.catalog import Catalog
from services.catalogd.errors import DatasetNotFound
from services.catalogd.manifest import Manifest, dataset_id
from services.catalogd.manifestfile import manifest_key

NOW = datetime(2024, 5, 6, tzinfo=UTC)


def manifest(name: str, version: int = 1) -> Manifest:
    return Manifest(
        dataset_id=dataset_id(name), name=name, schema_fingerprint="f", version=version, created_at=NOW, updated_at=NOW
    )


def test_a_name_is_found_without_regard_to_case() -> None:
    catalog = Catalog([manifest("Größe")])
    assert catalog.get("GRÖSSE") is catalog.get("größe") is catalog.find("Größe")


def test_a_missing_name_is_not_found_and_the_nearest_is_named() -> None:
    catalog = Catalog([manifest("Workers"), manifest("clients")])
    with pytest.raises(DatasetNotFound) as caught:
        catalog.get("worker")
    assert caught.value.metadata == {"name": "worker", "nearest": "Workers"}
    with pytest.raises(DatasetNotFound) as caught:
        catalog.get("zzz")
    assert caught.value.metadata == {"name": "zzz"}


def test_pages_are_in_the_order_of_names() -> None:
    catalog = Catalog([manifest(name) for name in ("b", "a", "C", "ä")])
    assert [each.name for each in catalog.page("", 10)] == ["C", "a", "b", "ä"]
    assert [each.name for each in catalog.page("a", 1)] == ["b"]
    assert [each.name for each in catalog.page("aa", 1)] == ["b"]
    assert catalog.page("ä", 10) == []


def test_an_empty_catalog_begins_at_version_zero_and_each_change_takes_the_next() -> None:
    catalog = Catalog.rehydrated([], version=0, problems={})
    assert catalog.version == 0
    for expected in (1, 2):
        version = catalog.begin()
        catalog.publish(version, catalog.find("a"), manifest("a", version))
        assert catalog.version == expected


def test_readers_are_told_a_version_only_when_all_before_it_is_done() -> None:
    catalog = Catalog()
    first, second, third = catalog.begin(), catalog.begin(), catalog.begin()
    catalog.publish(second, None, manifest("b", second))
    assert (catalog.version, catalog.get("b").version) == (0, 2)
    catalog.abandon(first)
    assert catalog.version == 2
    catalog.publish(third, None, manifest("c", third))
    assert catalog.version == 3


def test_a_removed_dataset_is_gone_and_its_name_is_free_in_any_case() -> None:
    catalog = Catalog([manifest("Workers")])
    catalog.publish(catalog.begin(), catalog.get("workers"), None)
    assert catalog.names() == []
    catalog.publish(catalog.begin(), None, manifest("workers"))
    assert catalog.names() == ["workers"]


def test_a_restart_goes_on_behind_everything_that_was_ever_taken() -> None:
    assert Catalog.rehydrated([manifest("a", 7)], version=9, problems={}).version == 10
    assert Catalog.rehydrated([manifest("a", 9)], version=7, problems={}).version == 10
    assert Catalog.rehydrated([], version=9, problems={}).version == 10


def test_of_two_names_that_differ_in_case_the_one_changed_later_stays_and_the_other_is_reported() -> None:
    catalog = Catalog.rehydrated([manifest("a", 3), manifest("A", 2)], version=3, problems={})
    assert catalog.names() == ["a"]
    assert [problem.partition(":")[0] for problem in catalog.problems] == [manifest_key("A")]


def test_a_problem_ends_when_its_manifest_is_written_anew() -> None:
    problems = {manifest_key("a"): "a is damaged", manifest_key("b"): "b is damaged"}
    catalog = Catalog.rehydrated([], version=0, problems=problems)
    catalog.publish(catalog.begin(), None, manifest("a"))
    assert catalog.problems == ["b is damaged"]
