"""What model servers answer, read with suspicion: every number is checked before anybody sees it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson

from services.embedd.providers import Matrix, Vector


class BadAnswer(Exception):
    """A server's answer cannot be used. `one_text` says that one text of several may be to blame."""

    def __init__(self, problem: str, *, one_text: bool = False) -> None:
        super().__init__(problem)
        self.one_text = one_text


def parse(body: bytes) -> Any:
    """The JSON value of an answer. Raises BadAnswer. About 2 ms a megabyte."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Takes NaN and Infinity, which some servers write, so that they are called by their name later.
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("is not JSON") from None


def member(value: Any, name: str) -> Any:
    """One member of a JSON object. Raises BadAnswer."""
    if not isinstance(value, dict) or name not in value:
        raise BadAnswer(f"has no {name!r}")
    return value[name]


def matrix_of(vectors: Any, count: int) -> Matrix:
    """As many finite vectors of one dimension as texts were sent. Raises BadAnswer."""
    if not isinstance(vectors, list):
        raise BadAnswer("has no list of vectors")
    if len(vectors) != count:
        raise BadAnswer(f"has {len(vectors)} vectors for {count} texts")
    rows = [_row(vector) for vector in vectors]
    sizes = sorted({len(row) for row in rows})
    if len(sizes) > 1:
        raise BadAnswer(f"has vectors of {sizes[0]} and of {sizes[-1]} components")
    return np.array(rows)


def scaled(rows: Matrix) -> Matrix:
    """The rows with length 1. Raises BadAnswer for a row without a direction."""
    wide = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    if not lengths.all():
        raise BadAnswer("has a vector of zeros, which cannot be scaled to length 1", one_text=True)
    unit: Matrix = (wide / lengths[:, np.newaxis]).astype(np.float32)
    return unit


def _row(vector: Any) -> Vector:
    if not isinstance(vector, list) or not vector:
        raise BadAnswer("has a vector that is no list of numbers", one_text=True)
    try:
        # Without a type of our own: with one, null would become NaN and "1" would become 1.
        row = np.array(vector)
    except ValueError:
        row = np.array(None)
    if row.ndim != 1 or row.dtype.kind not in "fiu":
        raise BadAnswer("has a vector with something that is no number", one_text=True)
    with np.errstate(over="ignore"):
        narrow: Vector = row.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise BadAnswer("has a vector with a number that is not finite", one_text=True)
    return narrow
