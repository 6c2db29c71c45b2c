"""Who may call: token, allowlist, proxies, and what stops start-up."""

from __future__ import annotations

import pytest

from services.runtime.auth import AuthConfig, Policy, check_bind
from services.runtime.config import ConfigError
from services.runtime.errors import PermissionDenied, Unauthenticated

PEER = "ipv4:10.1.2.3:5000"


def authorize(config: AuthConfig, metadata: dict[str, str] | None = None, peer: str = PEER) -> None:
    Policy(config).authorize(metadata or {}, peer)


def test_without_settings_everybody_may_call() -> None:
    authorize(AuthConfig())


@pytest.mark.requirement("X4")
@pytest.mark.parametrize("header", [None, "secret", "Bearer wrong", "Basic secret", "Bearer", "Bearer sécret"])
def test_a_wrong_or_missing_token_is_unauthenticated(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        authorize(AuthConfig(token="secret"), {"authorization": header} if header else {})


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_may_call(scheme: str) -> None:
    authorize(AuthConfig(token="secret"), {"authorization": f"{scheme} secret"})


@pytest.mark.parametrize("entry", ["10.1.2.3", "10.0.0.0/8", "10.1.2.3/32"])
def test_a_listed_address_may_call(entry: str) -> None:
    authorize(AuthConfig(allowlist=(entry,)))


@pytest.mark.parametrize("peer", [PEER, "ipv6:%5B2001:db8::1%5D:5000", "nonsense"])
def test_a_foreign_address_is_denied(peer: str) -> None:
    with pytest.raises(PermissionDenied):
        authorize(AuthConfig(allowlist=("192.168.0.0/16",)), peer=peer)


@pytest.mark.requirement("X4")
def test_both_must_hold_when_both_are_set() -> None:
    config = AuthConfig(token="secret", allowlist=("10.0.0.0/8",))
    with pytest.raises(Unauthenticated):
        authorize(config)
    with pytest.raises(PermissionDenied):
        authorize(config, {"authorization": "Bearer secret"}, "ipv4:11.1.1.1:1")
    authorize(config, {"authorization": "Bearer secret"})


def test_behind_a_trusted_proxy_the_caller_is_who_the_proxy_says() -> None:
    config = AuthConfig(allowlist=("10.0.0.0/8",))
    authorize(config, {"x-envoy-external-address": "10.9.9.9"}, "ipv4:127.0.0.1:1")
    with pytest.raises(PermissionDenied):
        authorize(config, {"x-envoy-external-address": "11.9.9.9"}, "ipv4:127.0.0.1:1")


def test_a_stranger_cannot_claim_another_address() -> None:
    config = AuthConfig(allowlist=("10.0.0.0/8",))
    for claim in ("x-envoy-external-address", "x-forwarded-for"):
        with pytest.raises(PermissionDenied):
            authorize(config, {claim: "10.9.9.9"}, "ipv4:11.1.1.1:1")


def test_the_local_leg_is_trusted() -> None:
    authorize(AuthConfig(token="secret", allowlist=("10.0.0.0/8",)), peer="local:")


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "somewhere", ""])
def test_an_entry_that_cannot_be_read_stops_start_up(entry: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AuthConfig(allowlist=(entry,))
    assert caught.value.setting == "auth.allowlist"


@pytest.mark.requirement("X4")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_a_public_bind_without_a_token_stops_start_up(host: str) -> None:
    with pytest.raises(ConfigError):
        check_bind(host, None)
    check_bind(host, "secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_loopback_bind_needs_no_token(host: str) -> None:
    check_bind(host, None)
