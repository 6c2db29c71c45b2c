"""A stranger with grpcurl finds and calls every daemon by reflection."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from services.mesh import DAEMONS
from tests.e2e.conftest import Stack

CSV = base64.b64encode(b"a,b\n1,x\n").decode()
CALLS: dict[str, tuple[str, dict[str, object]]] = {
    "storaged": ("ListBuckets", {}),
    "catalogd": ("ListDatasets", {}),
    "ingestd": ("Ingest", {"name": "curled", "data": {"content_type": "text/csv", "data": CSV}}),
    "queryd": ("Query", {"sql": "select 1 as one"}),
    "vectord": ("ListIndexes", {}),
    "embedd": ("Embed", {"texts": ["hello"]}),
    "matrixd": ("ListCorpora", {}),
}


def grpcurl_run(grpcurl: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([grpcurl, "-plaintext", *arguments], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("daemon", DAEMONS, ids=lambda daemon: daemon.name)
def test_each_daemon_lists_its_service_and_health(stack: Stack, grpcurl: str, daemon: object) -> None:
    address, service = stack.address(daemon.name), daemon.service  # type: ignore[attr-defined]
    listing = grpcurl_run(grpcurl, address, "list")
    assert {service, "grpc.health.v1.Health"} <= set(listing.stdout.split()), listing.stderr
    health = grpcurl_run(grpcurl, "-d", json.dumps({"service": service}), address, "grpc.health.v1.Health/Check")
    assert json.loads(health.stdout) == {"status": "SERVING"}


def test_every_daemon_is_called() -> None:
    assert CALLS.keys() == {daemon.name for daemon in DAEMONS}


@pytest.mark.parametrize("name", CALLS)
def test_each_daemon_answers_a_call_described_by_reflection(stack: Stack, grpcurl: str, name: str) -> None:
    daemon = next(daemon for daemon in DAEMONS if daemon.name == name)
    method, request = CALLS[name]
    done = grpcurl_run(grpcurl, "-d", json.dumps(request), stack.address(name), f"{daemon.service}/{method}")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_a_wrong_field_is_refused_by_the_contract(stack: Stack, grpcurl: str) -> None:
    request = json.dumps({"q": "select 1"})
    done = grpcurl_run(grpcurl, "-d", request, stack.address("queryd"), "lakehouse.query.v1.QueryService/Query")
    assert done.returncode != 0
    assert "q" in done.stderr
