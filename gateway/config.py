"""Settings of the edge."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from services.runtime.auth import check_bind, networks
from services.runtime.config import ConfigError

_TOKEN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One daemon behind the edge."""

    name: str
    """The daemon's name, for example `queryd`."""
    service: str
    """The full name of its proto service; calls to it go to this backend."""
    host: str
    """The address it listens on."""
    port: int
    """The port it listens on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """How the edge listens, whom it lets in, and what it bears."""

    host: str = "127.0.0.1"
    """The address to listen on. One that is not loopback needs a token."""
    port: int = 3110
    """The port to listen on, for HTTP/1.1, HTTP/2 without TLS, and native gRPC."""
    token: str | None = None
    """The bearer token that every call but a public one must carry."""
    allowlist: tuple[str, ...] = ()
    """Addresses and networks (CIDR) that may call; all when empty. Public calls pass from anywhere."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser; `*` stands for all."""
    concurrency: int = 1
    """Worker threads of Envoy."""
    heap_bytes: int = 1 << 30
    """Memory at which Envoy refuses new requests instead of growing on."""
    connections: int = 4096
    """Open connections from clients; more are refused."""
    stream_idle_seconds: int = 300
    """How long a streamed answer may pause before the edge ends it."""

    def __post_init__(self) -> None:
        """Refuses what would start an open or an unusable edge (X4, X10). Raises ConfigError."""
        check_bind(self.host, self.token)
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ConfigError("auth.token", "must be printable ASCII without outer spaces, at least one character")
        networks(self.allowlist, "auth.allowlist")
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ConfigError("edge.host", f"{self.host!r} is not an IP address, such as 127.0.0.1") from None
