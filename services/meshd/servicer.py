"""The mesh's own daemon: asks every other one whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lakehouse.mesh.v1 import mesh_pb2, mesh_pb2_grpc

from services.runtime.errors import ServiceError, Unavailable
from services.runtime.serve import INSTANCE_KEY

PROBE_SECONDS = 2.0


class MeshNotReady(Unavailable):
    """At least one daemon does not serve."""

    reason = "MESH_NOT_READY"


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon to ask."""

    name: str
    service: str
    port: int
    channel: aio.Channel


class MeshServicer(mesh_pb2_grpc.MeshServiceServicer):
    """Answers from what the daemons say now, not from what they said at start."""

    def __init__(self, *, version: str, instance_id: str, targets: Sequence[Target]) -> None:
        self._version = version
        self._instance_id = instance_id
        self._targets = targets

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to let go of: the channels belong to the mesh."""

    async def GetHealth(self, request: mesh_pb2.GetHealthRequest, context: Any) -> mesh_pb2.GetHealthResponse:
        daemons = await asyncio.gather(*(self._probe(target) for target in self._targets))
        if all(daemon.state == "serving" for daemon in daemons):
            return mesh_pb2.GetHealthResponse(status="serving", version=self._version, daemons=daemons)
        states = {daemon.name: daemon.state for daemon in daemons}
        waiting = ", ".join(name for name, state in states.items() if state != "serving")
        error = MeshNotReady(f"not every daemon serves: {waiting}")
        error.metadata |= states
        raise error

    async def _probe(self, target: Target) -> mesh_pb2.DaemonHealth:
        state, instance = await probe(target.channel, target.service)
        if state == "serving" and instance != self._instance_id:
            # Somebody else's daemon sits on our port.
            state = "unreachable"
        return mesh_pb2.DaemonHealth(name=target.name, state=state, port=target.port, instance_id=instance)


async def probe(channel: aio.Channel, service: str) -> tuple[str, str]:
    """Asks one daemon for its health: its state, and the id of the stack it belongs to."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    call = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_SECONDS)
    try:
        answer = await call
        metadata = dict(await call.initial_metadata())
    except ServiceError:
        return "unreachable", ""
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return ("serving" if serving else "not_serving"), str(metadata.get(INSTANCE_KEY, ""))
