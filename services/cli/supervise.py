"""`lakehouse up`, `down` and `logs`: a stack on this machine, begun, ended and listened to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from services.cli.failure import CommandError, describe
from services.cli.terminal import Terminal, plain
from services.mesh import MeshConfig
from services.runtime.config import ConfigError, Settings
from services.runtime.errors import ServiceError
from services.supervisor import detached, logs
from services.supervisor.processes import CONFIG_VARIABLE, child_environment, config_path
from services.supervisor.stack import ALL_SECTIONS, Stack
from services.supervisor.state import StackState

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Directory with all state of the mesh. [dim]default: ~/.lakehouse[/]"),
]
PortBaseOption = Annotated[
    int | None,
    typer.Option(
        "--port-base", metavar="N", help="Port of the gateway; daemons take N+100 and up. [dim]default: 3110[/]"
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar=CONFIG_VARIABLE,
        metavar="FILE",
        help="Settings file. [dim]default: ./lakehouse.toml when there is one[/]",
    ),
]

UP_HELP = """Start the mesh: every daemon, and Envoy in front of them.

All daemons share one process unless --mesh is given. Ctrl-C stops everything.

State is kept in the data directory and is found again the next time.

\b
[bold]Examples[/]
  lakehouse up                                 in this terminal
  lakehouse up --detach                        in the background
  lakehouse up --mesh                          one process for each daemon
  lakehouse up --data ./try --port-base 4110   beside another mesh
"""
DOWN_HELP = """Stop the mesh of a data directory, and nothing else.

\b
[bold]Examples[/]
  lakehouse down
  lakehouse down --data ./try
"""
LOGS_HELP = """Show the log of a daemon, as JSON lines.

NAME is a daemon, `envoy` for the gateway, or `stack` for what starts and stops them.

\b
[bold]Examples[/]
  lakehouse logs storaged
  lakehouse logs envoy --follow
"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up", help=UP_HELP)(up)
    app.command("down", help=DOWN_HELP)(down)
    app.command("logs", help=LOGS_HELP)(show_logs)


def up(
    mesh: Annotated[bool, typer.Option("--mesh", help="Run each daemon as its own process.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go to the background once everything serves.")] = False,
    data: DataOption = None,
    port_base: PortBaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Starts a stack in the foreground or, with `detach`, in the background."""
    terminal = Terminal()
    try:
        settings = load_settings(data, port_base, config)
        chosen = settings.section("mesh", MeshConfig)
        if detach:
            environ = child_environment(chosen, "", config)
            state = detached.start(chosen.data, ["--mesh"] if mesh else [], environ)
            _banner(terminal, state.address, chosen, detached_stack=True)
            return
        raise typer.Exit(_foreground(terminal, settings, chosen, mesh, config))
    except (ConfigError, ServiceError) as error:
        _fail(terminal, error)


def _foreground(terminal: Terminal, settings: Settings, chosen: MeshConfig, many: bool, config: Path | None) -> int:
    stack = Stack(settings, many=many, settings_file=config, announce=lambda text: terminal.note(plain(text)))
    terminal.note("starting…")
    code = uvloop.run(stack.run(lambda: _banner(terminal, stack.address, chosen, detached_stack=False)))
    terminal.note("stopped")
    return code


def _banner(terminal: Terminal, address: str, chosen: MeshConfig, *, detached_stack: bool) -> None:
    stop = f"lakehouse down --data {chosen.data}" if detached_stack else "Ctrl-C"
    terminal.say(f"[bold green]lakehouse serves[/] on http://{plain(address)} (REST and gRPC)")
    terminal.say(f"[dim]health[/]  curl http://{plain(address)}/health")
    terminal.say(f"[dim]data[/]    {plain(chosen.data)}")
    terminal.say(f"[dim]stop[/]    {plain(stop)}")
    sys.stdout.flush()


def down(data: DataOption = None, config: ConfigOption = None) -> None:
    """Stops the stack of a data directory."""
    terminal = Terminal()
    try:
        chosen = load_settings(data, None, config).section("mesh", MeshConfig)
        if detached.stop(chosen.data, lambda text: terminal.note(plain(text))):
            terminal.say("stopped")
        else:
            terminal.say(f"no stack runs on {plain(chosen.data)}")
    except (ConfigError, ServiceError) as error:
        _fail(terminal, error)


def show_logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(logs.NAMES)}.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines to begin with.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Prints a log."""
    terminal = Terminal()
    if name not in logs.NAMES:
        raise typer.BadParameter(f"{name!r} has no log; choose one of {', '.join(logs.NAMES)}", param_hint="NAME")
    try:
        chosen = load_settings(data, None, config).section("mesh", MeshConfig)
    except ConfigError as error:
        _fail(terminal, error)
        return
    path = logs.log_file(chosen.data, name)
    for line in logs.last_lines(path, lines):
        terminal.raw(line + "\n")
    if not follow:
        return
    try:
        for line in logs.follow(path):
            terminal.raw(line + "\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def load_settings(data: Path | None, port_base: int | None, config: Path | None) -> Settings:
    """The settings of a stack: flags win over environment and file. Raises ConfigError."""
    flags: dict[str, Any] = {}
    if data is not None:
        flags["data"] = data.expanduser().resolve()
    if port_base is not None:
        flags["port_base"] = port_base
    path = config or config_path(os.environ)
    return Settings.load(ALL_SECTIONS, path=path, environ=os.environ, overrides={"mesh": flags})


def running_stack(data: Path | None, config: Path | None) -> StackState | None:
    """The stack that runs on a data directory, for commands that want its address."""
    return detached.running(load_settings(data, None, config).section("mesh", MeshConfig).data)


def _fail(terminal: Terminal, error: ConfigError | ServiceError) -> None:
    reason = error.reason if isinstance(error, ServiceError) else "BAD_SETTING"
    terminal.fail(describe(CommandError(str(error), reason=reason), ""))
    raise typer.Exit(1)
