"""The one table of daemons, and their composition in one process or in many.

A daemon is added by one entry here. `Mesh` starts any of them in dependency order; what it does not
run itself it reaches over the network, so a process of one daemon and a process of all are the
same code.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from grpc import aio

import lakehouse.matrix.v1.matrix_pb2  # noqa: F401 - the service's descriptor, which its stubs do not import
from lakehouse.catalog.v1.catalog_pb2_grpc import CatalogServiceStub, add_CatalogServiceServicer_to_server
from lakehouse.embed.v1.embed_pb2_grpc import EmbedServiceStub, add_EmbedServiceServicer_to_server
from lakehouse.ingest.v1.ingest_pb2_grpc import IngestServiceStub, add_IngestServiceServicer_to_server
from lakehouse.matrix.v1.matrix_pb2_grpc import MatrixServiceStub, add_MatrixServiceServicer_to_server
from lakehouse.query.v1.query_pb2_grpc import QueryServiceStub, add_QueryServiceServicer_to_server
from lakehouse.storage.v1.storage_pb2_grpc import StorageServiceStub, add_StorageServiceServicer_to_server
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub, add_VectorServiceServicer_to_server

from services.catalogd.config import CatalogConfig
from services.embedd.config import EmbedConfig
from services.ingestd.config import IngestConfig
from services.matrixd.config import MatrixConfig
from services.queryd.config import QueryConfig
from services.runtime.auth import AuthConfig
from services.runtime.config import Settings
from services.runtime.connect import connect_internal
from services.runtime.durable import make_directory
from services.runtime.local import LocalChannel
from services.runtime.serve import DRAIN_SECONDS, DaemonServer, Servicer, guarded
from services.storaged.config import StorageConfig
from services.vectord.config import VectorConfig

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a daemon is built from."""

    config: Any
    """Its settings."""
    data: Path
    """Its own directory."""
    stub: Callable[[type[S]], S]
    """Makes a stub for a neighbour; the daemon never learns what is behind it."""


def _storaged(parts: Parts) -> Servicer:
    from services.storaged.servicer import StorageServicer

    return StorageServicer(config=parts.config, data=parts.data)


def _catalogd(parts: Parts) -> Servicer:
    from services.catalogd.servicer import CatalogServicer

    return CatalogServicer(config=parts.config, storage=parts.stub(StorageServiceStub))


def _ingestd(parts: Parts) -> Servicer:
    from services.ingestd.servicer import IngestServicer

    return IngestServicer(
        config=parts.config,
        data=parts.data,
        storage=parts.stub(StorageServiceStub),
        catalog=parts.stub(CatalogServiceStub),
    )


def _queryd(parts: Parts) -> Servicer:
    from services.queryd.servicer import QueryServicer

    return QueryServicer(
        config=parts.config,
        data=parts.data,
        storage=parts.stub(StorageServiceStub),
        catalog=parts.stub(CatalogServiceStub),
    )


def _vectord(parts: Parts) -> Servicer:
    from services.vectord.servicer import VectorServicer

    return VectorServicer(config=parts.config, data=parts.data, storage=parts.stub(StorageServiceStub))


def _embedd(parts: Parts) -> Servicer:
    from services.embedd.servicer import EmbedServicer

    return EmbedServicer(config=parts.config)


