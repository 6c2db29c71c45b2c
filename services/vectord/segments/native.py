"""The FAISS library. Its type stubs know half of it, so it is untyped here and nowhere imported otherwise."""

from __future__ import annotations

import ctypes
import importlib
import threading
from typing import Any

faiss: Any = importlib.import_module("faiss")

_local = threading.local()


def use_threads(count: int) -> None:
    """Sets how many OpenMP threads FAISS uses for the calling thread; costs nothing when it is set already.

    Searches use one: FAISS would split even the scan for a single query, and on a busy machine the
    threads then wait for each other thirty times longer than the scan takes.
    """
    if getattr(_local, "count", None) != count:
        faiss.omp_set_num_threads(count)
        _local.count = count


def give_memory_back() -> None:
    """Returns memory that was freed to the system, where the C library can; some milliseconds.

    After a merge glibc would keep about as much as the merged index takes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
