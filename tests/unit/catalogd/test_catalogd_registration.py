"""How a dataset changes, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalogd.errors import NameConflict, ObjectConflict, SchemaConflict, TooManyRows
from services.catalogd.manifest import Column, DataObject, EmbeddingState, Lineage, Manifest, dataset_id
from services.catalogd.registration import (
    LEGACY_BUCKETS,
    MOST_ROWS,
    Registration,
    embedded,
    migrated,
    registered,
    stamped,
)

NOW = datetime(2024, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LATEST = NOW + timedelta(hours=2)


def part(key: str, *, rows: int = 10, sha256: str = "ab", bucket: str = "primary") -> DataObject:
    return DataObject(bucket=bucket, key=key, size=rows * 100, sha256=sha256, row_count=rows)


def wanted(*parts: DataObject, append: bool = False, lineage: Lineage | None = None) -> Registration:
    return Registration(name="Workers", schema_fingerprint="f1", objects=parts, append=append, lineage=lineage)


def made(*parts: DataObject) -> Manifest:
    return stamped(None, registered(None, wanted(*parts), NOW), 5)


def embedded_once(*parts: DataObject) -> Manifest:
    before = made(*parts)
    return embedded(before, EmbeddingState(last_embedded_at=NOW, refresh_policy=""), NOW)


def test_a_new_dataset_has_its_lasting_identity_and_its_sums() -> None:
    manifest = made(part("a", rows=3), part("b", rows=4))
    assert manifest.dataset_id == dataset_id("Workers")
    assert (manifest.row_count, manifest.size, manifest.version, manifest.rows_version) == (7, 700, 5, 5)
    assert manifest.created_at == manifest.updated_at == NOW
    assert manifest.embedding == EmbeddingState()


def test_registering_again_replaces_all_objects_and_keeps_identity_and_birthday() -> None:
    before = made(part("a"), part("b"))
    after = registered(before, wanted(part("c")), LATER)
    assert after.objects == (part("c"),)
    assert (after.dataset_id, after.created_at, after.updated_at) == (before.dataset_id, NOW, LATER)


def test_appending_keeps_the_objects_there_are_in_order() -> None:
    after = registered(made(part("b")), wanted(part("a"), append=True), LATER)
    assert after.objects == (part("b"), part("a"))
    assert after.row_count == 20


def test_appending_to_nothing_makes_the_dataset() -> None:
    assert registered(None, wanted(part("a"), append=True), NOW).objects == (part("a"),)


@pytest.mark.parametrize("append", [False, True])
def test_the_same_objects_again_change_nothing(append: bool) -> None:
    before = made(part("a"), part("b"))
    lineage = Lineage(source="another/name/of/the/same.csv")
    assert registered(before, wanted(part("a"), part("b"), append=append, lineage=lineage), LATER) is before


def test_an_object_counts_once_however_often_it_is_appended() -> None:
    before = made(part("a"))
    assert registered(before, wanted(part("a"), part("a"), append=True), LATER) is before
    after = registered(before, wanted(part("a"), part("b"), part("b"), append=True), LATER)
    assert after.objects == (part("a"), part("b"))


def test_one_key_in_two_buckets_is_two_objects_and_an_empty_bucket_is_primary() -> None:
    after = registered(made(part("a")), wanted(part("a", bucket=""), part("a", bucket="other"), append=True), LATER)
    assert after.objects == (part("a"), part("a", bucket="other"))


def test_one_object_with_two_descriptions_is_refused_by_its_place() -> None:
    with pytest.raises(ObjectConflict) as caught:
        registered(made(part("a")), wanted(part("b"), part("a", rows=11), append=True), LATER)
    assert caught.value.violations[0].field == "objects[1]"


def test_a_replacement_may_describe_an_object_anew() -> None:
    after = registered(made(part("a")), wanted(part("a", sha256="cd")), LATER)
    assert after.objects == (part("a", sha256="cd"),)


def test_another_schema_is_a_conflict() -> None:
    with pytest.raises(SchemaConflict):
        registered(made(part("a")), replace(wanted(part("b")), schema_fingerprint="f2"), LATER)


def test_a_name_that_differs_in_case_is_a_conflict_that_names_the_other() -> None:
    with pytest.raises(NameConflict) as caught:
        registered(made(part("a")), replace(wanted(part("b")), name="workers"), LATER)
    assert caught.value.metadata == {"name": "Workers"}


def test_more_rows_than_a_count_can_hold_are_refused() -> None:
    before = made(part("a", rows=MOST_ROWS))
    assert before.row_count == MOST_ROWS
    with pytest.raises(TooManyRows):
        registered(before, wanted(part("b", rows=1), append=True), LATER)


def test_better_known_columns_are_a_change_that_leaves_the_rows_alone() -> None:
    before = embedded_once(part("a"))
    columns = (Column(name="email", type="string", pii="email", sensitivity="pii"),)
    after = stamped(before, registered(before, replace(wanted(part("a")), columns=columns), LATER), 9)
    assert (after.columns, after.version, after.rows_version) == (columns, 9, 5)
    assert after.embedding.stale_since is None
    assert registered(after, wanted(part("a")), LATEST) is after


def test_lineage_is_kept_until_new_rows_bring_their_own_and_holds_no_password() -> None:
    before = registered(None, wanted(part("a"), lineage=Lineage(source="postgres://u:hunter2@db/x")), NOW)
    assert before.lineage == Lineage(source="postgres://***@db/x")
    after = registered(before, wanted(part("b")), LATER)
    assert after.lineage == before.lineage
    assert registered(after, wanted(part("c"), lineage=Lineage(source="c.csv")), LATER).lineage == Lineage(
        source="c.csv"
    )


def test_new_rows_make_an_embedded_dataset_stale_from_the_first_of_them_on() -> None:
    before = embedded_once(part("a"))
    after = registered(before, wanted(part("b"), append=True), LATER)
    assert after.embedding.stale_since == LATER
    again = registered(after, wanted(part("c"), append=True), LATEST)
    assert again.embedding.stale_since == LATER


def test_a_dataset_never_embedded_is_never_stale() -> None:
    after = registered(made(part("a")), wanted(part("b")), LATER)
    assert after.embedding.stale_since is None
    claimed = embedded(after, EmbeddingState(stale_since=LATER, refresh_policy="on_append"), LATEST)
    assert claimed.embedding == EmbeddingState(refresh_policy="on_append")


def test_embedding_again_ends_staleness() -> None:
    stale = registered(embedded_once(part("a")), wanted(part("b")), LATER)
    fresh = embedded(stale, EmbeddingState(last_embedded_at=LATEST, refresh_policy=""), LATEST)
    assert fresh.embedding == EmbeddingState(last_embedded_at=LATEST)


def test_what_is_left_open_stays_and_the_same_again_changes_nothing() -> None:
    before = embedded_once(part("a"))
    policy = embedded(before, EmbeddingState(refresh_policy="scheduled"), LATER)
    assert policy.embedding == EmbeddingState(last_embedded_at=NOW, refresh_policy="scheduled")
    assert embedded(policy, EmbeddingState(last_embedded_at=NOW, refresh_policy=""), LATEST) is policy


def test_rows_that_came_while_older_ones_were_embedded_leave_the_dataset_stale() -> None:
    first = embedded(made(part("a")), EmbeddingState(last_embedded_at=NOW, embedded_version=5), NOW)
    assert first.embedding.stale_since is None
    newer = stamped(first, registered(first, wanted(part("b")), LATER), 8)
    report = EmbeddingState(last_embedded_at=LATEST, embedded_version=5)
    late = embedded(newer, report, LATEST)
    assert late.embedding.stale_since == LATER
    assert embedded(late, report, LATEST) is late
    assert (
        embedded(late, EmbeddingState(last_embedded_at=LATEST, embedded_version=8), LATEST).embedding.stale_since
        is None
    )


def test_a_report_repeated_after_new_rows_came_does_not_hide_them() -> None:
    report = EmbeddingState(last_embedded_at=NOW, refresh_policy="")
    stale = registered(embedded(made(part("a")), report, NOW), wanted(part("b")), LATER)
    assert embedded(stale, report, LATEST).embedding.stale_since == LATER


def test_legacy_buckets_become_primary_and_the_rows_count_as_the_same() -> None:
    before = made(part("a"), part("b", bucket="data"), part("c", bucket="local"), part("d", bucket="other"))
    after = stamped(before, migrated(before, LEGACY_BUCKETS, LATER), 9)
    assert [each.bucket for each in after.objects] == ["primary", "primary", "primary", "other"]
    assert (after.version, after.rows_version, after.updated_at) == (9, 5, LATER)
    assert migrated(after, LEGACY_BUCKETS, LATEST) is after


PARTS = st.builds(part, st.sampled_from("abcd"), bucket=st.sampled_from(["primary", "other"]))


@settings(deadline=None)
@given(st.lists(st.lists(PARTS, max_size=4), max_size=5))
def test_appending_in_any_portions_is_the_union_in_order_of_arrival(portions: list[list[DataObject]]) -> None:
    manifest = made()
    for portion in portions:
        manifest = registered(manifest, wanted(*portion, append=True), LATER)
    assert manifest.objects == tuple(dict.fromkeys(each for portion in portions for each in portion))
    assert manifest.row_count == sum(each.row_count for each in manifest.objects)
