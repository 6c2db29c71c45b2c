"""What the writers, the searches and the upkeep of one index share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.files.directory import Directory
from services.vectord.files.manifest import Description, Manifest
from services.vectord.files.vault import Stored, Vault
from services.vectord.tree.journal import Operation
from services.vectord.tree.state import Slot, State


class Core:
    """An index that is open. `state` changes with `writer` held only; `snapshot` is what everybody reads."""

    def __init__(self, directory: Directory, config: VectorConfig, state: State, stored: Stored | None) -> None:
        """Use `create` or `open`."""
        self.directory = directory
        self.config = config
        self.stored = stored
        """What of it is in storage; None without storage."""
        self.description: Description = directory.manifest.description
        self.writer = threading.Lock()
        self.state = state
        self.snapshot = state.snapshot()
        self.updated_ns = directory.manifest.updated_ns
        self.written_at = 0.0
        self.gone = False
        """Whether it is being deleted."""
        self.broken = False
        """Whether the log holds a write that memory does not; see Index."""
        self.followers: list[Callable[[Operation], None]] = []
        """Who is told of every write that was applied; changes with `writer` held only."""

    @classmethod
    def create(
        cls,
        path: Path,
        description: Description,
        config: VectorConfig,
        vault: Vault | None,
        extra: Mapping[str, Any] | None = None,
    ) -> Core:
        """An empty index that survives from now on; `extra` is kept in its manifest."""
        first = Manifest(description=description, updated_ns=description.created_ns, extra=extra or {})
        directory = Directory.create(path, first)
        state = State(dimension=description.dimension, metric=description.metric, storage=description.storage_type)
        return cls(directory, config, state, _stored(directory, vault))

    @classmethod
    def open(cls, path: Path, config: VectorConfig, vault: Vault | None, pool: Executor | None) -> Core:
        """Its segments, opened in `pool` side by side, then the writes since; see Index.open."""
        directory = Directory.open(path)
        try:
            stored = _stored(directory, vault)
            description, entries = directory.manifest.description, directory.manifest.segments
            load = partial(directory.load, fetch=None if stored is None else stored.fetch)
            segments = list(map(load, entries) if pool is None else pool.map(load, entries))
            pairs = zip(segments, entries, strict=True)
            sealed = [Slot(segment, entry.alive) for segment, entry in pairs if segment is not None]
            state = State(
                dimension=description.dimension,
                metric=description.metric,
                storage=description.storage_type,
                sealed=sealed,
            )
            updated_ns = directory.manifest.updated_ns
            for time_ns, operations in directory.writes():
                for operation in operations:
                    state.apply(operation)
                updated_ns = max(updated_ns, time_ns)
        except BaseException:
            directory.close()
            raise
        core = cls(directory, config, state, stored)
        core.updated_ns = updated_ns
        return core

    def publish(self) -> None:
        """Lets searches see the present state. Only with `writer` held."""
        self.snapshot = self.state.snapshot()


def _stored(directory: Directory, vault: Vault | None) -> Stored | None:
    return None if vault is None else Stored(directory.path, directory.manifest.description, vault)
