"""The SQL that the labs send, as one place that puts names into statements: quoted, never pasted."""

from __future__ import annotations

from collections.abc import Sequence

_NUMBERS = frozenset({"int64", "int32", "double", "float", "decimal"})


def quoted(name: str) -> str:
    """Quotes an identifier, so that any legal column or dataset name is one token."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quotes a text."""
    return "'" + text.replace("'", "''") + "'"


def count_rows(dataset: str, id_column: str) -> str:
    """Counts rows, and different and missing ids."""
    ident = quoted(id_column)
    return (
        f'SELECT count(*) AS "rows", count(DISTINCT {ident}) AS different_ids, '
        f"count(*) FILTER ({ident} IS NULL) AS rows_without_id FROM {quoted(dataset)}"
    )


def duplicate_ids(dataset: str, id_column: str) -> str:
    """Lists a few ids that occur more than once."""
    ident = quoted(id_column)
    return (
        f"SELECT CAST({ident} AS VARCHAR) AS id, count(*) AS times FROM {quoted(dataset)} "
        f"GROUP BY {ident} HAVING count(*) > 1 ORDER BY times DESC, id LIMIT 3"
    )


def text_lengths(dataset: str, text_columns: Sequence[str]) -> str:
    """Tells how much text a row has."""
    text = _joined(text_columns)
    return (
        f"SELECT min(length({text})) AS shortest, CAST(avg(length({text})) AS INTEGER) AS average, "
        f"max(length({text})) AS longest FROM {quoted(dataset)}"
    )


def aggregate(dataset: str, columns: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Picks the first number column, else the first other column; returns its name and an aggregate of it.

    `columns` holds (name, type) of the candidates, at least one.
    """
    number = next((name for name, kind in columns if kind in _NUMBERS), None)
    if number is not None:
        ident = quoted(number)
        statement = f"SELECT min({ident}) AS smallest, avg({ident}) AS average, max({ident}) AS largest"
        return number, f"{statement} FROM {quoted(dataset)}"
    name = columns[0][0]
    statement = f'SELECT {quoted(name)}, count(*) AS "rows" FROM {quoted(dataset)}'
    return name, f'{statement} GROUP BY ALL ORDER BY "rows" DESC, 1 LIMIT 5'


def sample_texts(dataset: str, id_column: str, text_columns: Sequence[str], limit: int) -> str:
    """Returns (id, text) of rows spread over the file, always the same ones; no text that several rows have.

    Texts are cut at 4,000 characters.
    """
    ident = f"CAST({quoted(id_column)} AS VARCHAR)"
    text = _joined(text_columns)
    return (
        f"SELECT {ident} AS id, left({text}, 4000) AS text FROM {quoted(dataset)} "
        f"WHERE length({text}) >= 20 QUALIFY count(*) OVER (PARTITION BY {text}) = 1 "
        f"ORDER BY md5({ident}), id LIMIT {limit:d}"
    )


def texts_of(dataset: str, id_column: str, text_columns: Sequence[str], ids: Sequence[str]) -> str:
    """Returns (id, beginning of the text) of some rows."""
    ident = f"CAST({quoted(id_column)} AS VARCHAR)"
    listed = ", ".join(literal(value) for value in ids)
    return (
        f"SELECT {ident} AS id, left({_joined(text_columns)}, 200) AS text FROM {quoted(dataset)} "
        f"WHERE {ident} IN ({listed})"
    )


def _joined(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return f"CAST({quoted(columns[0])} AS VARCHAR)"
    return f"concat_ws(chr(10), {', '.join(quoted(column) for column in columns)})"
