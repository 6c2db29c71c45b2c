"""DuckDB, hardened: one instance without files, network, extensions or settings to reach for (Q4).

What a statement may say is the gate's matter; this module sees to it that even a statement that
slipped through would find only the cached data files.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

from services.queryd import sql
from services.queryd.config import QueryConfig
from services.queryd.views import View, data_path

MAX_EXPRESSION_DEPTH = 250
_MAX_IDLE_SESSIONS = 16
_MAX_SESSION_VIEWS = 1_000


class Session:
    """One cursor with the views it has; serves one statement at a time."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, files: Path) -> None:
        self.cursor = cursor
        self._files = files
        self._views: dict[bytes, str] = {}

    @property
    def full(self) -> bool:
        """Whether it has seen so many datasets that a fresh one is cheaper."""
        return len(self._views) > _MAX_SESSION_VIEWS

    def show(self, views: Sequence[View]) -> None:
        """Makes exactly these rows visible under these names. About 0.6 ms for a view that changed, else nothing.

        The files must be in place. Raises duckdb.Error.
        """
        for view in views:
            # Views differ where DuckDB says that names differ: without regard to the case of ASCII letters.
            key = view.name.encode().lower()
            if self._views.get(key) != view.digest:
                self._views.pop(key, None)
                paths = [data_path(self._files, sha256) for sha256 in view.files]
                self.cursor.execute(sql.create_view(view.name, paths))
                self._views[key] = view.digest

    def bind(self, text: str) -> list[tuple[str, DuckDBPyType]]:
        """The names and types of the columns a statement answers with; runs nothing. About 0.2 ms."""
        try:
            relation = self.cursor.sql(text)
        except duckdb.Error:
            # A relation's error is bare text; the same error from here says what kind it is.
            self.cursor.execute(text)
            raise
        return list(zip(relation.columns, relation.types, strict=True))

    def interrupt(self) -> None:
        """Asks what runs here to stop; from any thread."""
        self.cursor.interrupt()


class Database:
    """The instance and its sessions. Safe from any thread."""

    def __init__(self, *, files: Path, spill: Path, config: QueryConfig) -> None:
        """Opens an instance that reads from `files` and spills to `spill`. About 10 ms."""
        self._files = files
        self._spill = spill
        self._config = config
        self._lock = threading.Lock()
        self._idle: list[Session] = []
        self._connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        # What an instance that was killed had spilled is of no use to anybody.
        shutil.rmtree(self._spill, ignore_errors=True)
        self._spill.mkdir(mode=0o700)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "errors_as_json": "true",
            "max_expression_depth": str(MAX_EXPRESSION_DEPTH),
            "max_temp_directory_size": f"{self._config.spill_limit_bytes}B",
            "memory_limit": f"{self._config.memory_limit_bytes}B",
            "python_enable_replacements": "false",
            "temp_directory": str(self._spill),
            "validate_external_file_cache": "NO_VALIDATION",
        }
        if self._config.threads:
            settings["threads"] = str(self._config.threads)
        connection = duckdb.connect(":memory:", config=settings)
        connection.execute(sql.harden(self._files))
        return connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A fresh cursor, for parsing. About 5 us."""
        return self._connection.cursor()

    def acquire(self) -> Session:
        """A session that nobody else uses."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            return Session(self._connection.cursor(), self._files)

    def release(self, session: Session, *, reuse: bool) -> None:
        """Takes a session back; without `reuse`, whatever it was doing ends here."""
        with self._lock:
            if reuse and len(self._idle) < _MAX_IDLE_SESSIONS and not session.full:
                self._idle.append(session)
                return
        session.cursor.close()

    def close(self) -> None:
        """Ends every session."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.cursor.close()
        self._connection.close()
