"""A whole stack: the daemons, in this process or in one each, meshd, and Envoy in front of them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import lakehouse
from lakehouse.mesh.v1.mesh_pb2_grpc import add_MeshServiceServicer_to_server

from gateway import envoy
from services.mesh import DAEMONS, MESHD_OFFSET, SECTIONS, Mesh, MeshConfig
from services.meshd.servicer import MeshServicer, Target
from services.runtime.auth import AuthConfig, check_bind
from services.runtime.config import Settings
from services.runtime.serve import DaemonServer, PortInUse, guarded
from services.runtime.telemetry import new_id
from services.supervisor import logs
from services.supervisor.ports import is_free
from services.supervisor.processes import INSTANCE_VARIABLE, Child, child_environment
from services.supervisor.state import (
    ProcessId,
    StackState,
    clear_state,
    data_lock,
    edge_directory,
    end_leftovers,
    write_state,
)

log = logging.getLogger(__name__)

MESH_SERVICE = "lakehouse.mesh.v1.MeshService"

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """The gateway. Section `edge`."""

    host: str = "127.0.0.1"
    """The address the gateway binds. Any but a loopback address needs a token."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser; `*` stands for all."""
    concurrency: int = 1
    """Worker threads of Envoy."""
    stream_idle_seconds: int = 300
    """How long a streamed answer may pause before the gateway ends it."""


ALL_SECTIONS: Mapping[str, type] = {**SECTIONS, "edge": EdgeSettings}


class Stack:
    """Everything that `lakehouse up` starts, and nothing that it did not."""

    def __init__(self, settings: Settings, *, many: bool, settings_file: Path | None, announce: Announce) -> None:
        """`many` runs each daemon as its own process. `announce` gets a sentence about each event."""
        self._settings = settings
        self._many = many
        self._settings_file = settings_file
        self._announce = announce
        self.config = settings.section("mesh", MeshConfig)
        self._auth = settings.section("auth", AuthConfig)
        self._edge_settings = settings.section("edge", EdgeSettings)
        self._instance_id = os.environ.get(INSTANCE_VARIABLE) or new_id()
        self._mesh = Mesh(settings, instance_id=self._instance_id, local=not many)
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._meshd: DaemonServer | None = None
        self._edge: envoy.Edge | None = None
        self._ended = asyncio.Event()
        self._failure: str | None = None

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"{self._edge_settings.host}:{self.config.port_base}"

    async def run(self, ready: Callable[[], None]) -> int:
        """Starts everything, calls `ready`, and serves until a signal. Returns the exit code.

        Raises ConfigError for a setting, a port or a data directory that cannot be used.
        """
        check_bind(self.config.host, self._auth.token)
        check_bind(self._edge_settings.host, self._auth.token)
        envoy.find_envoy()
        with data_lock(self.config.data):
            logs.configure(self.config.data, self.config.log_level)
            end_leftovers(self.config.data)
            self._check_ports()
            self._catch_signals()
            try:
                await self._start()
                if not self._ended.is_set():
                    ready()
                await self._ended.wait()
            finally:
                await self._stop()
                clear_state(self.config.data)
        if self._failure is not None:
            self._announce(self._failure)
        return 0 if self._failure is None else 1

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)

    def _check_ports(self) -> None:
        """Finds a taken port before anything starts, so that a stack comes up whole or not at all."""
        base = self.config.port_base
        places = [(self._edge_settings.host, base), (self.config.host, base + MESHD_OFFSET)]
        places += [(self.config.host, base + daemon.offset) for daemon in DAEMONS]
        for host, port in places:
            if not is_free(host, port):
                raise PortInUse(port)

    async def _start(self) -> None:
        self._write_state()
        if self._many:
            await self._start_children()
        else:
            await self._mesh.start()
        await self._start_meshd()
        await self._start_edge()
        self._write_state()

    async def _start_children(self) -> None:
        environment = child_environment(self.config, self._instance_id, self._settings_file)
        for daemon in DAEMONS:
            child = Child(daemon, self._mesh, self.config, environment)
            self._children.append(child)
            await child.start()
            self._write_state()
            self._announce(f"{daemon.name} serves on port {self._mesh.port(daemon.name)} (process {child.pid})")
            self._keepers.append(asyncio.create_task(child.keep_alive(self._child_changed)))

    def _child_changed(self, sentence: str) -> None:
        log.error("%s", sentence)
        self._announce(sentence)
        self._write_state()

    async def _start_meshd(self) -> None:
        targets = [
            Target(daemon.name, daemon.service, self._mesh.port(daemon.name), self._mesh.connect_socket(daemon.name))
            for daemon in DAEMONS
        ]
        servicer = MeshServicer(version=version(), instance_id=self._instance_id, targets=targets)
        handlers = guarded(partial(add_MeshServiceServicer_to_server, servicer), self._auth)
        self._meshd = DaemonServer(MESH_SERVICE, handlers, auth=self._auth, instance_id=self._instance_id)
        await self._meshd.start(self.config.host, self.config.port_base + MESHD_OFFSET)

    async def _start_edge(self) -> None:
        settings = self._edge_settings
        config = envoy.EdgeConfig(
            host="127.0.0.1" if settings.host == "localhost" else settings.host,
            port=self.config.port_base,
            token=self._auth.token,
            allowlist=self._auth.allowlist,
            cors_origins=settings.cors_origins,
            concurrency=settings.concurrency,
            stream_idle_seconds=settings.stream_idle_seconds,
        )
        backends = [
            envoy.Backend(name=d.name, service=d.service, host=self.config.host, port=self._mesh.port(d.name))
            for d in DAEMONS
        ]
        meshd_port = self.config.port_base + MESHD_OFFSET
        backends.append(envoy.Backend(name="meshd", service=MESH_SERVICE, host=self.config.host, port=meshd_port))
        directory = edge_directory(self.config.data)
        envoy.write_files(directory, descriptors=descriptors(), backends=backends, config=config)
        self._edge = await envoy.start(directory, config)
        await self._edge.wait_until_healthy()
        self._keepers.append(asyncio.create_task(self._watch_edge(self._edge)))

    async def _watch_edge(self, edge: envoy.Edge) -> None:
        code = await edge.wait()
        if not self._ended.is_set():
            path = logs.log_file(self.config.data, logs.EDGE)
            self._failure = f"Envoy ended by itself (exit code {code}); its log is {path}"
            log.error("%s", self._failure)
            self._ended.set()

    def _write_state(self) -> None:
        children = [ProcessId.of(child.name, child.pid) for child in self._children if child.running]
        if self._edge is not None:
            children.append(ProcessId.of(logs.EDGE, self._edge.pid))
        state = StackState(
            instance_id=self._instance_id,
            host=self._edge_settings.host,
            port_base=self.config.port_base,
            owner=ProcessId.of("stack", os.getpid()),
            children=tuple(children),
        )
        write_state(self.config.data, state)

    async def _stop(self) -> None:
        """Closes the door first, then the daemons in the opposite order of their start."""
        if self._edge is not None:
            await self._edge.stop()
        if self._meshd is not None:
            await self._meshd.stop(grace=1)
        for child in reversed(self._children):
            await child.stop()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._mesh.stop()


def descriptors() -> bytes:
    """The generated descriptor set of every contract, as Envoy reads it."""
    return (Path(lakehouse.__file__).parent.parent / "descriptor.binpb").read_bytes()


def version() -> str:
    """The release that runs."""
    return metadata.version("lakehouse")
