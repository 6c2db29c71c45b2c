"""Listing is in the order of the keys' bytes, whatever the directories look like."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.storaged.tree import Tree

# Characters around the slash (0x2F), so that directories and files interleave in every way.
WORDS = st.text(st.sampled_from("a-./0~é".replace("/", "")), min_size=1, max_size=3)
LONG = st.tuples(st.sampled_from(["x" * 199, "x" * 200, "日" * 67]), st.text(st.sampled_from("-0x日."), max_size=3))
COMPONENTS = st.one_of(WORDS, LONG.map("".join)).filter(lambda text: text not in (".", ".."))
KEYS = st.lists(COMPONENTS, min_size=1, max_size=3).map("/".join)


def fill(tree: Tree, keys: set[str]) -> None:
    for key in keys:
        path = Path(tree.path(key))
        os.makedirs(path.parent, exist_ok=True)
        path.touch()


def in_order(keys: set[str]) -> list[str]:
    return sorted(keys, key=str.encode)


@settings(deadline=None)
@given(st.sets(KEYS, max_size=25), st.one_of(st.just(""), KEYS), st.one_of(st.just(""), KEYS))
def test_walking_equals_sorting_and_filtering_the_keys(keys: set[str], prefix: str, after: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tree = Tree(Path(directory))
        fill(tree, keys)
        for given_prefix in (prefix, prefix + "/", prefix[:-1]):
            expected = [key for key in in_order(keys) if key.startswith(given_prefix) and key > after]
            assert [key for key, _ in tree.walk(given_prefix, after)] == expected


@settings(deadline=None)
@given(st.sets(KEYS, max_size=25), st.integers(1, 5))
def test_pages_put_together_are_the_whole_list(keys: set[str], size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tree = Tree(Path(directory))
        fill(tree, keys)
        found: list[str] = []
        while page := [key for key, _ in tree.walk("", found[-1] if found else "")][:size]:
            found += page
        assert found == in_order(keys)


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "a/../", "./", "x" * 300 + "/"])
def test_a_prefix_that_no_key_can_have_finds_nothing(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "outside.object").touch()
    tree = Tree(tmp_path / "objects")
    fill(tree, {"a/b", "a"})
    assert list(tree.walk(prefix)) == []


def test_a_name_that_came_or_went_after_a_listing_is_seen_by_the_next(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    fill(tree, {"d/a"})
    assert [key for key, _ in tree.walk("d/")] == ["d/a"]
    fill(tree, {"d/b"})
    tree.changed(str(tmp_path / "d"))
    assert [key for key, _ in tree.walk("d/")] == ["d/a", "d/b"]


def test_a_listing_that_a_change_overtook_is_not_kept(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    fill(tree, {"d/a"})
    walk = tree.walk()
    assert next(walk)[0] == "d/a"
    fill(tree, {"d/b", "e/a"})
    tree.changed(str(tmp_path / "d"))
    tree.changed(str(tmp_path))
    assert [key for key, _ in walk] == []
    assert [key for key, _ in tree.walk()] == ["d/a", "d/b", "e/a"]


def test_deep_keys_are_walked_without_recursion(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    key = "/".join("a" * 512)
    fill(tree, {key})
    assert [found for found, _ in tree.walk()] == [key]


def test_pruning_stops_at_the_first_directory_in_use(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    fill(tree, {"a/b/c/d", "a/e"})
    os.unlink(tree.path("a/b/c/d"))
    assert tree.prune(str(tmp_path / "a/b/c")) == str(tmp_path / "a")
    assert [key for key, _ in tree.walk()] == ["a/e"]
