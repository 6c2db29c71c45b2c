"""The one module that builds SQL text. Every name and every literal that enters it is quoted here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

SERIALIZE = "SELECT json_serialize_sql(CAST($1 AS VARCHAR), skip_null := true, skip_empty := true)"
"""Turns a statement into DuckDB's own syntax tree as JSON."""

_GLOB = re.compile(r"[*?\[]")


def identifier(name: str) -> str:
    """Quotes a name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quotes a text."""
    return "'" + text.replace("'", "''") + "'"


def harden(directory: Path) -> str:
    """Leaves a DuckDB instance with one directory it can read, and settings that nobody can change (Q4)."""
    # DuckDB checks a pattern before it resolves it, and the file it finds after.
    allowed = ", ".join(literal(f"{path}/") for path in dict.fromkeys([str(directory), _exact(directory)]))
    return f"""
        SET GLOBAL TimeZone = 'UTC';
        SET GLOBAL parquet_metadata_cache = true;
        SET allowed_directories = [{allowed}];
        SET enable_external_access = false;
        SET lock_configuration = true;
    """


def create_view(name: str, files: Iterable[Path]) -> str:
    """Makes a dataset visible by `name` to one session, and to no other."""
    paths = ", ".join(literal(_exact(file)) for file in files)
    rows = f"read_parquet([{paths}], hive_partitioning = false, union_by_name = false)"
    return f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS SELECT * FROM {rows}"


def _exact(path: Path) -> str:
    """The pattern that matches this path and nothing else."""
    return _GLOB.sub(r"[\g<0>]", str(path))


def list_names(names: Iterable[str]) -> str:
    """Answers SHOW TABLES: one row for each name."""
    listed = ", ".join(literal(name) for name in names)
    return f"SELECT unnest(CAST([{listed}] AS VARCHAR[])) AS name"


def convert(statement: str, columns: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Wraps a statement so that each column is cast in turn to the types given with its name."""
    aliases = [f"c{i}" for i in range(len(columns))]
    selected = ", ".join(
        f"{cast(alias, types)} AS {identifier(name)}" for alias, (name, types) in zip(aliases, columns, strict=True)
    )
    # The line breaks keep a comment that ends the statement from swallowing the bracket.
    return f"SELECT {selected} FROM (\n{statement}\n) AS answer({', '.join(aliases)})"


def cast(expression: str, types: Iterable[str]) -> str:
    """Casts an expression to one type after the other."""
    for type_name in types:
        expression = f"CAST({expression} AS {type_name})"
    return expression


def list_type(child: str) -> str:
    """The type of lists of `child`."""
    return f"{child}[]"


def array_type(child: str, size: int) -> str:
    """The type of arrays of `size` times `child`."""
    return f"{child}[{size}]"


def map_type(key: str, value: str) -> str:
    """The type of maps."""
    return f"MAP({key}, {value})"


def struct_type(fields: Iterable[tuple[str, str]]) -> str:
    """The type of structs with these names and types."""
    return f"STRUCT({', '.join(f'{identifier(name)} {type_name}' for name, type_name in fields)})"
