"""The statement gate: one SELECT over named tables passes, and nothing else does (Q4).

What is checked is DuckDB's own syntax tree, not the text, and everything in it must be known:
a kind of table that this module has never heard of is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb

from services.queryd.errors import StatementNotAllowed, StatementTooLarge
from services.queryd.parser import Tree, parse, unterminated
from services.queryd.policy import check_function, check_table_function
from services.queryd.statement import Statement

MAX_STATEMENT_BYTES = 64 << 10

_Scope = frozenset[str]
"""The names of the WITH tables that can be seen from a place in the tree."""

_KNOWN = frozenset(
    {
        # Queries.
        *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"),
        # Where rows come from.
        *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION"),
        # What happens to them, and in which order.
        *("DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"),
        *("ASCENDING", "DESCENDING", "ORDER_DEFAULT"),
    }
)


class Gate:
    """Judges statements. Safe from any thread."""

    def __init__(self, new_cursor: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """Parses with cursors of its own; nothing is ever executed but the parser."""
        self._new_cursor = new_cursor

    def check(self, text: str) -> Statement:
        """Returns the statement, or raises the error that says why it may not run. About 0.5 ms.

        StatementTooLarge, EmptyStatement, StatementSyntax, StatementNotAllowed.
        """
        size = len(text.encode())
        if size > MAX_STATEMENT_BYTES:
            raise StatementTooLarge(
                f"a statement may have at most {MAX_STATEMENT_BYTES:,} bytes, this one has {size:,}",
                limit=MAX_STATEMENT_BYTES,
                size=size,
            )
        cursor = self._new_cursor()
        try:
            root = parse(cursor, text)
        finally:
            cursor.close()
        if _lists_tables(root):
            return Statement(text=unterminated(text), tables=(), lists_tables=True)
        return Statement(text=unterminated(text), tables=_tables(root))


def _lists_tables(root: Tree) -> bool:
    source: dict[str, str] = root.get("from_table", {})
    return source.get("type") == "SHOW_REF" and source.get("table_name") == '"tables"'


def _tables(root: Tree) -> tuple[str, ...]:
    """Walks the whole tree, refuses what is not allowed, and returns the tables it reads."""
    found: dict[str, None] = {}
    waiting: list[tuple[Any, _Scope]] = [(root, frozenset())]
    while waiting:
        value, scope = waiting.pop()
        if isinstance(value, list):
            waiting += [(item, scope) for item in value]
        elif isinstance(value, dict):
            if value.get("type") == "BASE_TABLE":
                name = _table(value)
                if _fold(name) not in scope:
                    found[name] = None
            _check(value)
            waiting += _inside(value, scope)
    return tuple(found)


def _table(node: Tree) -> str:
    name: str = node.get("table_name", "")
    if "schema_name" in node or "catalog_name" in node or "at_clause" in node:
        raise StatementNotAllowed(f"write the dataset's name alone, without schema or version: {name}", table=name)
    return name


def _check(node: Tree) -> None:
    kind = node.get("type")
    if "class" in node:
        if kind == "VALUE_PARAMETER":
            raise StatementNotAllowed("parameters are not supported: write the values into the statement")
        if "function_name" in node:
            check_function(_fold(node["function_name"]))
    elif isinstance(kind, str) and kind not in _KNOWN and not kind.endswith("_TYPE_INFO"):
        raise StatementNotAllowed(f"{kind} is not allowed in a statement", kind=kind)
    elif kind == "TABLE_FUNCTION":
        check_table_function(_fold(node.get("function", {}).get("function_name", "")))
    elif kind == "SHOW_REF" and "query" not in node:
        raise StatementNotAllowed("only SHOW TABLES, DESCRIBE and SUMMARIZE are allowed", kind="SHOW")


def _inside(node: Tree, scope: _Scope) -> Iterator[tuple[Any, _Scope]]:
    """What is inside a node, with the WITH tables that each part can see.

    A part that sees a WITH table which DuckDB does not would reach the system catalog by that name,
    so a name is in scope only after its own definition, and inside it only where it is recursive.
    """
    for entry in node.get("cte_map", {}).get("map", ()):
        yield entry["value"], scope
        scope |= {_fold(entry["key"])}
    recursive = scope | {_fold(node["cte_name"])} if node.get("type") == "RECURSIVE_CTE_NODE" else scope
    for key, value in node.items():
        if key != "cte_map":
            yield value, recursive if key == "right" else scope


def _fold(name: str) -> str:
    """Folds case as DuckDB does it for names: ASCII letters only."""
    return name.encode().lower().decode()
