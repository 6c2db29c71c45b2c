"""A manifest is one Parquet object that anybody can query, and that fails loudly when it is not whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalogd.errors import ManifestDamaged
from services.catalogd.manifest import Column, DataObject, EmbeddingState, Lineage, Manifest, dataset_id
from services.catalogd.manifestfile import decode_manifest, encode_manifest, manifest_key
from services.runtime.errors import InvalidArgument
from services.runtime.names import check_key, check_name

NOW = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


def is_name(text: str) -> bool:
    try:
        return check_name(text) == text
    except InvalidArgument:
        return False


TEXTS = st.text(max_size=20)
NAMES = st.text(min_size=1, max_size=128).filter(is_name)
MOMENTS = st.datetimes(timezones=st.just(UTC))
MANIFESTS = st.builds(
    lambda manifest: replace(manifest, dataset_id=dataset_id(manifest.name)),
    st.builds(
        Manifest,
        dataset_id=st.just(""),
        name=NAMES,
        schema_fingerprint=TEXTS,
        columns=st.lists(
            st.builds(Column, name=TEXTS, type=TEXTS, pii=TEXTS, scale=st.none() | st.integers(0, 38)), max_size=3
        ).map(tuple),
        objects=st.lists(
            st.builds(
                DataObject,
                bucket=TEXTS,
                key=TEXTS,
                size=st.integers(0, 2**62),
                sha256=TEXTS,
                row_count=st.integers(0, 2**29),
            ),
            max_size=3,
        ).map(tuple),
        version=st.integers(0, 2**31 - 1),
        rows_version=st.integers(0, 2**31 - 1),
        created_at=MOMENTS,
        updated_at=MOMENTS,
        lineage=st.none() | st.builds(Lineage, source_system=TEXTS, source=TEXTS),
        embedding=st.builds(EmbeddingState, last_embedded_at=st.none() | MOMENTS, stale_since=st.none() | MOMENTS),
    ),
)


def manifest(name: str = "workers") -> Manifest:
    part = DataObject(bucket="primary", key="datasets/workers/1.parquet", size=10, sha256="ab", row_count=3)
    return Manifest(
        dataset_id=dataset_id(name),
        name=name,
        schema_fingerprint="f1",
        objects=(part,),
        version=7,
        rows_version=6,
        created_at=NOW,
        updated_at=NOW,
    )


@settings(deadline=None)
@given(MANIFESTS)
def test_a_manifest_comes_back_as_it_was(original: Manifest) -> None:
    assert decode_manifest(manifest_key(original.name), encode_manifest(original)) == original


@settings(deadline=None)
@given(NAMES)
def test_every_name_has_a_legal_key(name: str) -> None:
    check_key(manifest_key(name))


@pytest.mark.parametrize("name", ["workers", "Größe 100%: 'x'", "日" * 82])
def test_a_key_holds_the_name_where_it_fits(name: str) -> None:
    assert manifest_key(name) == f"_catalog/manifests/{name}.parquet"


def test_names_too_long_for_a_key_have_different_keys() -> None:
    assert manifest_key("日" * 127 + "a") != manifest_key("日" * 127 + "b")


def test_the_readable_columns_say_what_the_manifest_says() -> None:
    (row,) = pq.read_table(pa.BufferReader(encode_manifest(manifest()))).to_pylist()
    del row["manifest"]
    assert row == {
        "name": "workers",
        "dataset_id": dataset_id("workers"),
        "version": 7,
        "fingerprint": "f1",
        "row_count": 3,
        "updated_at": NOW,
    }


@pytest.mark.requirement("C2")
@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("workers", "4ee908eb-05e4-5c26-a4ad-4ca54bb01062"),
        ("Größe 100%", "f23a5146-5bad-59df-a1a8-bd5944749b43"),
    ],
)
def test_the_identity_of_a_name_is_the_same_on_every_machine(name: str, identity: str) -> None:
    assert dataset_id(name) == identity


def test_bytes_cut_anywhere_are_damaged() -> None:
    data = encode_manifest(manifest())
    for size in range(0, len(data), 7):
        with pytest.raises(ManifestDamaged):
            decode_manifest(manifest_key("workers"), data[:size])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"name": "workers"}', "null", '{"name": 7, "embedding": {}}', None]
)
def test_a_payload_that_is_no_manifest_is_damaged(text: str | None) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"manifest": pa.array([text], pa.string())}), sink)
    with pytest.raises(ManifestDamaged):
        decode_manifest(manifest_key("workers"), bytes(sink.getvalue()))


def test_a_manifest_under_the_key_of_another_is_damaged() -> None:
    with pytest.raises(ManifestDamaged):
        decode_manifest(manifest_key("others"), encode_manifest(manifest()))


def test_a_manifest_with_a_foreign_identity_is_damaged() -> None:
    forged = replace(manifest(), dataset_id=dataset_id("others"))
    with pytest.raises(ManifestDamaged):
        decode_manifest(manifest_key("workers"), encode_manifest(forged))


def test_fields_of_a_later_release_are_left_aside() -> None:
    data = encode_manifest(manifest())
    (row,) = pq.read_table(pa.BufferReader(data)).to_pylist()
    newer = row["manifest"].replace('"bucket":"primary"', '"bucket":"primary","tier":"cold"')
    newer = newer.replace("{", '{"owner":"x",', 1)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"manifest": [newer], "owner": ["x"]}), sink)
    assert decode_manifest(manifest_key("workers"), bytes(sink.getvalue())) == manifest()
