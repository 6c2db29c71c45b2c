"""The Lance library: optional, loaded when the first such index is touched, and kept small."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from importlib.util import find_spec
from typing import Any

from services.vectord.errors import BackendNotInstalled

_PACKAGE = "lance"
_EXTRA = "lakehouse[lance]"
_METADATA_BYTES = 32 << 20
_ARENA_MAX = -8  # M_ARENA_MAX in malloc.h
_ARENAS = 4

_lock = threading.Lock()
_sessions: dict[int, Any] = {}


def require() -> None:
    """Raises BackendNotInstalled unless the library is there; costs a look at the import path."""
    if find_spec(_PACKAGE) is None:
        raise BackendNotInstalled(
            f"indexes on Lance need the package pylance: install {_EXTRA}", backend="lance", install=_EXTRA
        )


def library() -> Any:
    """The library. The first call costs 0.2 s and 70 MB."""
    require()
    # Its notes on coming changes of its interface are for programmers, not for the daemon's log.
    os.environ.setdefault("LANCE_LOG", "error")
    if _PACKAGE not in sys.modules:
        _keep_few_arenas()
    return importlib.import_module(_PACKAGE)


def _keep_few_arenas() -> None:
    """Halves what searches make the process keep: glibc has an arena for each of Lance's some 50 threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_ARENA_MAX, _ARENAS)


def session(cache_bytes: int) -> Any:
    """What the tables of this process share: caches of that size. Without it each may take 6 GiB."""
    with _lock:
        if cache_bytes not in _sessions:
            _sessions[cache_bytes] = library().Session(
                index_cache_size_bytes=cache_bytes, metadata_cache_size_bytes=_METADATA_BYTES
            )
        return _sessions[cache_bytes]
