"""The one place in matrixd where SQL is written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.runtime.errors import InvalidArgument

# What hides parentheses: text, quoted names, and remarks.
_QUOTED = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | (\$\w*\$).*?\1 | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)


def select_columns(dataset: str, columns: Sequence[str], limit: int | None = None) -> str:
    """A SELECT of some columns of a dataset, all rows of it or the first `limit`."""
    listing = ", ".join(_quoted(column) for column in columns)
    statement = f"SELECT {listing} FROM {_quoted(dataset)}"
    return statement if limit is None else f"{statement} LIMIT {limit:d}"


def select_where(dataset: str, column: str, condition: str) -> str:
    """A SELECT of one column of the rows that meet a caller's condition, which stands on lines of its own.

    Raises InvalidArgument for text that would reach beyond the parentheses around it.
    """
    _check_closed(condition)
    return f"SELECT {_quoted(column)} FROM {_quoted(dataset)} WHERE (\n{condition}\n)"


def _check_closed(condition: str) -> None:
    depth = 0
    for character in _QUOTED.sub(" ", condition):
        depth += (character == "(") - (character == ")")
        if depth < 0 or character == ";":
            break
    else:
        if depth == 0:
            return
    raise InvalidArgument.of("where", "must be one condition: every parenthesis closed, no semicolon")


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
