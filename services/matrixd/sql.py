"""The one place in matrixd where SQL is written."""

from __future__ import annotations

from collections.abc import Sequence


def select_columns(dataset: str, columns: Sequence[str], limit: int | None = None) -> str:
    """A SELECT of some columns of a dataset, all rows of it or the first `limit`."""
    listing = ", ".join(_quoted(column) for column in columns)
    statement = f"SELECT {listing} FROM {_quoted(dataset)}"
    return statement if limit is None else f"{statement} LIMIT {limit:d}"


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
