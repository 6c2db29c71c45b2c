"""Indexes on Lance that are closed when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.lance.index import LanceIndex
from services.vectord.segments.metric import Metric

Make = Callable[..., LanceIndex]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Creates indexes, and closes them at the end."""
    with ExitStack() as stack:

        def made(metric: Metric = "l2", dimension: int = 4, name: str = "test") -> LanceIndex:
            description = Description(name=name, dimension=dimension, metric=metric, backend="lance")
            index = LanceIndex.make(tmp_path / name, description, VectorConfig())
            stack.callback(index.close)
            return index

        yield made
