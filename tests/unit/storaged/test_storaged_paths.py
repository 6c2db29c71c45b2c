"""Keys become paths that fit every file system, never collide, and can be read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.storaged.paths import directory_path, is_object, object_path, sort_text

# Names made of the mapping's own markers, and names around the length where they are cut.
MARKERS = st.lists(st.sampled_from(["~", ".object", ".more", ".", "a", "-", "0", " "]), min_size=1, max_size=4)
LONG = st.tuples(
    st.sampled_from(["x" * 196, "x" * 199, "é" * 99, "日" * 66, "x" * 199 + "日", "🙂" * 50]),
    st.one_of(
        st.sampled_from(["", ".", "..", "~", ".~", "..~", "x", "x.", "x..", "x.object", "x.more~"]),
        st.text(st.sampled_from("x-~0é日🙂."), max_size=12),
    ),
).map("".join)
ANY = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/"), min_size=1)
COMPONENTS = st.one_of(MARKERS.map("".join), LONG, ANY).filter(
    lambda text: text not in (".", "..") and len(text.encode()) <= 255
)
KEYS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)


def read_back(path: str) -> str:
    return "".join(sort_text(entry) for entry in path.split("/"))


@settings(deadline=None)
@given(KEYS)
def test_a_key_can_be_read_back_from_its_path(key: str) -> None:
    assert read_back(object_path(key)) == key


@settings(deadline=None)
@given(KEYS)
def test_no_entry_of_a_path_is_longer_than_a_file_system_allows(key: str) -> None:
    entries = object_path(key).split("/")
    assert all(0 < len(entry.encode()) <= 255 and entry not in (".", "..") for entry in entries)


@settings(deadline=None)
@given(KEYS, KEYS)
def test_no_file_stands_where_another_key_needs_a_directory(key: str, other: str) -> None:
    parents = object_path(other).split("/")[:-1]
    directories = {"/".join(parents[: i + 1]) for i in range(len(parents))}
    assert object_path(key) not in directories


@settings(deadline=None)
@given(KEYS)
def test_only_the_last_entry_of_a_path_is_an_object(key: str) -> None:
    *directories, file = object_path(key).split("/")
    assert is_object(file)
    assert not any(is_object(directory) for directory in directories)


@settings(deadline=None)
@given(KEYS, COMPONENTS)
def test_the_directory_of_a_parent_holds_its_children(parent: str, name: str) -> None:
    assert object_path(f"{parent}/{name}").startswith(directory_path(parent) + "/")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a", "a.object"),
        ("a/b", "a/b.object"),
        ("datasets/Größe 100%/1:2.parquet", "datasets/Größe 100%/1:2.parquet.object"),
        ("a.object/b", "a.object~/b.object"),
        ("a.object~/b", "a.object~~/b.object"),
        ("~/b", "~~/b.object"),
        ("x" * 200, "x" * 200 + ".more/.object"),
        ("x" * 200 + "/b", "x" * 200 + ".more/~/b.object"),
        ("x" * 200 + "../b", "x" * 200 + ".more/..~/b.object"),
        ("x" * 200 + ".", "x" * 200 + ".more/..object"),
        ("x" * 255 + "/b", "x" * 200 + ".more/" + "x" * 55 + "/b.object"),
    ],
)
def test_paths_are_those_a_person_expects(key: str, path: str) -> None:
    assert object_path(key) == path
