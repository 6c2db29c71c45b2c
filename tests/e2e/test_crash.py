"""kill -9 in the middle of ingests, adds and records: what was acknowledged is there when the mesh comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_until

ROUNDS = 3
DIMENSION = 16
BUSY = 12


def vector(number: int) -> list[float]:
    return [1.0 + (number * step) % 17 for step in range(1, DIMENSION + 1)]


class Writer(threading.Thread):
    """Writes until the mesh goes away; remembers what was acknowledged and what was tried."""

    def __init__(self, stack: Stack, write: Callable[[httpx.Client, int], None], begin: int) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._write = write
        self._begin = begin
        self.acknowledged: list[int] = []
        self.tried: list[int] = []

    def run(self) -> None:
        with self._stack.client() as client:
            for number in range(self._begin, self._begin + 10_000):
                self.tried.append(number)
                try:
                    self._write(client, number)
                except httpx.HTTPError:
                    return
                self.acknowledged.append(number)


def post(client: httpx.Client, path: str, **body: object) -> httpx.Response:
    answer = client.post(path, **body)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer


def ingest(client: httpx.Client, number: int) -> None:
    post(client, "/v1/ingest", params={"name": f"set {number}"}, content=f"id,n\na,{number}\nb,{number}\n")


def add(client: httpx.Client, number: int) -> None:
    items = [
        {"id": f"{number}-{part}", "vector": vector(number + part), "metadata": {"n": number}} for part in (0, 1, 2)
    ]
    post(client, "/v1/vectors/index/items/add", json={"items": items})


def put(client: httpx.Client, number: int) -> None:
    client.put(f"/v1/storage/buckets/primary/objects/crash/{number}", content=b"%d" % number * 1000).raise_for_status()


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_when_the_mesh_is_killed(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up()
    with stack.client() as client:
        post(client, "/v1/vectors/index", json={"name": "items", "dimension": DIMENSION, "metric": "l2"})
    done: dict[str, tuple[set[int], set[int]]] = {name: (set(), set()) for name in ("ingest", "add", "put")}
    for number in range(ROUNDS):
        begin = number * 100_000
        writers = {
            name: Writer(stack, write, begin) for name, write in (("ingest", ingest), ("add", add), ("put", put))
        }
        for writer in writers.values():
            writer.start()
        wait_until(lambda: all(len(writer.acknowledged) >= BUSY for writer in writers.values()))  # noqa: B023
        stack.kill()
        for name, writer in writers.items():
            writer.join(30)
            done[name][0].update(writer.acknowledged)
            done[name][1].update(writer.tried)
        stack.up()
        with stack.client() as client:
            check_datasets(client, *done["ingest"])
            check_items(client, *done["add"])
            check_objects(client, done["put"][0])


def check_datasets(client: httpx.Client, acknowledged: set[int], tried: set[int]) -> None:
    found: dict[str, int] = {}
    token = ""
    while True:
        page = client.get("/v1/catalog/list", params={"page_size": 1000, "page_token": token}).json()
        found |= {dataset["name"]: dataset["row_count"] for dataset in page["datasets"]}
        token = page["next_page_token"]
        if not token:
            break
    assert {f"set {number}" for number in acknowledged} <= found.keys() <= {f"set {number}" for number in tried}
    assert set(found.values()) == {2}
    for number in sorted(acknowledged)[-3:]:
        answer = post(client, "/v1/sql", json={"sql": f'select n, count(*) from "set {number}" group by n'})
        assert answer.json()["rows"] == [[number, 2]]


def check_items(client: httpx.Client, acknowledged: set[int], tried: set[int]) -> None:
    found: dict[str, int] = {}
    token = ""
    while True:
        parameters: dict[str, str | int] = {"page_size": 10_000, "page_token": token}
        page = client.get("/v1/vectors/index/items/items", params=parameters).json()
        for item in page["items"]:
            assert item["id"] not in found
            found[item["id"]] = item["metadata"]["n"]
        token = page["next_page_token"]
        if not token:
            break
    batches = {number: [f"{number}-{part}" in found for part in (0, 1, 2)] for number in tried}
    assert all(all(batches[number]) for number in acknowledged)
    assert all(all(batch) or not any(batch) for batch in batches.values()), "half a batch"
    assert len(found) == sum(map(sum, batches.values())), "items that nobody added"
    number = max(acknowledged)
    search = {"vector": vector(number), "k": 1}
    (hit,) = post(client, "/v1/vectors/index/items/search", json=search).json()["hits"]
    assert hit["distance"] == pytest.approx(0, abs=1e-6)


def check_objects(client: httpx.Client, acknowledged: set[int]) -> None:
    for number in sorted(acknowledged)[-5:]:
        answer = client.get(f"/v1/storage/buckets/primary/objects/crash/{number}")
        assert answer.content == b"%d" % number * 1000
    listing = client.get("/v1/storage/buckets/primary/list", params={"prefix": "crash/", "page_size": 10_000}).json()
    assert {f"crash/{number}" for number in acknowledged} <= {entry["key"] for entry in listing["objects"]}
