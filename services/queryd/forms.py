"""What becomes of each DuckDB type in an answer: the forms that JSON and Arrow have for it (Q1).

A type without an exact counterpart is sent as DuckDB's own text, which a cast turns back into the
same value. `docs/sql-types.md` shows the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duckdb.sqltypes import DuckDBPyType

from services.queryd import sql
from services.queryd.errors import InvalidQuery

TEXT = "VARCHAR"
SHORTEST = "shortest"
"""A FLOAT becomes the DOUBLE with the same shortest decimal form: 0.1, not 0.10000000149011612."""

_NESTED = frozenset({"array", "list", "map", "struct"})

_SAME = (
    *("boolean", "tinyint", "smallint", "integer", "bigint"),
    *("utinyint", "usmallint", "uinteger", "ubigint", "double", "varchar"),
)
_TEXT_IN_BOTH = ("bignum", "bit", "time with time zone", "uhugeint", "variant")
_TEXT_IN_JSON = (
    *("blob", "date", "decimal", "enum", "geometry", "hugeint", "interval", "time", "time_ns", "timestamp"),
    *("timestamp with time zone", "timestamp_ms", "timestamp_ns", "timestamp_s", "union", "uuid"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one kind of answer shows values; `leaves` holds the target of each plain type, None where it stays."""

    name: str
    leaves: Mapping[str, str | None]
    text_keys: bool
    """Whether the keys of maps must be text."""

    def conversions(self, given: DuckDBPyType) -> tuple[str, ...]:
        """The types to cast a value to, one after the other; empty when it can stay as it is."""
        text = self._target(given, floats=TEXT)
        if text is None:
            return ()
        final = self._target(given, floats="DOUBLE")
        assert final is not None
        return (text,) if text == final else (text, final)

    def _target(self, given: DuckDBPyType, *, floats: str) -> str | None:
        kind = given.id
        if kind in _NESTED:
            return self._nested_target(kind, given.children, floats)
        if kind not in self.leaves:
            raise InvalidQuery(f"{self.name} has no form for the type {given}: cast it to VARCHAR", type=given)
        target = self.leaves[kind]
        return floats if target == SHORTEST else target

    def _nested_target(self, kind: str, children: list[tuple[str, Any]], floats: str) -> str | None:
        parts = [(name, part) for name, part in children if isinstance(part, DuckDBPyType)]
        targets = [self._target(part, floats=floats) for _, part in parts]
        if kind == "map" and self.text_keys and str(parts[0][1]) != TEXT:
            targets[0] = TEXT
        unnamed = kind == "struct" and not parts[0][0]
        if not unnamed and not any(targets):
            return None
        types = [target or str(part) for target, (_, part) in zip(targets, parts, strict=True)]
        match kind:
            case "list":
                return sql.list_type(types[0])
            case "array":
                return sql.array_type(types[0], dict(children)["size"])
            case "map":
                return sql.map_type(types[0], types[1])
            case _:
                names = [name or str(place) for place, (name, _) in enumerate(parts, start=1)]
                return sql.struct_type(zip(names, types, strict=True))


JSON = Form(
    name="JSON",
    leaves={
        **dict.fromkeys(_SAME),
        **dict.fromkeys((*_TEXT_IN_JSON, *_TEXT_IN_BOTH), TEXT),
        "float": SHORTEST,
    },
    text_keys=True,
)
"""Numbers that JSON holds exactly stay numbers; all else that is not nested is text."""

ARROW = Form(
    name="Arrow",
    leaves={
        **dict.fromkeys((*_SAME, *_TEXT_IN_JSON, "float")),
        **dict.fromkeys(_TEXT_IN_BOTH, TEXT),
    },
    text_keys=False,
)
"""Only what Arrow cannot hold, or what DuckDB would hand it changed, is text."""
