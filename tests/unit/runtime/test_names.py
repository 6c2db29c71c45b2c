"""Names and keys: what is legal, and that every legal one becomes a path of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.errors import InvalidArgument
from services.runtime.names import check_key, check_name, directory_name, key_component, same_name


@pytest.mark.parametrize(
    "name", ["a", "two words", "it's", "50%", "a:b", "Größe", "日本", "x" * 128, "a.b", "...", '"q"']
)
def test_a_legal_name_is_returned(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a/b", "a\\b", "a\nb", "a\x00", "x" * 129, ".", "..", "a\u2028b", "\ud800"]
)
def test_an_illegal_name_is_refused_naming_the_field(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_name(name, "corpus")
    assert caught.value.violations[0].field == "corpus"


def test_a_name_becomes_nfc() -> None:
    assert check_name("u\u0308ber") == "über"
    assert same_name("ÜBER") == same_name("u\u0308ber")


@pytest.mark.parametrize("key", ["a", "a/b/c", "a b", "50%", "..a", "a..", "x" * 255, "/".join(["k" * 200] * 5)])
def test_a_legal_key_is_returned(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        "..",
        ".",
        "a/./b",
        "a\x00",
        "a\rb",
        "a\nb",
        "a\tb",
        "x" * 256,
        "k/" * 512 + "k",
    ],
)
def test_an_illegal_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument):
        check_key(key)


NAMES = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/\\"), min_size=1, max_size=128
)


@given(NAMES)
def test_every_legal_name_has_a_directory_and_a_legal_key(name: str) -> None:
    try:
        legal = check_name(name)
    except InvalidArgument:
        return
    directory = directory_name(legal)
    assert len(directory.encode()) <= 80
    assert directory.isascii()
    check_key(f"datasets/{key_component(legal)}/object.parquet")


@given(NAMES, NAMES)
def test_two_names_share_a_directory_only_when_they_are_the_same_name(left: str, right: str) -> None:
    assert (directory_name(left) == directory_name(right)) == (same_name(left) == same_name(right)) or (
        directory_name(left).rpartition("-")[2] != directory_name(right).rpartition("-")[2]
    )
