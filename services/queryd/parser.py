"""DuckDB's parser, and nothing else of DuckDB: a text becomes the syntax tree of one SELECT, or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import orjson

from services.queryd import sql
from services.queryd.errors import EmptyStatement, StatementNotAllowed
from services.queryd.faults import syntax_error, translate

Tree = dict[str, Any]

_WORD = re.compile(rb"\w+")


def parse(cursor: duckdb.DuckDBPyConnection, text: str) -> Tree:
    """The syntax tree of the one SELECT that `text` must be. About 0.4 ms.

    EmptyStatement, StatementSyntax, StatementNotAllowed.
    """
    if "\0" in text:
        raise StatementNotAllowed("a statement must not contain a NUL character")
    try:
        # Not extract_statements: it looks into some pragmas, and IMPORT DATABASE, as it splits.
        row = cursor.execute(sql.SERIALIZE, [text]).fetchone()
    except duckdb.Error as error:
        raise translate(error) from None
    assert row is not None
    try:
        answer = orjson.loads(row[0])
    except orjson.JSONDecodeError:
        raise StatementNotAllowed("the statement is nested too deeply") from None
    if answer["error"]:
        if answer["error_type"] == "parser":
            raise syntax_error(answer["error_message"], answer.get("position"))
        raise _refused(text)
    return _only(answer["statements"])


def unterminated(text: str) -> str:
    """The text without the semicolons that end it, and what comments come after them."""
    data = text.encode()
    end = len(data)
    for offset, _ in reversed(duckdb.tokenize(text)):
        if data[offset : offset + 1] != b";":
            break
        end = offset
    return text if end == len(data) else data[:end].decode()


def _only(statements: list[Tree]) -> Tree:
    if not statements:
        raise EmptyStatement("the statement is empty: send one SELECT")
    if len(statements) > 1:
        raise _several(len(statements))
    root: Tree = statements[0]["node"]
    return root


def _refused(text: str) -> StatementNotAllowed:
    """Says why a text that parses is no SELECT."""
    statements = list(_keywords(text))
    if len(statements) > 1:
        return _several(len(statements))
    kind, *others = statements[0]
    if kind == "PIVOT" or "PIVOT" in others:
        return StatementNotAllowed(
            "PIVOT must name its values, as in FROM t PIVOT (sum(x) FOR y IN ('a', 'b'))", kind="PIVOT"
        )
    return StatementNotAllowed("only SELECT statements are allowed, not " + kind, kind=kind)


def _several(count: int) -> StatementNotAllowed:
    return StatementNotAllowed(f"send one statement at a time, not {count}", count=count)


def _keywords(text: str) -> Iterator[list[str]]:
    """The first word of each statement in a text, and the keywords after it."""
    data, words = text.encode(), list[str]()
    for offset, kind in duckdb.tokenize(text):
        if data[offset : offset + 1] == b";":
            if words:
                yield words
            words = []
        elif kind == duckdb.token_type.keyword or not words:
            found = _WORD.match(data, offset)
            words.append(found[0].decode().upper() if found else "?")
    if words:
        yield words
