"""Fixtures for the SQL engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.queryd.config import QueryConfig
from tests.unit.queryd.warehouse import Open, Warehouse


@pytest.fixture
def open_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens warehouses with settings of their own."""
    opened: list[Warehouse] = []

    def make(**settings: Any) -> Warehouse:
        config = QueryConfig(**{"memory_limit_bytes": 256 << 20, "threads": 2, **settings})
        opened.append(Warehouse(tmp_path_factory.mktemp("warehouse"), config))
        return opened[-1]

    yield make
    for warehouse in opened:
        warehouse.engine.close()


@pytest.fixture
def warehouse(open_warehouse: Open) -> Warehouse:
    """An engine with one dataset, `workers`, of three rows."""
    opened = open_warehouse()
    opened.put("workers", "FROM (VALUES (1, 'Ada', 1.5), (2, 'Bob', NULL), (3, 'Çetin', -0.25)) AS t(id, name, score)")
    return opened
