"""The main job over REST, through a real Envoy, with right and wrong input."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest

CSV = b'id,city,zip,rate,note\n1,Detroit,48201,12.50,plain\n2,Boston,02101,9.00,"two\nlines"\n3,Newark,07101,30.25,\n'


def reason_of(answer: httpx.Response) -> str:
    body = answer.json()
    assert set(body) == {"code", "message", "details"}, body
    (info,) = [detail for detail in body["details"] if detail["@type"].endswith("ErrorInfo")]
    assert info["domain"] == "lakehouse"
    return str(info["reason"])


def rows(client: httpx.Client, sql: str) -> list[list[Any]]:
    answer = client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rows"])


def test_health_is_public_json_and_names_every_daemon(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "serving"
    assert {daemon["state"] for daemon in body["daemons"]} == {"serving"}


@pytest.mark.parametrize("kind", ["multipart", "raw"])
def test_a_csv_becomes_a_dataset_that_answers_sql(client: httpx.Client, kind: str) -> None:
    name = f"csv_{kind}"
    body: dict[str, Any] = {"files": {"file": ("x.csv", CSV, "text/csv")}} if kind == "multipart" else {"content": CSV}
    answer = client.post("/v1/ingest", params={"name": name}, **body)
    assert answer.status_code == 200, answer.text
    ingested = answer.json()
    assert (ingested["name"], ingested["row_count"]) == (name, 3)
    assert ingested["dataset_id"]
    assert ingested["schema_fingerprint"]
    assert rows(client, f"select count(*) from {name}") == [[3]]
    assert rows(client, f"select zip, note from {name} where id = 2") == [["02101", "two\nlines"]]
    assert rows(client, f"select sum(rate) from {name}") == [[51.75]]


def test_a_dataset_is_found_in_the_catalog_whatever_its_name(client: httpx.Client) -> None:
    name = "it's 100% “odd” + ü: c++"
    answer = client.post("/v1/ingest", params={"name": name}, content=CSV)
    assert answer.status_code == 200, answer.text
    manifest = client.get(f"/v1/catalog/manifest/{quote(name, safe='')}")
    assert manifest.status_code == 200, manifest.text
    assert manifest.json()["manifest"]["name"] == name
    assert rows(client, f'select count(*) from "{name}"') == [[3]]


def test_the_wrong_field_for_sql_is_named_with_the_right_one(client: httpx.Client) -> None:
    answer = client.post("/v1/sql", json={"q": "select 1"})
    assert answer.status_code == 400
    assert reason_of(answer) == "UNKNOWN_FIELD"
    assert "'q'" in answer.text or '"q"' in answer.text or '\\"q\\"' in answer.text
    assert "sql" in answer.json()["message"]


def test_the_body_of_a_form_post_is_taken_as_json(client: httpx.Client) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/sql", content=b'{"sql": "select 41 + 1 as answer"}', headers=headers)
    assert answer.json() == {"columns": [{"name": "answer", "type": "INTEGER"}], "rows": [[42]], "row_count": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"sql": "select 1"', 400),
        (b"{'sql': 'select 1'}", 400),
        (b'{"sql": 1}', 400),
        (b'{"sql": "select 1", "sql": "select 2"}', 400),
        (b'{"sql": ""}', 400),
        (b"{}", 400),
        (b'{"sql": "drop table x"}', 400),
        (b'{"sql": "select * from read_csv(\'/etc/passwd\')"}', 400),
        (b'{"sql": "select * from nowhere"}', 400),
        (b'{"sql": "' + b"x" * 3_000_000 + b'"}', 413),
    ],
)
def test_a_bad_statement_is_refused_in_the_one_shape(client: httpx.Client, body: bytes, status: int) -> None:
    answer = client.post("/v1/sql", content=body)
    assert answer.status_code == status, answer.text
    assert reason_of(answer)
    assert "/tmp" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nope", 404), ("POST", "/v1/sqll", 404), ("GET", "/v1/catalog/list?page_sise=3", 400)],
)
def test_unknown_paths_and_parameters_are_refused_in_the_one_shape(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status, answer.text
    assert reason_of(answer)


def test_a_schema_change_is_a_conflict_and_the_old_rows_still_answer(client: httpx.Client) -> None:
    assert client.post("/v1/ingest", params={"name": "steady"}, content=CSV).status_code == 200
    answer = client.post("/v1/ingest", params={"name": "steady"}, content=b"id,other\n1,2\n")
    assert answer.status_code == 409
    assert reason_of(answer) == "SCHEMA_CONFLICT"
    assert rows(client, "select count(*) from steady") == [[3]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EMPTY_FILE"),
        (b"a,b\n", "HEADER_ONLY"),
        (b"a,a\n1,2\n", "DUPLICATE_COLUMN_NAME"),
        (b"a,\n1,2\n", "EMPTY_COLUMN_NAME"),
        (b"a,b\n1,2\n3\n", "RAGGED_ROW"),
        (b"a,b\n1,caf\xe9\n", "NOT_UTF8"),
        (b'a,b\n1,"open\n', "UNTERMINATED_QUOTE"),
    ],
)
def test_a_broken_file_is_refused_and_leaves_nothing(client: httpx.Client, content: bytes, reason: str) -> None:
    answer = client.post("/v1/ingest", params={"name": "broken"}, content=content)
    assert answer.status_code == 400, answer.text
    assert reason_of(answer) == reason
    assert client.get("/v1/catalog/manifest/broken").status_code == 404


@pytest.mark.parametrize("key", ["..%2Fx", "%2e%2e/x", "a//b", "a%00b", "a%0Ab", "x" * 1025])
def test_a_hostile_key_is_refused(client: httpx.Client, key: str) -> None:
    answer = client.put(f"/v1/storage/buckets/primary/objects/{key}", content=b"x")
    assert answer.status_code in (400, 404), answer.text
    assert reason_of(answer)


def test_an_object_comes_back_as_it_was_stored(client: httpx.Client) -> None:
    path, data = "/v1/storage/buckets/primary/objects/mine/a%20b%25.bin", bytes(range(256)) * 9_000
    assert client.put(path, content=data).status_code == 200
    answer = client.get(path)
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    assert client.get(path, params={"offset": 256, "length": 3}).content == bytes((0, 1, 2))
    created = client.put(path, content=b"other", headers={"if-none-match": "*"})
    assert created.status_code == 409


def test_the_bucket_header_names_the_bucket(client: httpx.Client) -> None:
    headers = {"x-lakehouse-bucket": "rescue"}
    answer = client.post("/v1/ingest", params={"name": "rescued"}, content=CSV, headers=headers)
    assert answer.json()["bucket"] == "rescue", answer.text
    assert rows(client, "select count(*) from rescued") == [[3]]
    wrong = client.post("/v1/ingest", params={"name": "lost"}, content=CSV, headers={"x-lakehouse-buckt": "rescue"})
    assert wrong.status_code == 400
    assert "x-lakehouse-bucket" in wrong.json()["message"]
    nowhere = client.post("/v1/ingest", params={"name": "lost"}, content=CSV, headers={"x-lakehouse-bucket": "nowhere"})
    assert (nowhere.status_code, reason_of(nowhere)) == (404, "BUCKET_NOT_FOUND")


def test_the_x13_shapes_hold_for_vectors(client: httpx.Client) -> None:
    index = {"name": "shapes", "dimension": 3, "metric": "cosine"}
    assert client.post("/v1/vectors/index", json=index).status_code == 200
    items = [
        {"id": "a", "vector": [1, 0, 0], "metadata": {"city": "Detroit", "n": 0}},
        {"id": "b", "vector": [0, 1, 0], "metadata": {}},
    ]
    assert client.post("/v1/vectors/index/shapes/add", json={"items": items}).status_code == 200
    search = {"vector": [1, 0, 0], "k": 2}
    hits = client.post("/v1/vectors/index/shapes/search", json=search).json()["hits"]
    assert [hit["id"] for hit in hits] == ["a", "b"]
    assert hits[0]["distance"] == pytest.approx(0, abs=1e-6)
    assert hits[0]["metadata"] == {"city": "Detroit", "n": 0}
    filtered = search | {"filter": {"equals": {"field": "city", "value": "Detroit"}}}
    assert [h["id"] for h in client.post("/v1/vectors/index/shapes/search", json=filtered).json()["hits"]] == ["a"]


@pytest.mark.parametrize("vector", ["[0, 0, 0]", "[1, 0]", "[1, 0, 1e999]", '["NaN", 0, 0]', '["Infinity", 0, 0]'])
def test_a_vector_that_cannot_be_compared_is_refused_whole(client: httpx.Client, vector: str) -> None:
    client.post("/v1/vectors/index", json={"name": "strict", "dimension": 3})
    body = f'{{"items": [{{"id": "good", "vector": [1, 0, 0]}}, {{"id": "bad", "vector": {vector}}}]}}'
    answer = client.post("/v1/vectors/index/strict/add", content=body)
    assert answer.status_code == 400, answer.text
    assert reason_of(answer)
    assert client.get("/v1/vectors/index/strict").json()["index"]["count"] == 0


def test_embeddings_come_in_order(client: httpx.Client) -> None:
    answer = client.post("/v1/embed", json={"texts": ["one text", "another"]}).json()
    assert [len(embedding["values"]) for embedding in answer["embeddings"]] == [answer["dimension"]] * 2


def test_more_rows_than_json_may_carry_come_as_arrow(client: httpx.Client) -> None:
    sql = "select i from range(20000) t(i)"
    answer = client.post("/v1/sql", json={"sql": sql})
    assert reason_of(answer) == "ROW_LIMIT"
    stream = client.post("/v1/sql/arrow", json={"sql": sql})
    assert pa.ipc.open_stream(io.BytesIO(stream.content)).read_all().num_rows == 20_000


def test_a_search_without_query_or_corpora_names_what_is_missing(client: httpx.Client) -> None:
    assert reason_of(client.post("/v1/matrix/search", json={"query_text": "x", "corpora": []})) == "MISSING_FIELD"
    answer = client.post("/v1/matrix/search", json={"query": "x", "corpora": ["a"]})
    assert answer.status_code == 400
    assert "query_text" in answer.json()["message"]
    missing = client.post("/v1/matrix/search", json={"query_text": "x", "corpora": ["nowhere"]})
    assert missing.status_code == 404
    assert "nowhere" in missing.json()["message"]


def test_a_trace_id_comes_back(client: httpx.Client) -> None:
    answer = client.get("/v1/catalog/version", headers={"x-lakehouse-trace-id": "a" * 32})
    assert answer.headers["x-lakehouse-trace-id"] == "a" * 32
    assert json.loads(answer.text)["version"] >= 0
