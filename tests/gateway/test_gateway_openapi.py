"""The contract as OpenAPI is valid, complete, and loses nothing that was released (X1)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.compatibility import losses
from gateway.contract import Contract
from gateway.openapi import describe, document
from tests.gateway.conftest import ROOT, Echo

Json = dict[str, Any]


@pytest.fixture(scope="module")
def written() -> Json:
    """The committed document."""
    loaded: Json = yaml.safe_load((ROOT / "gen" / "openapi.yaml").read_text())
    return loaded


@pytest.fixture
def echoed(echo: Echo) -> Json:
    """The document of the test contract."""
    return document(echo.descriptors, "1")


def test_the_committed_document_is_the_contracts(written: Json) -> None:
    assert document(describe(ROOT / "proto"), written["info"]["version"]) == written


def test_it_is_valid(written: Json, echoed: Json) -> None:
    OpenAPIV31SpecValidator(written).validate()
    OpenAPIV31SpecValidator(echoed).validate()


def test_every_route_is_in_it(written: Json) -> None:
    contract = Contract((ROOT / "gen" / "descriptor.binpb").read_bytes())
    shown = {(verb, path) for path, operations in written["paths"].items() for verb in operations}
    assert shown == {(route.verb.lower(), route.path.replace("=**", "")) for _, route in contract.routes()}


def test_everything_has_a_description(written: Json) -> None:
    operations = [operation for verbs in written["paths"].values() for operation in verbs.values()]
    assert all(operation["summary"].strip(".") for operation in operations)
    assert all(parameter["description"] for operation in operations for parameter in operation["parameters"])
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for name, schema in written["components"]["schemas"].items():
        if not name.startswith("google."):
            assert schema["description"], name


def test_nothing_that_was_released_is_gone(written: Json) -> None:
    released = yaml.safe_load((ROOT / "proto" / "released-openapi.yaml").read_text())
    assert losses(released, written) == []


def test_health_needs_no_token_and_the_rest_may_need_one(written: Json) -> None:
    assert written["paths"]["/health"]["get"]["security"] == []
    assert "security" not in written["paths"]["/v1/sql"]["post"]
    assert written["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}


def test_rules_of_the_contract_are_shown(written: Json) -> None:
    metric = written["components"]["schemas"]["vector.CreateIndexRequest"]["properties"]["metric"]
    assert set(metric["enum"]) == {"cosine", "l2", "ip", ""}
    create = written["components"]["schemas"]["vector.CreateIndexRequest"]
    assert {"name", "dimension"} <= set(create["required"])
    assert create["additionalProperties"] is False
    assert (create["properties"]["dimension"]["minimum"], create["properties"]["name"]["maxLength"]) == (1, 128)


def test_parameters_bodies_and_answers_are_of_their_kinds(echoed: Json) -> None:
    paths = echoed["paths"]
    inside = paths["/v1/rooms/{room}/say"]["post"]
    assert [(p["name"], p["in"], p["required"]) for p in inside["parameters"]] == [("room", "path", True)]
    body = inside["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert "room" not in body
    assert body["items"]["items"] == {"$ref": "#/components/schemas/echo.v1.Phrase"}
    assert body["counts"]["additionalProperties"] == {"type": "integer", "format": "int32"}
    assert body["size"]["type"] == "string"
    asked = {p["name"] for p in paths["/v1/rooms/{room}"]["get"]["parameters"]}
    assert {"room", "k", "tags", "first.id", "pause", "query_vector"} <= asked
    assert not {"items", "counts", "anything", "first"} & asked
    upload = paths["/v1/objects/{key}"]
    assert upload["put"]["requestBody"]["content"]["*/*"]["schema"]["format"] == "binary"
    assert upload["get"]["responses"]["200"]["content"]["*/*"]["schema"]["format"] == "binary"
    assert (
        paths["/v1/count/{to}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"
    )
    chat = paths["/v1/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat["additionalProperties"] is True


def test_every_loss_is_told(echoed: Json) -> None:
    assert losses(echoed, echoed) == []
    current = copy.deepcopy(echoed)
    schemas, paths = current["components"]["schemas"], current["paths"]
    del paths["/health"]
    del paths["/v1/objects/{key}"]["put"]
    del schemas["echo.v1.Phrase"]["properties"]["id"]
    schemas["echo.v1.SayRequest"]["properties"]["k"] = {"type": "string"}
    schemas["echo.v1.SayRequest"]["required"] = ["query_text"]
    paths["/v1/rooms/{hall}"] = paths.pop("/v1/rooms/{room}")
    parameters = paths["/v1/rooms/{hall}"]["get"]["parameters"]
    parameters[:] = [parameter for parameter in parameters if parameter["name"] != "tags"]
    told = losses(echoed, current)
    for sentence in (
        "GET /health is gone",
        "PUT /v1/objects/{key} is gone",
        "POST /v1/say body field items items field id is gone",
        "POST /v1/say body field k was integer and is string",
        "POST /v1/say body field query_text is now required",
        "GET /v1/rooms/{room} parameter tags is gone",
    ):
        assert sentence in told
    assert losses(current, current) == []


def test_what_is_new_is_no_loss(echoed: Json) -> None:
    old = copy.deepcopy(echoed)
    del old["paths"]["/health"]
    del old["components"]["schemas"]["echo.v1.Phrase"]["properties"]["id"]
    assert losses(old, echoed) == []
