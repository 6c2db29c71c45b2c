"""Who may call: a bearer token and an address allowlist, each optional, both when both are set (X4)."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from services.runtime.config import ConfigError
from services.runtime.errors import PermissionDenied, Unauthenticated

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

AUTHORIZATION_KEY = "authorization"
EXTERNAL_ADDRESS_KEY = "x-envoy-external-address"
LOCAL_PEER = "local:"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Who may call the mesh. Section `auth`."""

    token: str | None = None
    """The bearer token every caller must show. Set it as LAKEHOUSE_AUTH_TOKEN rather than in a file."""
    allowlist: tuple[str, ...] = ()
    """Addresses or CIDR ranges that may call; everyone may when empty. A bare address means itself alone."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Peers whose x-envoy-external-address is believed."""

    def __post_init__(self) -> None:
        if self.token is not None and not self.token.strip():
            raise ValueError("token: must not be blank; leave it out to serve without a token")
        networks(self.allowlist, "auth.allowlist")
        networks(self.trusted_proxies, "auth.trusted_proxies")


def networks(entries: Sequence[str], setting: str) -> tuple[Network, ...]:
    """Parses an allowlist. An entry that cannot be read stops start-up: an emptied list would let everyone in."""
    parsed: list[Network] = []
    for entry in entries:
        try:
            parsed.append(ipaddress.ip_network(entry.strip(), strict=False))
        except ValueError as error:
            raise ConfigError(setting, f"{entry!r} is neither an address nor a CIDR range") from error
    return tuple(parsed)


def is_loopback(host: str) -> bool:
    """Whether a bind host can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, token: str | None) -> None:
    """Refuses to serve the network without a token."""
    if not is_loopback(host) and not token:
        message = f"{host!r} is not a loopback address: set LAKEHOUSE_AUTH_TOKEN, or bind 127.0.0.1"
        raise ConfigError("mesh.host", message)


class Policy:
    """Decides about one call from its metadata and peer, before its body is looked at."""

    def __init__(self, config: AuthConfig) -> None:
        self._token = config.token.encode() if config.token else None
        self._allowed = networks(config.allowlist, "auth.allowlist")
        self._proxies = networks(config.trusted_proxies, "auth.trusted_proxies")
        self.open = self._token is None and not self._allowed

    def authorize(self, metadata: Mapping[str, str], peer: str) -> None:
        """Raises Unauthenticated for a missing or wrong token, PermissionDenied for a foreign address."""
        if self.open or peer == LOCAL_PEER:
            return
        if self._token is not None:
            self._check_token(metadata.get(AUTHORIZATION_KEY, ""), self._token)
        if self._allowed:
            self._check_address(metadata, peer)

    def _check_token(self, header: str, token: bytes) -> None:
        scheme, _, given = header.partition(" ")
        # Always compares, so that a missing scheme takes as long as a wrong token.
        same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)
        if scheme.lower() != "bearer" or not same:
            raise Unauthenticated("a valid token is needed: send the header 'Authorization: Bearer <token>'")

    def _check_address(self, metadata: Mapping[str, str], peer: str) -> None:
        address = peer_address(peer)
        if address is not None and _within(address, self._proxies):
            external = metadata.get(EXTERNAL_ADDRESS_KEY)
            if external is not None:
                address = _address(external)
        if address is None or not _within(address, self._allowed):
            raise PermissionDenied("this address is not in the allowlist", address=address or "unknown")


def _within(address: Address, ranges: Sequence[Network]) -> bool:
    return any(address in network for network in ranges)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


@lru_cache(maxsize=4096)
def peer_address(peer: str) -> Address | None:
    """The address in gRPC's peer text (`ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`)."""
    family, _, rest = peer.partition(":")
    if family == "unix":
        return ipaddress.IPv4Address("127.0.0.1")
    if family not in ("ipv4", "ipv6"):
        return None
    host = unquote(rest).rpartition(":")[0].strip("[]")
    return _address(host)