def _matrixd(parts: Parts) -> Servicer:
    from services.matrixd.servicer import EncodedVectorStub, MatrixServicer

    return MatrixServicer(
        config=parts.config,
        data=parts.data,
        vector=parts.stub(EncodedVectorStub),
        embed=parts.stub(EmbedServiceStub),
        query=parts.stub(QueryServiceStub),
        catalog=parts.stub(CatalogServiceStub),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """One row of the table."""

    name: str
    offset: int
    """Its port is the port base plus this."""
    stub: type[Any]
    register: Callable[[Any, Any], None]
    """Generated: adds a servicer to a server."""
    config: type[Any]
    build: Callable[[Parts], Servicer]
    """Imports the daemon's code only when it runs."""
    needs: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The word used in proto package, settings section and tests."""
        return self.name[:-1]

    @property
    def service(self) -> str:
        """The full name of its gRPC service."""
        return f"lakehouse.{self.word}.v1.{self.word.capitalize()}Service"


DAEMONS: tuple[Daemon, ...] = (
    Daemon(
        name="storaged",
        offset=101,
        stub=StorageServiceStub,
        register=add_StorageServiceServicer_to_server,
        config=StorageConfig,
        build=_storaged,
    ),
    Daemon(
        name="catalogd",
        offset=102,
        stub=CatalogServiceStub,
        register=add_CatalogServiceServicer_to_server,
        config=CatalogConfig,
        build=_catalogd,
        needs=("storaged",),
    ),
    Daemon(
        name="ingestd",
        offset=103,
        stub=IngestServiceStub,
        register=add_IngestServiceServicer_to_server,
        config=IngestConfig,
        build=_ingestd,
        needs=("storaged", "catalogd"),
    ),
    Daemon(
        name="queryd",
        offset=104,
        stub=QueryServiceStub,
        register=add_QueryServiceServicer_to_server,
        config=QueryConfig,
        build=_queryd,
        needs=("storaged", "catalogd"),
    ),
    Daemon(
        name="vectord",
        offset=105,
        stub=VectorServiceStub,
        register=add_VectorServiceServicer_to_server,
        config=VectorConfig,
        build=_vectord,
        needs=("storaged",),
    ),
    Daemon(
        name="embedd",
        offset=106,
        stub=EmbedServiceStub,
        register=add_EmbedServiceServicer_to_server,
        config=EmbedConfig,
        build=_embedd,
    ),
    Daemon(
        name="matrixd",
        offset=108,
        stub=MatrixServiceStub,
        register=add_MatrixServiceServicer_to_server,
        config=MatrixConfig,
        build=_matrixd,
        needs=("vectord", "embedd", "queryd", "catalogd"),
    ),
)

BY_NAME: Mapping[str, Daemon] = {daemon.name: daemon for daemon in DAEMONS}
GATEWAY_OFFSET = 0
MESHD_OFFSET = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """Where the mesh lives. Section `mesh`."""

    data: Path = field(default_factory=lambda: Path("~/.lakehouse").expanduser())
    """The directory that holds all state of this mesh."""
    host: str = "127.0.0.1"
    """The address the gateway and every daemon bind. Any but a loopback address needs a token."""
    port_base: int = 3110
    """The gateway's port; daemons listen on the port base plus 101 and up."""
    log_level: str = "info"
    """How much is logged: debug, info, warning or error."""

    def __post_init__(self) -> None:
        if not 1 <= self.port_base <= 65_000:
            raise ValueError(f"port_base: must be between 1 and 65000, is {self.port_base}")
        if self.log_level.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError(f"log_level: must be debug, info, warning or error, is {self.log_level!r}")


SECTIONS: Mapping[str, type] = {
    "mesh": MeshConfig,
    "auth": AuthConfig,
    **{daemon.word: daemon.config for daemon in DAEMONS},
}


class Running:
    """A daemon that serves in this process."""

    def __init__(self, servicer: Servicer, server: DaemonServer, channel: LocalChannel, port: int) -> None:
        self.servicer = servicer
        self.server = server
        self.channel = channel
        self.port = port


class Mesh:
    """Daemons of one stack: those that run here, and ways to all of them."""

    def __init__(self, settings: Settings, *, instance_id: str, local: bool = True, ephemeral: bool = False) -> None:
        """`local` lets daemons of this process call each other without a socket. `ephemeral` takes free ports."""
        self._settings = settings
        self._config = settings.section("mesh", MeshConfig)
        self._auth = settings.section("auth", AuthConfig)
        self._instance_id = instance_id
        self._local = local
        self._ephemeral = ephemeral
        self._running: dict[str, Running] = {}
        self._channels: dict[str, aio.Channel] = {}

    async def start(self, names: Iterable[str] = tuple(BY_NAME)) -> None:
        """Starts daemons in the order of the table, which is the order of their needs."""
        wanted = set(names)
        try:
            for daemon in DAEMONS:
                if daemon.name in wanted:
                    await self._start_one(daemon)
        except BaseException:
            await self.stop(grace=0)
            raise

    async def _start_one(self, daemon: Daemon) -> None:
        parts = Parts(
            config=self._settings.section(daemon.word, daemon.config),
            data=make_directory(self._config.data / daemon.name),
            stub=self.stub,
        )
        servicer = daemon.build(parts)
        handlers = guarded(lambda server: daemon.register(servicer, server), self._auth)
        await servicer.start()
        server = DaemonServer(daemon.service, handlers, auth=self._auth, instance_id=self._instance_id)
        try:
            port = await server.start(self._config.host, 0 if self._ephemeral else self.port(daemon.name))
        except BaseException:
            await servicer.close()
            raise
        self._running[daemon.name] = Running(servicer, server, LocalChannel(handlers), port)
        logging.getLogger(f"services.{daemon.name}").info("%s serves on port %d", daemon.name, port)

    def port(self, name: str) -> int:
        """The port on which a daemon listens."""
        if name in self._running:
            return self._running[name].port
        return self._config.port_base + BY_NAME[name].offset

    def stub(self, stub: type[S]) -> S:
        """A stub for the daemon that serves its contract."""
        name = next(daemon.name for daemon in DAEMONS if issubclass(stub, daemon.stub))
        return stub(self.connect(name))  # type: ignore[call-arg]  # every generated stub takes a channel

    def connect(self, name: str) -> aio.Channel:
        """A channel to a daemon: local where allowed and possible, remote otherwise."""
        if self._local and name in self._running:
            return self._running[name].channel
        return self.connect_socket(name)

    def connect_socket(self, name: str) -> aio.Channel:
        """A channel to a daemon over its port, as anybody outside would reach it."""
        if name not in self._channels:
            address = f"{self._config.host}:{self.port(name)}"
            self._channels[name] = connect_internal(address, token=self._auth.token)
        return self._channels[name]

    async def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Stops in the opposite order, so that no daemon loses a neighbour while it drains, within `grace`."""
        end = time.monotonic() + grace
        for running in reversed(self._running.values()):
            await running.server.stop(max(0.0, end - time.monotonic()))
            await running.servicer.close()
        for channel in self._channels.values():
            await channel.close()
        self._running.clear()
        self._channels.clear()
