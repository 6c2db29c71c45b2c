"""Buckets come and go at run time and are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.errors import InvalidArgument
from services.storaged.backend import ObjectStore
from services.storaged.buckets import Buckets
from services.storaged.errors import (
    BackendNotConfigured,
    BucketExists,
    BucketNotEmpty,
    BucketNotFound,
    BucketProtected,
)
from services.storaged.filestore import FileBackend


def opened(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "buckets", {"file": FileBackend(tmp_path / "file")}, "file")


def names(buckets: Buckets) -> list[str]:
    return [bucket.name for bucket in buckets.list(after="", limit=100)]


def put(store: ObjectStore, key: str) -> None:
    sink = store.begin(key, content_type="", size=None)
    sink.commit(sha256="", create_only=False)


def test_primary_and_rescue_are_there_from_the_start_and_stay(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    assert names(buckets) == ["primary", "rescue"]
    for name in ("primary", "rescue"):
        assert not buckets.get(name).removable
        with pytest.raises(BucketProtected):
            buckets.remove(name)


def test_an_empty_name_means_primary(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    assert buckets.store("") is buckets.store("primary")


@pytest.mark.parametrize("name", ["b", "Größe 100%: 'x'", "日" * 128])
def test_a_bucket_and_its_objects_survive_a_restart(tmp_path: Path, name: str) -> None:
    made = opened(tmp_path).create(name, "")
    put(opened(tmp_path).store(name), "a/b")
    again = opened(tmp_path)
    assert again.get(name) == made
    assert made.removable
    assert [info.key for info in again.store(name).list("", after="", limit=9)] == ["a/b"]


def test_a_name_that_differs_only_in_case_is_taken(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    buckets.create("Größe", "file")
    for name in ("größe", "GRÖSSE", "Größe", "Primary"):
        with pytest.raises(BucketExists):
            buckets.create(name, "")


def test_a_missing_bucket_is_not_found_and_the_error_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BucketNotFound) as caught:
        opened(tmp_path).store("nope")
    assert caught.value.metadata == {"bucket": "nope", "buckets": "primary, rescue"}


def test_an_illegal_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        opened(tmp_path).create("a/b", "")


def test_a_back_end_that_this_instance_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendNotConfigured):
        opened(tmp_path).create("b", "s3")


def test_only_an_empty_bucket_is_removed_and_then_it_is_gone_for_good(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    buckets.create("b", "")
    put(buckets.store("b"), "a")
    with pytest.raises(BucketNotEmpty):
        buckets.remove("b")
    buckets.store("b").delete("a")
    buckets.remove("b")
    for registry in (buckets, opened(tmp_path)):
        with pytest.raises(BucketNotFound):
            registry.get("b")


def test_a_removed_bucket_can_be_made_again_empty(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    buckets.create("b", "")
    buckets.remove("b")
    buckets.create("b", "")
    put(buckets.store("b"), "a")
    assert names(buckets) == ["b", "primary", "rescue"]


def test_a_damaged_record_costs_its_bucket_only_until_it_is_made_again(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    for name in ("b", "c"):
        buckets.create(name, "")
        put(buckets.store(name), "a")
    for name in ("b", "primary"):
        (record,) = (tmp_path / "buckets").glob(f"{name}-*.json")
        record.write_bytes(b"{")
    again = opened(tmp_path)
    assert names(again) == ["c", "primary", "rescue"]
    again.create("b", "")
    assert [info.key for info in again.store("b").list("", after="", limit=9)] == ["a"]


def test_buckets_are_listed_in_the_order_of_their_names_page_by_page(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    for name in ("z", "B", "a"):
        buckets.create(name, "")
    assert names(buckets) == ["B", "a", "primary", "rescue", "z"]
    assert [bucket.name for bucket in buckets.list(after="a", limit=2)] == ["primary", "rescue"]


def test_an_error_about_very_many_buckets_stays_small(tmp_path: Path) -> None:
    buckets = opened(tmp_path)
    for number in range(12):
        buckets.create(f"{number:02}" + "x" * 120, "")
    with pytest.raises(BucketNotFound) as caught:
        buckets.get("nope")
    assert len(caught.value.message) < 1_200
