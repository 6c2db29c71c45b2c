"""Datasets as data files where the cache would have put them, and an engine that reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from services.queryd import sql
from services.queryd.config import QueryConfig
from services.queryd.engine import Engine
from services.queryd.pieces import cut
from services.queryd.running import Running
from services.queryd.views import DataFile, Dataset, View, Views, data_path


class Warehouse:
    """Datasets as Parquet files where the cache would have put them, and an engine that reads them."""

    def __init__(self, directory: Path, config: QueryConfig) -> None:
        self.files = directory / "cache"
        self.files.mkdir(mode=0o700)
        self.engine = Engine(files=self.files, spill=directory / "spill", config=config)
        self.datasets: dict[str, Dataset] = {}
        self.views = Views()

    def put(self, name: str, *selects: str) -> Dataset:
        """Makes a dataset of one data file for each SELECT, or replaces it."""
        self.datasets[name] = Dataset(name=name, files=tuple(self.file(name, select) for select in selects))
        self.views.follow((self.views.version or 0) + 1, self.datasets.values())
        return self.datasets[name]

    def file(self, dataset: str, select: str) -> DataFile:
        """Writes the rows of a SELECT as a data file."""
        scratch = self.files.parent / "scratch.parquet"
        duckdb.execute(f"COPY ({select}) TO '{scratch}' (FORMAT parquet)")
        content = scratch.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        scratch.rename(data_path(self.files, sha256))
        return DataFile(dataset=dataset, bucket="", key=f"datasets/{sha256}", size=len(content), sha256=sha256)

    def open(self, text: str) -> Running:
        """A statement that passed the gate and is about to run."""
        statement = self.engine.check(text)
        if statement.lists_tables:
            return self.engine.open(sql.list_names(self.views.names), ())
        return self.engine.open(statement.text, tuple(self.seen_by(statement.tables)))

    def seen_by(self, tables: Sequence[str]) -> list[View]:
        """The views of these tables."""
        return [dataset.view(name) for name, dataset in self.views.resolve(tables)]

    def json(self, text: str) -> dict[str, Any]:
        """The whole JSON answer."""
        answer: dict[str, Any] = orjson.loads(self.open(text).json())
        return answer

    def rows(self, text: str) -> list[list[Any]]:
        """The rows of the JSON answer."""
        rows: list[list[Any]] = self.json(text)["rows"]
        return rows

    def pieces(self, text: str) -> Iterator[bytes]:
        """The pieces of the Arrow answer."""
        running = self.open(text)
        while (part := running.next_part()) is not None:
            yield from cut(part)

    def arrow(self, text: str) -> pa.Table:
        """The whole Arrow answer."""
        return pa.ipc.open_stream(b"".join(self.pieces(text))).read_all()


Open = Callable[..., Warehouse]


def names(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The first column of some rows."""
    return [row[0] for row in rows]
