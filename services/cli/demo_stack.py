"""A mesh for one demonstration: its own ports, its own directory, its own processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from services.supervisor import detached, ports

USUAL_BASE = 3110
_HOST = "127.0.0.1"


def choose_port_base() -> int:
    """The usual port base when all its ports are free, else another. Raises NoFreePorts."""
    if all(ports.is_free(_HOST, USUAL_BASE + offset) for offset in ports.OFFSETS):
        return USUAL_BASE
    return ports.free_port_base(_HOST)


@contextmanager
def directory(given: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yields the given directory, else a new one that is removed afterwards unless the mesh is kept."""
    if given is not None:
        yield given.absolute()
        return
    made = Path(tempfile.mkdtemp(prefix="lakehouse-demo-"))
    remove = True
    try:
        yield made
        remove = not keep
    finally:
        if remove:
            shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def own_mesh(data: Path, port_base: int, *, keep: bool) -> AsyncIterator[str]:
    """Starts a mesh and yields its gateway's URL; stops it afterwards, unless it is kept and all went well."""
    arguments = ["--data", str(data), "--port-base", str(port_base)]
    starting = asyncio.create_task(asyncio.to_thread(detached.start, data, arguments, dict(os.environ)))
    kept = False
    try:
        # Shielded: an interrupted start must come to its end before it can be undone.
        state = await asyncio.shield(starting)
        yield f"http://{state.address}"
        kept = keep
    finally:
        if not kept:
            await asyncio.wait([starting])
            await asyncio.to_thread(detached.stop, data, lambda _: None)
