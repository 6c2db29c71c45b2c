"""Page tokens: opaque, and refused when they are no token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.errors import InvalidArgument
from services.runtime.paging import decode_token, encode_token, page_size


@given(st.text(st.characters(codec="utf-8")))
def test_a_token_gives_its_key_back(key: str) -> None:
    token = encode_token(key)
    assert decode_token(token) == key
    assert token == "" or token.isascii()


@pytest.mark.parametrize("token", ["!", "é", "a", "////", "_w", "a b"])
def test_what_is_no_token_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_token(token)
    assert caught.value.violations[0].field == "page_token"


def test_a_page_has_the_default_size_for_zero_and_never_more_than_the_limit() -> None:
    assert [page_size(0, 100, 1000), page_size(7, 100, 1000), page_size(5000, 100, 1000)] == [100, 7, 1000]
