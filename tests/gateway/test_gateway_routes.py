"""The edge knows every route, and says so when there is none (X2, X14)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

Rest = httpx.AsyncClient


def info_of(answer: httpx.Response) -> dict[str, Any]:
    info: dict[str, Any] = answer.json()["details"][0]
    return info


def heard(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["heard"])


@pytest.mark.parametrize(
    ("verb", "path", "suggestion"),
    [
        ("POST", "/v1/sayy", "POST /v1/say"),
        ("GET", "/v1/room/a", "GET /v1/rooms/{room}"),
        ("POST", "/v1/rooms/a/sya", "POST /v1/rooms/{room}/say"),
        ("GET", "/v1/object/a/b/c", "GET /v1/objects/{key=**}"),
        ("POST", "/v1/say/", "POST /v1/say"),
        ("GET", "/v1/rooms/", "GET /v1/rooms/{room}"),
        ("GET", "/v1/objects/", "GET /v1/objects/{key=**}"),
        ("GET", "/heath", "GET /health"),
        ("GET", "/completely/elsewhere/and/far", None),
        ("GET", "/", None),
        ("POST", "/echo.v1.EchoService/Say", None),
    ],
)
async def test_an_unknown_path_is_404_with_the_nearest_route(
    rest: Rest, verb: str, path: str, suggestion: str | None
) -> None:
    answer = await rest.request(verb, path)
    assert (answer.status_code, info_of(answer)["reason"]) == (404, "ROUTE_NOT_FOUND")
    assert info_of(answer)["metadata"].get("suggestion") == suggestion
    assert answer.json()["code"] == 5


@pytest.mark.parametrize(
    ("verb", "path", "allow"),
    [("GET", "/v1/say", "POST"), ("DELETE", "/v1/objects/a/b", "GET, PUT"), ("HEAD", "/v1/objects/a", "GET, PUT"),
     ("OPTIONS", "/v1/say", "POST"), ("PATCH", "/health", "GET"), ("PURGE", "/v1/rooms/a", "GET")],
)  # fmt: skip
async def test_a_known_path_with_another_verb_is_405_and_says_which_it_takes(
    rest: Rest, verb: str, path: str, allow: str
) -> None:
    answer = await rest.request(verb, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    if verb != "HEAD":
        assert info_of(answer)["reason"] == "METHOD_NOT_ALLOWED"


NAMES = [
    "a b", "100%", "50%25", "a:b", "x:say", "it's \"quoted\"", "Größe €", "日本 \U0001f600", "a+b", "a&b=c?d#e",
    "~!@$^*()", "a\u0301", "{room}", "..a", "%2F", ";", "|", "a,b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_a_legal_name_survives_in_a_path(rest: Rest, name: str) -> None:
    inside = await rest.post(f"/v1/rooms/{quote(name, safe='')}/say", content='{"k": 1}')
    assert heard(inside) == {"room": name, "k": 1}
    assert heard(await rest.get(f"/v1/rooms/{quote(name, safe='')}")) == {"room": name}
    assert heard(await rest.get(f"/v1/rooms/{quote(name, safe=':+')}")) == {"room": name}


@pytest.mark.parametrize("name", NAMES)
async def test_a_legal_name_survives_in_a_query(rest: Rest, name: str) -> None:
    assert heard(await rest.get(f"/v1/rooms/a?query_text={quote(name, safe='')}"))["query_text"] == name


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/b/c", "a/b/c"), ("a%2Fb/c%20d", "a/b/c d"), ("a//b", "a//b"), ("a/../b", "a/../b"), ("./a", "./a"),
     ("100%25", "100%"), ("%2525", "%25"), ("a/b%2F", "a/b/"), ("x:y/z:say", "x:y/z:say"), ("a%3Fb%23c", "a?b#c"),
     ("%E2%82%AC", "€"), ("a+b", "a+b"), ("say", "say")],
)  # fmt: skip
async def test_a_key_reaches_the_daemon_as_it_is_meant(edge_raw: Any, path: str, key: str) -> None:
    status, answer = await edge_raw("PUT", f"/v1/objects/{path}", b"x")
    assert (status, json.loads(answer)["key"]) == (200, key)


async def test_query_parameters_fill_fields(rest: Rest) -> None:
    answer = await rest.get("/v1/rooms/a?k=2&tags=x&tags=y&first.id=7&first.answers.id=8&pause=2s&score=0.5&loud=true")
    assert heard(answer) == {
        "room": "a", "k": 2, "tags": ["x", "y"], "first": {"id": "7", "answers": {"id": "8"}}, "pause": "2s",
        "score": 0.5, "loud": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "field", "reason", "suggestion"),
    [
        ("query_txt=x", "query_txt", "UNKNOWN_FIELD", "query_text"),
        ("queryText=x", "queryText", "UNKNOWN_FIELD", "query_text"),
        ("%71uery%54ext=x", "queryText", "UNKNOWN_FIELD", "query_text"),
        ("first.idd=x", "first.idd", "UNKNOWN_FIELD", "id"),
        ("room=b", "room", "UNKNOWN_FIELD", None),
        ("=x", "", "UNKNOWN_FIELD", None),
        (".=x", ".", "INVALID_ARGUMENT", None),
        ("first=x", "first", "INVALID_ARGUMENT", None),
        ("counts=1", "counts", "INVALID_ARGUMENT", None),
        ("k=1&k=2", "k", "DUPLICATE_FIELD", None),
        ("k=many", "k", "INVALID_ARGUMENT", None),
    ],
)
async def test_a_query_parameter_that_does_not_fit_is_named(
    rest: Rest, query: str, field: str, reason: str, suggestion: str | None
) -> None:
    answer = await rest.get(f"/v1/rooms/a?{query}")
    assert (answer.status_code, info_of(answer)["reason"]) == (400, reason), answer.text
    assert info_of(answer)["metadata"]["field"] == field
    assert info_of(answer)["metadata"].get("suggestion") == suggestion


async def test_the_names_in_a_query_are_decoded(rest: Rest) -> None:
    assert heard(await rest.get("/v1/rooms/a?%6b=2&first%2Eid=%6b")) == {"room": "a", "k": 2, "first": {"id": "k"}}


async def test_a_field_of_the_body_is_not_taken_from_the_query(rest: Rest) -> None:
    answer = await rest.post("/v1/say?query_text=x", content="{}")
    assert (answer.status_code, info_of(answer)["metadata"]) == (400, {"field": "query_text"})
    assert "body" in answer.json()["message"]
    answer = await rest.post("/v1/say?nonsense=x", content="{}")
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "UNKNOWN_FIELD")


async def test_an_empty_query_is_no_query(rest: Rest) -> None:
    assert heard(await rest.post("/v1/say?", content='{"k": 1}')) == {"k": 1}
    assert heard(await rest.get("/v1/rooms/a?&")) == {"room": "a"}


async def test_a_route_without_a_body_takes_none(rest: Rest) -> None:
    answer = await rest.request("GET", "/v1/rooms/a", content='{"k": 1}')
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("header", "suggestion"),
    [
        ("x-lakehouse-buckt", "x-lakehouse-bucket"),
        ("X-Lakehouse-Trace", "x-lakehouse-trace-id"),
        ("x-lakehouse-q", None),
    ],
)
async def test_an_unknown_header_of_ours_is_refused(rest: Rest, header: str, suggestion: str | None) -> None:
    answer = await rest.post("/v1/say", headers={header: "x"})
    assert (answer.status_code, info_of(answer)["reason"]) == (400, "UNKNOWN_FIELD")
    assert info_of(answer)["metadata"]["field"] == header.lower()
    assert info_of(answer)["metadata"].get("suggestion") == suggestion


async def test_known_headers_and_trace_context_reach_the_daemon(rest: Rest) -> None:
    sent = {
        "x-lakehouse-bucket": "rescue",
        "x-lakehouse-request-id": "r-1",
        "x-lakehouse-trace-id": "t-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
    }
    answer = await rest.post("/v1/say", headers=sent)
    assert sent.items() <= answer.json()["metadata"].items()
    assert (answer.headers["x-lakehouse-request-id"], answer.headers["x-lakehouse-trace-id"]) == ("r-1", "t-1")


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 129, 'a"b'])
async def test_a_call_without_a_usable_request_id_gets_one(rest: Rest, sent: str | None) -> None:
    answer = await rest.post("/v1/say", headers={} if sent is None else {"x-lakehouse-request-id": sent})
    assert answer.headers["x-lakehouse-request-id"] not in ("", sent)
    assert answer.headers["x-lakehouse-request-id"] == answer.json()["metadata"]["x-lakehouse-request-id"]
    assert "x-lakehouse-trace-id" not in answer.headers


async def test_headers_of_the_edge_cannot_be_sent(rest: Rest) -> None:
    forged = {
        "x-lakehouse-content-length": "1",
        "x-lakehouse-size": "1",
        "x-lakehouse-http-status": "500",
        "x-lakehouse-internal": "1",
        "x-lakehouse-instance": "1",
        "x-envoy-external-address": "10.9.9.9",
        "x-envoy-original-path": "/forged",
        "x-envoy-original-method": "FORGED",
        "x-envoy-expected-rq-timeout-ms": "1",
    }
    answer = await rest.post("/v1/say", headers=forged, content="{}")
    assert answer.status_code == 200
    metadata = answer.json()["metadata"]
    assert {key for key in metadata if key.startswith("x-lakehouse-")} == {"x-lakehouse-request-id"}
    assert (metadata["x-envoy-external-address"], metadata["x-envoy-original-path"]) == ("127.0.0.1", "/v1/say")
    assert (metadata["x-envoy-original-method"], metadata["x-envoy-expected-rq-timeout-ms"]) == ("POST", "60000")
