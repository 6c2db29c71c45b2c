"""What a file becomes: a dataset with a name, columns with a fingerprint (I3), and an object with a key (I4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from services.ingestd.errors import MissingName
from services.runtime.names import check_name, key_component

ARROW_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "string": pa.string(),
}
"""How each type is stored in Parquet; instants are in UTC, without a zone."""

TYPE_NAMES = {arrow: name for name, arrow in ARROW_TYPES.items()}

_BETWEEN_NAME_AND_TYPE = "\x1f"
_BETWEEN_COLUMNS = "\x1e"


def dataset_name(name: str) -> str:
    """The name in the form in which it is kept. Raises MissingName, and InvalidArgument for an illegal one."""
    if not name:
        raise MissingName.of("name", "say which dataset to write, in REST with ?name=…")
    return check_name(name)


def object_key(name: str, schema_fingerprint: str, sha256: str) -> str:
    """Where an object of a dataset lies: equal rows have one key, other rows or columns another.

    So new data never replaces what a reader holds, and the same file again finds its object there.
    """
    return f"datasets/{key_component(name)}/{schema_fingerprint}-{sha256[:32]}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a converted file."""

    name: str
    type: str
    """A key of ARROW_TYPES."""
    scale: int | None = None
    """Digits after the point, when every value of a double column had the same number of them."""
    pii: str = ""
    """The kind of personal data found in it; empty when none."""
    sensitivity: str = "internal"
    """How sensitive it is: `pii` where personal data was found."""
    widened: str = ""
    """Why the column is text although its first rows looked like another type; empty otherwise."""


def fingerprint(columns: Iterable[Column]) -> str:
    """SHA-256 in hexadecimal over names and types in header order.

    0x1f stands between a name and its type, 0x1e between two columns, nothing after the last.
    Nullability and scale are no part of it: they may change from file to file.
    """
    text = _BETWEEN_COLUMNS.join(f"{column.name}{_BETWEEN_NAME_AND_TYPE}{column.type}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()
