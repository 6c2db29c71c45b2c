"""The engines an index may be kept by. Each is a row here, and nobody else chooses between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.files.vault import Vault
from services.vectord.lance import library, opening
from services.vectord.tree.engine import Engine
from services.vectord.tree.index import Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """How indexes of one kind are made and opened."""

    create: Callable[[Path, Description, VectorConfig, Vault | None], Engine]
    """Makes an empty index in a directory that is not there yet."""
    open: Callable[[Path, VectorConfig, Vault | None, Executor | None], Engine]
    """Opens the index in a directory. Raises DamagedManifest, NewerVersion, Unavailable; may use the executor."""
    begin: Callable[[Path, Description, VectorConfig, Vault | None, Mapping[str, Any]], Index]
    """The same as `create`, with more to be kept in the manifest."""
    check: Callable[[], None]
    """Raises BackendNotInstalled when a library is missing."""


BACKENDS: Mapping[str, Backend] = {
    "memory": Backend(create=Index.create, open=Index.open, begin=Index.create, check=lambda: None),
    "lance": Backend(create=opening.create, open=opening.open_index, begin=opening.create, check=library.require),
}
