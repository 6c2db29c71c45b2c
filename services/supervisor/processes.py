"""Child processes of a stack: each daemon in `--mesh` mode, and how children end with their parent."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from services.mesh import Daemon, Mesh, MeshConfig
from services.meshd.servicer import probe
from services.runtime.config import FILE_NAME
from services.runtime.errors import Unavailable
from services.runtime.process import Process
from services.supervisor import logs

log = logging.getLogger(__name__)

INSTANCE_VARIABLE = "LAKEHOUSE_INSTANCE"
CONFIG_VARIABLE = "LAKEHOUSE_CONFIG"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
FIRST_RESTART_SECONDS = 0.5
LAST_RESTART_SECONDS = 30.0
POLL_SECONDS = 0.05

PR_SET_PDEATHSIG = 1


class DaemonDied(Unavailable):
    """A daemon's process ended before it served."""

    reason = "DAEMON_DIED"


def end_with_parent() -> None:
    """Asks the kernel to end this process when its parent dies, however that dies. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def config_path(environ: Mapping[str, str]) -> Path | None:
    """The settings file that the environment names; None means ./lakehouse.toml if there is one."""
    return Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None


def child_environment(config: MeshConfig, instance_id: str, settings_file: Path | None) -> dict[str, str]:
    """What a child needs to see the same settings; flags of the stack become variables, never arguments."""
    environment = dict(os.environ)
    environment[INSTANCE_VARIABLE] = instance_id
    environment["LAKEHOUSE_MESH_DATA"] = str(config.data)
    environment["LAKEHOUSE_MESH_HOST"] = config.host
    environment["LAKEHOUSE_MESH_PORT_BASE"] = str(config.port_base)
    chosen = settings_file or (Path(FILE_NAME) if Path(FILE_NAME).exists() else None)
    if chosen is not None:
        environment[CONFIG_VARIABLE] = str(chosen.resolve())
    return environment


class Child:
    """One daemon's process: started, waited for, and started again when it dies."""

    def __init__(self, daemon: Daemon, mesh: Mesh, config: MeshConfig, environment: Mapping[str, str]) -> None:
        self.name = daemon.name
        self._daemon = daemon
        self._mesh = mesh
        self._config = config
        self._environment = environment
        self._process: Process | None = None
        self._stopping = False

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None, "started before anybody asks"
        return self._process.pid

    async def start(self) -> None:
        """Starts the process and waits until its own health says SERVING. Raises DaemonDied."""
        command = (sys.executable, "-m", "services.supervisor.child", self.name)
        with logs.log_file(self._config.data, self.name).open("ab") as output:
            self._process = Process(command, env=self._environment, output=output)
        async with asyncio.timeout(START_SECONDS):
            while not await self._serves():
                if self._process.returncode is not None:
                    raise DaemonDied(self._last_words(), daemon=self.name, exit_code=self._process.returncode)
                await asyncio.sleep(POLL_SECONDS)

    async def _serves(self) -> bool:
        channel = self._mesh.connect(self.name)
        state, instance = await probe(channel, self._daemon.service)
        return state == "serving" and instance == self._environment[INSTANCE_VARIABLE]

    def _last_words(self) -> str:
        lines = logs.last_lines(logs.log_file(self._config.data, self.name), 1)
        return f"{self.name} ended before it served: {lines[-1] if lines else 'it wrote no log'}"

    async def keep_alive(self, changed: Callable[[str], None]) -> None:
        """Reports each death through `changed` and starts the process again, ever more slowly."""
        delay = FIRST_RESTART_SECONDS
        while True:
            assert self._process is not None, "kept alive after start"
            code = await self._process.wait()
            if self._stopping:
                return
            changed(f"{self.name} died ({_ending(code)}); starting it again")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RESTART_SECONDS)
            try:
                await self.start()
                changed(f"{self.name} serves again (process {self.pid})")
            except (DaemonDied, TimeoutError) as error:
                changed(f"{self.name} did not come back: {error}")

    async def stop(self) -> None:
        """Asks the process to end, and insists after ten seconds."""
        self._stopping = True
        if self._process is None or not self.running:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            log.error("%s did not stop in %.0f s; killing it", self.name, STOP_SECONDS)
            self._process.kill()
            await self._process.wait()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
