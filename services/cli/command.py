"""What all commands have in common: their shared options, how they run, and how they end.

A command is an `async def` whose first parameter is the Session; `command` registers it, adds the
shared options, and turns its failure into a message and an exit code: 0 done, 1 failed, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer
from rich.markup import escape

from services.cli.client import DEFAULT_TIMEOUT, Client, connected
from services.cli.failure import CommandError, describe
from services.cli.terminal import Terminal

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_ADDRESS = "127.0.0.1:3110"
FAILED, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 130, 141, 143
_PANEL = "Connection and output"

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="LAKEHOUSE_ADDRESS",
        metavar="HOST:PORT",
        help=f"Where the gateway listens. [dim]default: {DEFAULT_ADDRESS}[/]",
        rich_help_panel=_PANEL,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="LAKEHOUSE_TOKEN_FILE",
        metavar="FILE",
        help="File with the bearer token. LAKEHOUSE_AUTH_TOKEN works too; a token never stands on a command line.",
        rich_help_panel=_PANEL,
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help=f"How long to wait for an answer. [dim]default: {DEFAULT_TIMEOUT:g}[/]",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document and nothing else.", rich_help_panel=_PANEL),
]


def _confirmed(yes: bool) -> bool:
    # Asked while options are read, where Ctrl-C still works as in any other prompt.
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here: say --yes", param_hint="--yes")
    if not yes:
        typer.confirm("Remove it for good?", abort=True, err=True)
    return True


YesOption = Annotated[bool, typer.Option("--yes", "-y", callback=_confirmed, help="Do not ask.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Values of the shared options, as given before or after the command's name."""

    address: str | None = None
    token_file: Path | None = None
    timeout: float | None = None
    as_json: bool = False

    def over(self, other: Shared) -> Shared:
        """These values, and the other's where these are not given."""
        return Shared(
            address=self.address if self.address is not None else other.address,
            token_file=self.token_file if self.token_file is not None else other.token_file,
            timeout=self.timeout if self.timeout is not None else other.timeout,
            as_json=self.as_json or other.as_json,
        )


class Session:
    """One run of a command: where to, with which token, and what to show it on."""

    def __init__(self, shared: Shared) -> None:
        self.terminal = Terminal(as_json=shared.as_json)
        self.address = _host_port(shared.address or DEFAULT_ADDRESS)
        self.timeout = shared.timeout
        self._token_file = shared.token_file

    def token(self) -> str | None:
        """The bearer token, from its file or from LAKEHOUSE_AUTH_TOKEN; None when there is neither."""
        if self._token_file is None:
            return os.environ.get("LAKEHOUSE_AUTH_TOKEN") or None
        token = self._token_file.read_text(encoding="utf-8").strip()
        if not token:
            raise CommandError(f"{self._token_file}: the token file is empty", reason="EMPTY_TOKEN_FILE")
        return token

    def connect(self) -> AbstractAsyncContextManager[Client]:
        """Opens the client; used as `async with session.connect() as client`."""
        return connected(self.address, token=self.token(), timeout=self.timeout)


def _host_port(address: str) -> str:
    if address.startswith("https://"):
        raise typer.BadParameter("the gateway speaks plain HTTP; give HOST:PORT", param_hint="--address")
    bare = address.removeprefix("http://").rstrip("/")
    host, _, port = bare.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"{address!r} is not HOST:PORT, for example {DEFAULT_ADDRESS}", param_hint="--address")
    return bare


def command(
    app: typer.Typer, name: str, *, examples: str
) -> Callable[[Callable[Concatenate[Session, P], Awaitable[None]]], Callable[Concatenate[Session, P], Awaitable[None]]]:
    """Registers a coroutine function as a command. Its docstring and `examples` become the help."""

    def register(
        function: Callable[Concatenate[Session, P], Awaitable[None]],
    ) -> Callable[Concatenate[Session, P], Awaitable[None]]:
        app.command(name, help=_help(function, examples))(_entry(function))
        return function

    return register


def _help(function: Callable[..., Any], examples: str) -> str:
    text = inspect.cleandoc(function.__doc__ or "")
    lines = "\n".join(f"  {escape(line)}" for line in inspect.cleandoc(examples).splitlines())
    return f"{text}\n\n\b\n[bold]Examples[/]\n{lines}"


def _entry(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def entry(ctx: typer.Context, **values: Any) -> None:
        given = Shared(**{field: values.pop(field) for field in ("address", "token_file", "timeout", "as_json")})
        before = ctx.find_object(Shared) or Shared()
        session = Session(given.over(before))
        _run(session, lambda: function(session, **values))

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = list(inspect.signature(_shared, eval_str=True).parameters.values())
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared))]
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    entry.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    entry.__name__ = getattr(function, "__name__", "command")
    return entry


def _shared(
    address: AddressOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> Shared:
    return Shared(address=address, token_file=token_file, timeout=timeout, as_json=as_json)


def shared_callback(app: typer.Typer) -> None:
    """Lets the shared options stand before the command's name, too."""

    @app.callback()
    def before(
        ctx: typer.Context,
        address: AddressOption = None,
        token_file: TokenFileOption = None,
        timeout: TimeoutOption = None,
        as_json: JsonOption = False,
    ) -> None:
        ctx.obj = _shared(address, token_file, timeout, as_json)


def _run(session: Session, start: Callable[[], Awaitable[None]]) -> None:
    try:
        asyncio.run(_awaited(start))
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except asyncio.CancelledError:
        raise typer.Exit(TERMINATED) from None
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        session.terminal.fail(describe(error, session.address))
        raise typer.Exit(FAILED) from None


async def _awaited(start: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Whoever ends a command politely, or closes its terminal, gets the same clean end as with Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await start()
