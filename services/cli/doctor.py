"""`lakehouse doctor`: what is installed, reachable and configured, and what to do about what is not (R7)."""

from __future__ import annotations

import typer
from rich.text import Text

from services.cli.checks import Check, local_checks
from services.cli.command import FAILED, Session, command
from services.cli.terminal import plain, table
from services.runtime.errors import ServiceError

_PATIENCE = 5.0
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "missing": ("✗", "bold red")}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "doctor", examples="lakehouse doctor\nlakehouse doctor --json")(doctor)


async def doctor(session: Session) -> None:
    """Looks at everything the mesh needs and says what to do. Ends with 1 when something essential is missing."""
    terminal = session.terminal
    mesh = await _mesh(session)
    checks = [*local_checks(running=mesh.state == "ok"), mesh]
    failed = [check for check in checks if check.state == "missing"]
    terminal.document(
        {
            "ok": not failed,
            "checks": [
                {"name": c.name, "state": c.state, "detail": c.detail, "remedy": c.remedy or None} for c in checks
            ],
        }
    )
    terminal.show(table(["", "what", "found"], [_row(check) for check in checks]))
    if failed:
        names = ", ".join(check.name for check in failed)
        terminal.say(f"\n[bold red]Missing:[/] {plain(names)}. The mesh cannot run before that is mended.")
        raise typer.Exit(FAILED)
    warnings = sum(check.state == "warning" for check in checks)
    terminal.say("\n[bold green]All that is needed is here.[/]" + (f" Remarks above: {warnings}." if warnings else ""))


def _row(check: Check) -> tuple[Text, str, Text]:
    mark, style = _MARKS[check.state]
    found = Text(check.detail)
    if check.remedy:
        found.append(f"\n→ {check.remedy}", style=style if check.state == "missing" else "yellow")
    return Text(mark, style=style), check.name, found


async def _mesh(session: Session) -> Check:
    from lakehouse.mesh.v1 import mesh_pb2

    try:
        async with session.connect() as client:
            health = await client.mesh.GetHealth(mesh_pb2.GetHealthRequest(), timeout=min(_PATIENCE, client.timeout))
    except ServiceError as error:
        if error.reason == "MESH_NOT_READY":
            states = ", ".join(f"{name} {state}" for name, state in sorted(error.metadata.items()))
            return Check("mesh", "warning", f"{session.address}: {states}", "`lakehouse logs DAEMON` says why")
        return Check("mesh", "warning", f"none answers at {session.address}", "start one: lakehouse up --detach")
    return Check("mesh", "ok", f"{session.address} serves, {len(health.daemons)} daemons, release {health.version}")
