"""The embedded default model: static 256-d token vectors whose weights ship in the wordllama wheel.

A text's vector is the normalised sum of its tokens' vectors. It is the library's own result to
float precision, but computed text by text: the library pads a batch to its longest text, so that
one long text among short ones would multiply the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.embedd.errors import UpstreamFailed
from services.embedd.providers import Matrix, Model, Vector

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDLLAMA = Model(id="wordllama", provider="wordllama", dimension=256, normalized=True)

_PIECE_CHARACTERS = 65_536


class WordLlamaEncoder:
    """Sums token vectors. About 20 us for a short text, 70,000 short texts a second in a batch."""

    def __init__(self, tokenizer: Tokenizer, weights: npt.NDArray[np.float32]) -> None:
        """`weights` has a row of components for each token of the vocabulary."""
        self._tokenizer = tokenizer
        self._weights = weights

    def encode(self, texts: Sequence[str]) -> Matrix:
        """One row of length 1 for each text."""
        rows = np.empty((len(texts), self._weights.shape[1]), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast([_head(text) for text in texts], add_special_tokens=False)
        for row, text, encoding in zip(rows, texts, encodings, strict=True):
            np.add.reduce(self._weights.take(encoding.ids, axis=0), axis=0, out=row)
            for piece in _tail(text):
                row += self._sum(piece)
            row /= math.sqrt(row.dot(row)) or 1.0
        return rows

    def encode_one(self, text: str) -> Vector:
        """The same row for one text, without what a batch needs."""
        if len(text) > _PIECE_CHARACTERS:
            long: Vector = self.encode((text,))[0]
            return long
        [encoding] = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        row: Vector = np.add.reduce(self._weights.take(encoding.ids, axis=0), axis=0)
        row /= math.sqrt(row.dot(row)) or 1.0
        return row

    def _sum(self, piece: str) -> npt.NDArray[np.float32]:
        ids = self._tokenizer.encode(piece, add_special_tokens=False).ids
        total: npt.NDArray[np.float32] = self._weights.take(ids, axis=0).sum(axis=0)
        return total


def _head(text: str) -> str:
    return text if len(text) <= _PIECE_CHARACTERS else text[: _cut(text, 0)]


def _tail(text: str) -> Iterator[str]:
    # Token by token a text of megabytes would take gigabytes; sums of pieces add up to the same.
    if len(text) <= _PIECE_CHARACTERS:
        return
    start = _cut(text, 0)
    while start < len(text):
        stop = _cut(text, start)
        yield text[start:stop]
        start = stop


def _cut(text: str, start: int) -> int:
    """Where the piece that begins at `start` ends: before a space if it has one."""
    stop = start + _PIECE_CHARACTERS
    if stop >= len(text):
        return len(text)
    space = text.rfind(" ", start + 1, stop)
    return space if space > start else stop


@cache
def load_wordllama() -> WordLlamaEncoder:
    """Reads the weights (16 MB, 0.1 s) from the installed package; never from the network."""
    # Importing the library takes half a second, which a mesh without this model need not spend.
    import wordllama

    folder = Path(wordllama.__file__).parent
    try:
        model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    except (OSError, ValueError) as error:
        message = "the wordllama package is installed without its weights: install it again"
        raise UpstreamFailed(message, model=WORDLLAMA.id) from error
    model.tokenizer.no_padding()
    return WordLlamaEncoder(model.tokenizer, model.embedding)
