"""How indexes on Lance are made and opened. Importing this costs nothing; using it loads the library."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.files.vault import Vault
from services.vectord.lance import library
from services.vectord.tree.index import Index


def create(
    path: Path,
    description: Description,
    config: VectorConfig,
    vault: Vault | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Index:
    """Makes an empty index; nothing of it goes to storage. Raises BackendNotInstalled."""
    library.require()
    from services.vectord.lance.index import LanceIndex

    return LanceIndex.make(path, description, config, extra)


def open_index(path: Path, config: VectorConfig, vault: Vault | None = None, pool: Executor | None = None) -> Index:
    """Opens an index. Raises BackendNotInstalled, DamagedManifest, IndexLocked."""
    library.require()
    from services.vectord.lance.index import LanceIndex

    return LanceIndex.load(path, config)
