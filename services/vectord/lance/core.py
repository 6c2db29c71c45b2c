"""What the writers, the searches and the upkeep of one index on Lance share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.files.directory import Directory
from services.vectord.files.manifest import DamagedManifest, Description, Manifest
from services.vectord.lance.columns import Columns
from services.vectord.lance.state import TableState
from services.vectord.lance.table import Table
from services.vectord.lance.view import Approximation, View
from services.vectord.tree.core import Core

EXTRA = "lance"
"""The key in the manifest under which the version of the table stands that counts."""

_NO_TABLE = 0


class TableCore(Core):
    """An index that is open. Its directory has no segments, but a table."""

    state: TableState

    def __init__(self, directory: Directory, config: VectorConfig, state: TableState, table: Table) -> None:
        """Use `make` or `load`."""
        super().__init__(directory, config, state, None)
        self.table = table

    @classmethod
    def make(
        cls, path: Path, description: Description, config: VectorConfig, extra: Mapping[str, Any] | None = None
    ) -> TableCore:
        """An empty index that survives from now on; `extra` is kept in its manifest. Raises IndexLocked."""
        first = Manifest(
            description=description,
            updated_ns=description.created_ns,
            extra={**(extra or {}), EXTRA: document(_NO_TABLE, None)},
        )
        Directory.create(path, first).close()
        return cls.load(path, config)

    @classmethod
    def load(cls, path: Path, config: VectorConfig) -> TableCore:
        """The version of the table that the manifest names, then the writes since.

        Raises IndexLocked, DamagedManifest.
        """
        directory = Directory.open(path)
        table = None
        try:
            described = directory.manifest.description
            table = Table(path, described, cache_bytes=config.lance_cache_bytes)
            version, approximation = _parsed(directory.manifest.extra)
            view = table.create() if version == _NO_TABLE else table.open(version, approximation)
            if view.version != version:
                keep(directory, view)
            state = TableState(described, view=view, columns=Columns(config.lance_cache_bytes))
            core = cls(directory, config, state, table)
            core._replay()
        except BaseException:
            directory.close()
            if table is not None:
                table.close()
            raise
        return core

    def _replay(self) -> None:
        for time_ns, operations in self.directory.writes():
            self.state.reserve(operations)
            for operation in operations:
                self.state.apply(operation)
            self.updated_ns = max(self.updated_ns, time_ns)
        self.publish()


def keep(directory: Directory, view: View, **changes: Any) -> None:
    """Names a version of the table in the manifest: from now on it counts, also after a kill. Raises OSError."""
    said = document(view.version, view.approximation)
    directory.change(lambda present: replace(present, extra={**present.extra, EXTRA: said}, **changes))


def document(version: int, approximation: Approximation | None) -> dict[str, Any]:
    """What the manifest says of a table, as JSON."""
    return {
        "version": version,
        "approximation": None if approximation is None else dataclasses.asdict(approximation),
    }


def _parsed(extra: Mapping[str, Any]) -> tuple[int, Approximation | None]:
    try:
        document = extra[EXTRA]
        approximation = document["approximation"]
        return int(document["version"]), None if approximation is None else Approximation(**approximation)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedManifest("the manifest names no version of its Lance table") from error
