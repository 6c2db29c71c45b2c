"""kill -9 while an index on Lance takes writes and moves: nothing acknowledged is lost, and one whole index is left."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_until
from tests.e2e.test_crash import DIMENSION, Writer, add, check_items, post

BUSY = 12
SEED = 2000


def fill(client: httpx.Client) -> None:
    """More than the hot segment holds, so that the table is written to."""
    items = [
        {"id": f"seed-{number:05d}", "vector": [float(number)] * DIMENSION, "metadata": {"n": number}}
        for number in range(SEED)
    ]
    post(client, "/v1/vectors/index/moved/add", json={"items": items})


@pytest.mark.timeout(180)
@pytest.mark.requirement("V6", "V10")
def test_nothing_acknowledged_is_lost_when_the_mesh_is_killed(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up()
    with stack.client() as client:
        for name, backend in (("items", "lance"), ("moved", "memory")):
            index = {"name": name, "dimension": DIMENSION, "metric": "l2", "backend": backend}
            post(client, "/v1/vectors/index", json=index)
        fill(client)
    acknowledged: set[int] = set()
    tried: set[int] = set()
    for number, backend in enumerate(("lance", "memory")):
        writer = Writer(stack, add, number * 100_000)
        writer.start()
        with stack.client() as client:
            post(client, "/v1/vectors/index/moved/migrate", json={"backend": backend})
        wait_until(lambda: len(writer.acknowledged) >= BUSY)  # noqa: B023
        stack.kill()
        writer.join(30)
        acknowledged.update(writer.acknowledged)
        tried.update(writer.tried)
        stack.up()
        with stack.client() as client:
            check_items(client, acknowledged, tried)
            index = client.get("/v1/vectors/index/moved").json()["index"]
            assert index["count"] == SEED
            assert index["problems"] == []
            page = client.get("/v1/vectors/index/moved/items", params={"page_size": 10_000}).json()
            assert [item["id"] for item in page["items"]] == [f"seed-{n:05d}" for n in range(SEED)]
