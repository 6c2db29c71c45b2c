"""One daemon as a process of its own: `python -m services.supervisor.child storaged`.

Started by the stack, which passes settings and instance id in the environment. Ends when told to,
or when the stack that started it is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from services.mesh import SECTIONS, Mesh, MeshConfig
from services.runtime.config import Settings
from services.supervisor import logs
from services.supervisor.processes import INSTANCE_VARIABLE, config_path, end_with_parent


async def serve(name: str) -> None:
    """Runs one daemon until a signal comes."""
    settings = Settings.load(SECTIONS, path=config_path(os.environ), environ=os.environ)
    config = settings.section("mesh", MeshConfig)
    logs.configure(config.data, config.log_level, default=name)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mesh = Mesh(settings, instance_id=os.environ[INSTANCE_VARIABLE])
    await mesh.start([name])
    await stop.wait()
    await mesh.stop()


if __name__ == "__main__":
    end_with_parent()
    uvloop.run(serve(sys.argv[1]))
