"""The models that embedd computes by itself."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable

import numpy as np
import pytest
import wordllama
from hypothesis import given
from hypothesis import strategies as st

from services.embedd.hash_model import HashEncoder, token_signs
from services.embedd.providers import Encoder
from services.embedd.wordllama_model import WORDLLAMA, load_wordllama

TEXTS = [
    "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30",
    "x",
    "Ärztin für die Nachtschicht in Köln gesucht",
    "夜勤の看護師",
    "😀 \u200b",
    "word " * 200,
]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / math.sqrt(float(one @ one) * float(other @ other)))


def test_wordllama_agrees_with_its_library() -> None:
    library = wordllama.WordLlama.load(cache_dir=wordllama.__path__[0], disable_download=True)
    ours = load_wordllama().encode(TEXTS)
    assert np.allclose(ours, library.embed(TEXTS, norm=True), atol=1e-6)


def test_wordllama_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_wordllama.cache_clear()
    assert load_wordllama().encode(["a text"]).shape == (1, WORDLLAMA.dimension)


@pytest.mark.parametrize("load", [load_wordllama, lambda: HashEncoder(64)], ids=["wordllama", "hash"])
def test_a_vector_is_the_same_alone_and_in_a_batch(load: Callable[[], Encoder]) -> None:
    encoder = load()
    texts = [*TEXTS, " ".join(f"worker {number} of the night shift" for number in range(3_000))]
    batch = encoder.encode(texts)
    for text, row in zip(texts, batch, strict=True):
        assert np.array_equal(encoder.encode([text])[0], row)
        assert np.array_equal(encoder.encode_one(text), row)


def test_wordllama_vectors_have_length_one() -> None:
    assert np.allclose(np.linalg.norm(load_wordllama().encode(TEXTS), axis=1), 1.0, atol=1e-6)


def test_a_text_longer_than_a_piece_has_the_vector_of_all_its_words() -> None:
    library = wordllama.WordLlama.load(cache_dir=wordllama.__path__[0], disable_download=True)
    text = " ".join(f"worker {number} of the night shift" for number in range(10_000))
    assert len(text) > 200_000
    assert cosine(load_wordllama().encode([text])[0], library.embed(text)[0]) > 0.99999


def test_a_long_text_without_spaces_is_embedded_too() -> None:
    row = load_wordllama().encode(["0123456789" * 20_000])[0]
    assert np.isfinite(row).all()


def test_wordllama_encodes_from_many_threads_at_once() -> None:
    encoder = load_wordllama()
    expected = encoder.encode(TEXTS)
    results: list[bool] = []

    def encode() -> None:
        results.append(all(np.array_equal(encoder.encode(TEXTS), expected) for _ in range(50)))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_hash_signs_of_a_token_are_known() -> None:
    # SHA-256("forklift" 0x1f "0") begins with 0xc2.
    assert token_signs("forklift", 8).tolist() == [1, 1, -1, -1, -1, -1, 1, -1]


def test_a_hash_vector_is_known() -> None:
    row = HashEncoder(8).encode(["Forklift operator, forklift!"])[0]
    counted = 2 * token_signs("forklift", 8) + token_signs("operator", 8)
    assert np.array_equal(row, (counted / math.sqrt(int(counted @ counted))).astype(np.float32))


def test_hash_texts_that_share_tokens_are_nearer_than_others() -> None:
    rows = HashEncoder(64).encode(
        [
            "forklift operator in Detroit",
            "Forklift operator, Detroit, nights",
            "revenue of the northern region",
        ]
    )
    assert cosine(rows[0], rows[1]) > 0.5 > cosine(rows[0], rows[2])


def test_hash_dimensions_beyond_one_digest_are_filled() -> None:
    row = HashEncoder(700).encode(["forklift"])[0]
    assert row.shape == (700,)
    assert not np.array_equal(row[:256], row[256:512])


@given(st.text(min_size=1), st.integers(1, 70))
def test_a_hash_vector_has_length_one_whatever_the_text(text: str, dimension: int) -> None:
    row = HashEncoder(dimension).encode([text])[0]
    assert math.isclose(float(np.linalg.norm(row)), 1.0, abs_tol=1e-5)
