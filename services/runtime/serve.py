"""Serving one daemon on one address: health, reflection, guard, and a stop that drains (X5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc
import psutil
from google.protobuf import descriptor_pool
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.runtime.auth import AuthConfig, Policy
from services.runtime.config import ConfigError
from services.runtime.errors import STATUS_KEY, Unimplemented, to_status
from services.runtime.guard import HARD_MESSAGE_BYTES, Collector, ErrorStatus, Guard

log = logging.getLogger(__name__)

INSTANCE_KEY = "x-lakehouse-instance"
DRAIN_SECONDS = 8.0

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", HARD_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Two stacks on one port must fail, not share it silently.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class Servicer(Protocol):
    """What a daemon's servicer offers beside its RPC methods."""

    async def start(self) -> None:
        """Loads state; called once before the daemon serves."""

    async def close(self) -> None:
        """Lets go of files, threads and tasks; called once after the last call has ended."""


def guarded(register: Callable[[Any], None], auth: AuthConfig) -> dict[str, Any]:
    """Guarded handlers, by full path, of what `register` adds to a server."""
    collector = Collector()
    register(collector)
    return Guard(Policy(auth), descriptor_pool.Default()).wrap(collector.services)


class DaemonServer:
    """A gRPC server for one daemon. Health answers without a token and names the instance."""

    def __init__(self, service: str, handlers: Mapping[str, Any], *, auth: AuthConfig, instance_id: str) -> None:
        self._service = service
        self._server = aio.server(options=SERVER_OPTIONS)
        self._health = _Health(instance_id)
        add_handlers(self._server, handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (service, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        servicer = reflection.aio.ReflectionServicer(names)
        add_handlers(self._server, guarded(lambda server: _add_reflection(servicer, server), auth))
        self._server.add_generic_rpc_handlers((_UnknownMethod(handlers),))

    async def start(self, host: str, port: int) -> int:
        """Binds and serves; returns the port (another one than asked for only when that was 0)."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortInUse(port) from error
        if bound == 0:
            raise PortInUse(port)
        await self._server.start()
        for name in ("", self._service):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Says NOT_SERVING, lets running calls end for `grace` seconds, then cancels them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


class PortInUse(ConfigError):
    """A port that the mesh needs belongs to somebody else."""

    def __init__(self, port: int) -> None:
        holder = port_holder(port)
        problem = f"port {port} is in use by {holder}; stop it, or choose other ports with --port-base"
        super().__init__("mesh.port_base", problem)
        self.port = port


def port_holder(port: int) -> str:
    """Describes the process that listens on a local port, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "another process"
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return _described(connection.pid)
    return "another process"


def _described(pid: int | None) -> str:
    if pid is None:
        return "another user's process"
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"


class _Health(health_aio.HealthServicer):
    """grpc.health.v1, with the instance id in initial metadata so that nobody is taken for another."""

    def __init__(self, instance_id: str) -> None:
        super().__init__()
        self._metadata = ((INSTANCE_KEY, instance_id),)

    async def Check(self, request: Any, context: Any) -> Any:
        await context.send_initial_metadata(self._metadata)
        return await super().Check(request, context)


class _UnknownMethod(grpc.GenericRpcHandler):
    """Answers methods that no service has, in the one error shape."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._known = frozenset(handlers)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path in self._known:
            return None
        error = Unimplemented(f"this daemon has no method {path}", method=path)
        details = to_status(error).SerializeToString()
        status = ErrorStatus(error.code, error.message, ((STATUS_KEY, details),))

        async def refuse(requests: Any, context: Any) -> None:
            await context.abort_with_status(status)

        return grpc.stream_unary_rpc_method_handler(refuse)


def add_handlers(server: Any, handlers: Mapping[str, Any]) -> None:
    """Registers guarded handlers on a grpc.aio server."""
    services: dict[str, dict[str, Any]] = {}
    for path, handler in handlers.items():
        service, _, method = path[1:].partition("/")
        services.setdefault(service, {})[method] = handler
    for service, methods in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        server.add_registered_method_handlers(service, methods)


def _add_reflection(servicer: Any, server: Any) -> None:
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add(servicer, server)
