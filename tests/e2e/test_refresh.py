"""Stale embeddings over REST and from the command line, and a refresh that is killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_until

pytestmark = pytest.mark.requirement("M11", "C5", "I13")

MANY = 8_000


def post(client: httpx.Client, path: str, body: object = None, **options: Any) -> dict[str, Any]:
    answer = client.post(path, json=body, **options) if body is not None else client.post(path, **options)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ingest(client: httpx.Client, name: str, rows: dict[str, str]) -> None:
    text = "id,body\n" + "".join(f"{key},{body}\n" for key, body in rows.items())
    post(client, "/v1/ingest", params={"name": name}, content=text.encode())


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it has ended well."""
    last = client.get(f"/v1/matrix/jobs/{job['id']}/watch", timeout=120).json()[-1]["job"]
    assert last["state"] == "succeeded", last
    return dict(last)


def refreshed(client: httpx.Client, name: str) -> dict[str, Any]:
    return dict(ended(client, post(client, f"/v1/matrix/refresh/{name}", {})["job"])["result"])


def stale(client: httpx.Client, name: str) -> list[list[str]]:
    datasets = client.get("/v1/matrix/stale").json()["datasets"]
    return [found["corpora"] for found in datasets if found["dataset"] == name]


def texts_computed(client: httpx.Client) -> int:
    return int(client.get("/v1/embed/stats").json()["misses"])


def test_a_changed_dataset_is_stale_until_only_its_changes_are_embedded(stack: Stack, client: httpx.Client) -> None:
    name = "refresh_rest"
    rows = {f"r{number}": f"parcel {number} was never delivered to me" for number in range(10)}
    ingest(client, name, rows)
    build = {"corpus": name, "dataset": name, "id_column": "id", "text_columns": ["body"]}
    ended(client, post(client, "/v1/matrix/corpora/build", build)["job"])
    assert stale(client, name) == []
    del rows["r0"]
    rows |= {"r1": "the kettle of r1 is broken", "r2": "the toaster of r2 is broken"}
    rows |= {f"n{number}": f"new ticket {number} about a refund" for number in range(3)}
    ingest(client, name, rows)
    assert stale(client, name) == [[name]]
    before = texts_computed(client)
    result = refreshed(client, name)
    assert texts_computed(client) == before + 5
    told = {key: result[key] for key in ("rows", "embedded", "unchanged", "removed", "failed")}
    assert told == {"rows": 12, "embedded": 5, "unchanged": 7, "removed": 1, "failed": 0}
    assert stale(client, name) == []
    assert refreshed(client, name)["rows"] == 0
    assert texts_computed(client) == before + 5
    found = post(client, "/v1/matrix/search", {"query_text": "broken toaster", "corpora": [name], "k": 1})
    assert found["hits"][0]["id"] == "r2"


def test_the_command_line_refreshes_lists_and_sets_policies(stack: Stack, client: httpx.Client) -> None:
    name = "refresh cli"
    ingest(client, name, {"a": "one", "b": "two"})
    assert stack.run("corpus", "build", name, "--id", "id", "--text", "body").returncode == 0
    assert said(stack, "corpus", "refresh", name)["result"]["up_to_date"] == [name]
    ingest(client, name, {"a": "one", "c": "three"})
    assert name in stack.run("corpus", "stale").stdout
    job = said(stack, "corpus", "refresh", name, "--corpus", name)
    assert (job["kind"], job["result"]["embedded"], job["result"]["removed"]) == ("corpus.refresh", 1, 1)
    assert name not in [found["dataset"] for found in said(stack, "corpus", "stale")["datasets"]]
    assert "Nothing to do" in stack.run("corpus", "refresh", name).stdout
    manifest = said(stack, "corpus", "policy", name, "on_append")
    assert manifest["embedding"]["refresh_policy"] == "on_append"
    ingest(client, name, {"a": "one", "d": "four"})
    wait_until(lambda: stale(client, name) == [])
    items = client.get(f"/v1/vectors/index/{name}/items").json()["items"]
    assert {item["id"] for item in items} == {"a", "d"}
    assert stack.run("corpus", "policy", name, "sometimes").returncode == 2


def said(stack: Stack, *arguments: str) -> Any:
    done = stack.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(240)
def test_a_refresh_that_is_killed_goes_on_by_itself_where_it_was(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up()
    rows = {f"r{number}": f"ticket number {number} of the night" for number in range(MANY)}
    with stack.client() as client:
        ingest(client, "tickets", {"r0": "ticket number 0 of the night", "gone": "nobody wants this"})
        build = {"corpus": "tickets", "dataset": "tickets", "id_column": "id", "text_columns": ["body"]}
        ended(client, post(client, "/v1/matrix/corpora/build", {**build, "batch_size": 16})["job"])
        ingest(client, "tickets", rows)
        job = post(client, "/v1/matrix/refresh/tickets", {})["job"]["id"]
        done = [0]

        def far_enough() -> bool:
            state = client.get(f"/v1/matrix/jobs/{job}").json()["job"]
            done[0] = state["done"]
            return bool(done[0] > MANY / 10)

        wait_until(far_enough)
        stack.kill()
    stack.up()
    with stack.client() as client:
        assert client.get(f"/v1/matrix/jobs/{job}").json()["job"]["state"] == "interrupted"
        assert stale(client, "tickets") == [["tickets"]]
        post(client, "/v1/catalog/embedding/tickets", {"embedding": {"refresh_policy": "on_append"}})
        wait_until(lambda: stale(client, "tickets") == [])
        last = ended(client, client.get("/v1/matrix/jobs").json()["jobs"][0])
        assert last["kind"] == "corpus.refresh"
        assert done[0] <= last["result"]["unchanged"] < MANY
        assert last["result"]["unchanged"] + last["result"]["embedded"] == MANY
        assert (last["result"]["failed"], last["result"]["removed"]) == (0, 1)
        assert client.get("/v1/vectors/index/tickets").json()["index"]["count"] == MANY
        assert refreshed(client, "tickets")["rows"] == 0
