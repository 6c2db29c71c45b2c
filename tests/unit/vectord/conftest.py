"""Indexes that are closed when a test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.segments.metric import Metric
from services.vectord.segments.storage import StorageType
from services.vectord.tree.index import Index


class Opener:
    """Creates and opens indexes below a directory."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack

    def create(
        self,
        metric: Metric = "cosine",
        *,
        dimension: int = 16,
        name: str = "test",
        storage: StorageType = "float32",
        config: VectorConfig | None = None,
    ) -> Index:
        """Makes an empty index in a directory of that name."""
        description = Description(name=name, dimension=dimension, metric=metric, storage_type=storage)
        return self.describe(description, config)

    def describe(self, description: Description, config: VectorConfig | None = None) -> Index:
        """Makes an empty index of that description."""
        return self._kept(Index.create(self._root / description.name, description, config or VectorConfig()))

    def open(self, path: Path) -> Index:
        """Opens an index, which must not be open elsewhere unless that one is never used again."""
        return self._kept(Index.open(path, VectorConfig()))

    def _kept(self, index: Index) -> Index:
        self._stack.callback(index.close)
        return index


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    """Creates and opens indexes, and closes them at the end."""
    with ExitStack() as stack:
        yield Opener(tmp_path, stack)
