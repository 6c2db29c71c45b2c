"""A mesh of its own for a benchmark, in its own process, on free ports and a throw-away directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.mesh import BY_NAME
from services.supervisor import detached
from services.supervisor.ports import free_port_base


@dataclass(frozen=True, slots=True)
class BenchStack:
    """Where the mesh is."""

    port_base: int
    process: psutil.Process

    def address(self, name: str) -> str:
        """`host:port` of a daemon, or of the gateway."""
        offset = 0 if name == "gateway" else BY_NAME[name].offset
        return f"127.0.0.1:{self.port_base + offset}"


@contextmanager
def running_stack() -> Iterator[BenchStack]:
    """Starts `lakehouse up` (one process and Envoy) and ends it after the block."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        data, base = Path(folder), free_port_base()
        environ = {**os.environ, "LAKEHOUSE_MESH_DATA": folder, "LAKEHOUSE_MESH_PORT_BASE": str(base)}
        state = detached.start(data, [], environ)
        try:
            yield BenchStack(base, psutil.Process(state.owner.pid))
        finally:
            detached.stop(data, lambda _: None)
