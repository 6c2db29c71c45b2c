"""Which functions a statement may call. Table functions are allowed one by one: anything else could read a file."""

from __future__ import annotations

from services.queryd.errors import StatementNotAllowed

TABLE_FUNCTIONS = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "test_all_types", "unnest"}
)
"""Table functions that make rows from their arguments alone."""

FORBIDDEN_FUNCTIONS = frozenset(
    {
        # They wait, write, or change what later statements see.
        *("pg_sleep", "sleep_ms", "write_log", "setseed", "nextval", "currval"),
        # They show settings, other views, or the statement as we rewrote it.
        *("current_setting", "current_query", "get_block_size", "stats", "format_type"),
        *("col_description", "obj_description", "shobj_description"),
        # They plan another statement that nobody has checked.
        *("json_serialize_plan", "json_serialize_sql", "json_deserialize_sql"),
        # They trust the bytes of an aggregate's inner state.
        *("combine", "finalize"),
    }
)
"""Scalar functions that do more than compute a value from their arguments."""

FORBIDDEN_PREFIXES = ("__internal_", "pg_get_")
"""Families of which every function is forbidden."""


def check_table_function(name: str) -> None:
    """Raises StatementNotAllowed unless rows may come from this function."""
    if name not in TABLE_FUNCTIONS:
        raise StatementNotAllowed(
            f"the table function {name}() is not allowed: read datasets by name (SHOW TABLES lists them)", function=name
        )


def check_function(name: str) -> None:
    """Raises StatementNotAllowed if this function may not be called."""
    if name in FORBIDDEN_FUNCTIONS or name.startswith(FORBIDDEN_PREFIXES):
        raise StatementNotAllowed(f"the function {name}() is not allowed", function=name)
