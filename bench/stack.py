"""A mesh of its own for a benchmark, in its own process, on free ports and a throw-away directory."""

from __future__ import annotations

import asyncio
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
    data: Path

    def address(self, name: str) -> str:
        """`host:port` of a daemon, or of the gateway."""
        offset = 0 if name == "gateway" else BY_NAME[name].offset
        return f"127.0.0.1:{self.port_base + offset}"

    def stop(self) -> None:
        """Stops the mesh before its time; its data stays until the end of the block."""
        detached.stop(self.data, lambda _: None)

    async def wait_until_idle(self) -> None:
        """Lets background work finish, so that a steady state is measured."""
        async with asyncio.timeout(600):
            self.process.cpu_percent()
            quiet = 0
            while quiet < 2:
                await asyncio.sleep(1)
                quiet = quiet + 1 if self.process.cpu_percent() < 10 else 0


@contextmanager
def running_stack(*arguments: str, parent: Path | None = None) -> Iterator[BenchStack]:
    """Starts `lakehouse up` (one process and Envoy) and ends it after the block; `parent` is where its data goes."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-", dir=parent) as folder:
        data, base = Path(folder), free_port_base()
        environ = {**os.environ, "LAKEHOUSE_MESH_DATA": folder, "LAKEHOUSE_MESH_PORT_BASE": str(base)}
        state = detached.start(data, list(arguments), environ)
        try:
            yield BenchStack(base, psutil.Process(state.owner.pid), data)
        finally:
            detached.stop(data, lambda _: None)
