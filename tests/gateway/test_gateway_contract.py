"""The edge serves the real contract: every method, every route, and nothing that cannot be served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway import envoy
from gateway.bootstrap import bootstrap
from gateway.contract import Contract, ContractError, Method, Route
from gateway.envoy import Backend, EdgeConfig
from tests.gateway.conftest import ROOT, Echo, free_port

DESCRIPTORS = (ROOT / "gen" / "descriptor.binpb").read_bytes()
CONTRACT = Contract(DESCRIPTORS)
ROUTES = list(CONTRACT.routes())
NAMES = [f"{route.verb} {route.path}" for _, route in ROUTES]


def backends(port: int) -> list[Backend]:
    """A backend for each service, all at one port."""
    services = CONTRACT.services
    return [Backend(name=f"d{i}", service=name, host="127.0.0.1", port=port) for i, name in enumerate(services)]


@pytest.fixture(scope="module")
async def lonely(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an edge for the real contract, behind which no daemon runs."""
    directory, config = tmp_path_factory.mktemp("lonely"), EdgeConfig(port=free_port())
    envoy.write_files(directory, descriptors=DESCRIPTORS, backends=backends(free_port()), config=config)
    await envoy.validate(directory)
    edge = await envoy.start(directory, config)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=30) as client:
        yield client
    await edge.stop()


@pytest.mark.requirement("X1")
def test_every_annotated_method_has_a_route() -> None:
    annotated = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in FileDescriptorSet.FromString(DESCRIPTORS).file
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
    }
    assert annotated == {method.path for method in CONTRACT.methods}
    assert len(annotated) > 50


@pytest.mark.requirement("X1")
@pytest.mark.parametrize(("method", "route"), ROUTES, ids=NAMES)
async def test_filter_and_transcoder_agree_on_every_route(
    lonely: httpx.AsyncClient, method: Method, route: Route
) -> None:
    path = re.sub(r"\{[^}]*=\*\*\}", "a/b%20c", route.path)
    path = re.sub(r"\{[^}]*\}", "a%20b", path)
    body = b"{}" if method.body_type(route) else b"data" if route.body else b""
    answer = await lonely.request(route.verb, path, content=body)
    # No daemon runs: a call that finds its way all through the edge ends there.
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (503, "UNAVAILABLE"), answer.text


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=NAMES)
async def test_every_route_refuses_what_it_does_not_know(
    lonely: httpx.AsyncClient, method: Method, route: Route
) -> None:
    path = re.sub(r"\{[^}]*\}", "a", route.path)
    if method.rule.tolerates_unknown_fields:
        return
    if method.body_type(route) is not None:
        answer = await lonely.request(route.verb, path, content=b'{"no_such_field": 1}')
    else:
        answer = await lonely.request(route.verb, f"{path}?no_such_field=1")
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "UNKNOWN_FIELD"), answer.text


@pytest.mark.requirement("X2")
@pytest.mark.parametrize(
    ("verb", "path", "body", "suggestion"),
    [
        ("POST", "/v1/sql", '{"q": "select 1"}', "sql"),
        ("POST", "/v1/matrix/search", '{"query": "x"}', "query_text"),
        ("POST", "/v1/vectors/index/a/add", '{"items": [{"id": "1", "metdata": {}}]}', "metadata"),
        ("POST", "/v1/vectors/index/a/search", '{"top_k": 3}', "k"),
        ("GET", "/v1/catalog/list?pagesize=3", "", "page_size"),
        ("POST", "/v1/sqll", "", "POST /v1/sql"),
        ("POST", "/v1/vector/index", "", "POST /v1/vectors/index"),
    ],
)
async def test_drift_is_answered_with_the_right_word(
    lonely: httpx.AsyncClient, verb: str, path: str, body: str, suggestion: str
) -> None:
    answer = await lonely.request(verb, path, content=body)
    assert answer.json()["details"][0]["metadata"].get("suggestion") == suggestion, answer.text


def test_time_limits_and_retries_follow_the_contract() -> None:
    config = bootstrap(CONTRACT, backends(1), EdgeConfig(), {})
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = {
        route["match"]["path"]: route["route"]
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]
        if "headers" not in route["match"]
    }
    for method in CONTRACT.methods:
        action = routes[method.path]
        expected = 0 if method.descriptor.server_streaming else method.rule.timeout_seconds or 60
        assert action["timeout"] == f"{expected}s"
        assert ("retry_policy" in action) == (method.idempotency != 0 and not method.descriptor.client_streaming)
    assert manager["common_http_protocol_options"]["idle_timeout"] == "60s"


def test_a_backend_that_no_contract_knows_is_refused() -> None:
    unknown = Backend(name="toold", service="lakehouse.tool.v1.ToolService", host="127.0.0.1", port=1)
    with pytest.raises(ContractError):
        bootstrap(CONTRACT, [unknown], EdgeConfig(), {})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rooms/{room}:say", "*"),
        ("/v1/rooms/{room=rooms/*}", "*"),
        ("/v1/rooms/{first.id}", "*"),
        ("/v1/{room=**}/say", "*"),
        ("/v1/rooms/{hall}", "*"),
        ("/v1/other", "hall"),
        ("/v1/chat", "*"),
        ("/v1/rooms/{query_text}/say", "*"),
    ],
)
def test_a_route_that_cannot_be_served_is_refused(echo: Echo, path: str, body: str) -> None:
    descriptors = FileDescriptorSet.FromString(echo.descriptors)
    (file,) = [file for file in descriptors.file if file.package == "echo.v1"]
    rule = file.service[0].method[0].options.Extensions[annotations_pb2.http]
    rule.additional_bindings.add(post=path, body=body)
    with pytest.raises(ContractError):
        Contract(descriptors.SerializeToString())


def test_a_stream_of_json_requests_is_refused(echo: Echo) -> None:
    descriptors = FileDescriptorSet.FromString(echo.descriptors)
    (file,) = [file for file in descriptors.file if file.package == "echo.v1"]
    file.service[0].method[0].client_streaming = True
    with pytest.raises(ContractError):
        Contract(descriptors.SerializeToString())


def test_the_edge_runs_from_any_directory(tmp_path: Path) -> None:
    envoy.write_files(tmp_path / "edge", descriptors=DESCRIPTORS, backends=backends(1), config=EdgeConfig())
    for file in ("envoy.json", "edge.lua"):
        text = (tmp_path / "edge" / file).read_text()
        assert str(ROOT) not in text
