"""The SQL engine behind one narrow door: texts and views in, bytes out; it lives in the worker process."""

from __future__ import annotations

from pathlib import Path

from services.queryd.config import QueryConfig
from services.queryd.database import Database
from services.queryd.gate import Gate
from services.queryd.running import Plans, Running
from services.queryd.statement import Statement
from services.queryd.views import View


class Engine:
    """Checks statements and runs them. Safe from any thread."""

    def __init__(self, *, files: Path, spill: Path, config: QueryConfig) -> None:
        """Reads data files from `files`, spills to `spill`, which it empties. About 10 ms."""
        self._config = config
        self._database = Database(files=files, spill=spill, config=config)
        self._gate = Gate(self._database.cursor)
        self._plans = Plans()

    def check(self, text: str) -> Statement:
        """Judges a statement (see Gate.check)."""
        return self._gate.check(text)

    def open(self, text: str, views: tuple[View, ...]) -> Running:
        """Prepares to run a statement that was checked over views whose files are in place."""
        return Running(text=text, views=views, database=self._database, plans=self._plans, config=self._config)

    def close(self) -> None:
        """Ends every session."""
        self._database.close()
