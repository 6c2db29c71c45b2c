"""The `hash` model: vectors that need no weights and are the same on every machine.

A token (a run of word characters, case folded) stands for a vector of +1 and -1 whose signs are the
bits of SHA-256 over the token and a block number. A text's vector is the sum over its tokens,
divided by its length. So texts that share tokens are near, others nearly orthogonal, and meaning is
not known at all: it is for tests and for parity between implementations, not for retrieval.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from services.embedd.providers import Matrix, Model, Vector

_TOKEN = re.compile(r"\w+")
_BLOCK_BITS = 256


def hash_model(dimension: int) -> Model:
    """What is known of the `hash` model in a given dimension."""
    return Model(id="hash", provider="hash", dimension=dimension, normalized=True)


class HashEncoder:
    """Sums signs. About 5 us for a token seen before."""

    def __init__(self, dimension: int) -> None:
        """`dimension` is at least 1."""
        self._dimension = dimension

    def encode(self, texts: Sequence[str]) -> Matrix:
        """One row of length 1 for each text."""
        rows = np.empty((len(texts), self._dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._vector(text)
        return rows

    def encode_one(self, text: str) -> Vector:
        """The same row for one text."""
        return self._vector(text).astype(np.float32)

    def _vector(self, text: str) -> npt.NDArray[np.float64]:
        folded = text.casefold()
        total = np.zeros(self._dimension, dtype=np.int64)
        for token in _TOKEN.findall(folded) or [folded]:
            total += token_signs(token, self._dimension)
        if not total.any():
            # Tokens that cancel each other out leave no direction: the text as a whole gives one.
            total += token_signs(folded, self._dimension)
        # Integers add up exactly in any order, and IEEE square root and division are exact to the
        # last bit too, so that no machine can differ.
        return total / math.sqrt(int(total.dot(total)))


@lru_cache(maxsize=16_384)
def token_signs(token: str, dimension: int) -> npt.NDArray[np.int64]:
    """The +1 and -1 of a token: bits of SHA-256(token, 0x1f, block number), most significant first."""
    blocks = -(-dimension // _BLOCK_BITS)
    digests = b"".join(hashlib.sha256(f"{token}\x1f{block}".encode()).digest() for block in range(blocks))
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8))[:dimension]
    signs: npt.NDArray[np.int64] = bits.astype(np.int64) * 2 - 1
    signs.flags.writeable = False
    return signs
