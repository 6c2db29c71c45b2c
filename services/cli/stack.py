"""`lakehouse status`: does the mesh serve?"""

from __future__ import annotations

import typer
from rich.text import Text

from lakehouse.mesh.v1 import mesh_pb2

from services.cli.command import FAILED, Session, command
from services.cli.terminal import plain, table
from services.runtime.errors import ServiceError

_NOT_READY = "MESH_NOT_READY"
_STYLES = {"serving": "green", "not_serving": "yellow", "unreachable": "red"}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "status", examples="lakehouse status\nlakehouse status --json && echo ready")(status)


async def status(session: Session) -> None:
    """Shows whether each daemon serves. Ends with 0 only when all do."""
    async with session.connect() as client:
        try:
            health = await client.mesh.GetHealth(mesh_pb2.GetHealthRequest(), timeout=client.timeout)
        except ServiceError as error:
            if error.reason != _NOT_READY:
                raise
            health = _partly(error)
    session.terminal.document(health)
    rows = [
        (daemon.name, Text(daemon.state, style=_STYLES.get(daemon.state, "")), daemon.port or "", daemon.instance_id)
        for daemon in health.daemons
    ]
    session.terminal.show(table(["daemon", "state", "port", "instance"], rows, right=(2,)))
    version = f", release {plain(health.version)}" if health.version else ""
    session.terminal.say(f"[dim]{plain(session.address)}: {plain(health.status)}{version}[/]")
    if health.status != "serving":
        raise typer.Exit(FAILED)


def _partly(error: ServiceError) -> mesh_pb2.GetHealthResponse:
    """Rebuilds the answer from an error, whose metadata have one entry for each daemon."""
    daemons = [mesh_pb2.DaemonHealth(name=name, state=state) for name, state in sorted(error.metadata.items())]
    return mesh_pb2.GetHealthResponse(status="not_serving", daemons=daemons)
