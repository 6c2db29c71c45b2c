"""An index as one file over REST, as curl would fetch and send it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Stack


def post(client: httpx.Client, path: str, **body: object) -> httpx.Response:
    answer = client.post(path, **body)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer


@pytest.mark.requirement("V6", "X3")
def test_an_index_is_fetched_into_a_file_and_sent_back(client: httpx.Client, stack: Stack, tmp_path: Path) -> None:
    names = ("to fetch 50%", "fetched")
    items = [
        {"id": f"{row}", "vector": [row % 7 + 1.0, row % 11 + 1.0, *([1.0] * 62)], "metadata": {"row": row}}
        for row in range(5000)
    ]
    post(client, "/v1/vectors/index", json={"name": names[0], "dimension": 64, "metric": "l2"})
    try:
        for begin in range(0, 5000, 1000):
            post(client, f"/v1/vectors/index/{names[0]}/add", json={"items": items[begin : begin + 1000]})
        file = tmp_path / "index.lhv1"
        with client.stream("GET", f"/v1/vectors/index/{names[0]}/export") as answer, open(file, "wb") as out:
            assert answer.status_code == 200
            for piece in answer.iter_bytes():
                out.write(piece)
        # So a download that was cut is recognised by every client.
        assert answer.headers["content-length"] == str(file.stat().st_size)
        assert file.read_bytes()[:4] == b"LHV1"
        with open(file, "rb") as sent:
            made = post(client, f"/v1/vectors/index/{names[1]}/import", content=sent).json()["index"]
        assert (made["name"], made["count"], made["metric"]) == ("fetched", 5000, "l2")
        search = {"vector": items[1234]["vector"], "k": 3, "filter": {"equals": {"field": "row", "value": 1234}}}
        hits = [post(client, f"/v1/vectors/index/{name}/search", json=search).json()["hits"] for name in names]
        assert hits[0] == hits[1]
        assert hits[0][0]["id"] == "1234"
    finally:
        for name in names:
            client.delete(f"/v1/vectors/index/{name}")


@pytest.mark.requirement("V6", "X3")
def test_a_file_that_is_no_index_is_refused_over_rest(client: httpx.Client, stack: Stack) -> None:
    answer = client.post("/v1/vectors/index/nothing/import", content=b"id,name\n1,ana\n")
    assert answer.status_code == 400
    assert "NOT_LHV1" in answer.text
    cut = client.post("/v1/vectors/index/nothing/import", content=b"LHV1\x00\x00\x01\x00{")
    assert (cut.status_code, "DAMAGED_SEGMENT" in cut.text) == (400, True)
    assert client.get("/v1/vectors/index/nothing").status_code == 404
    assert client.get("/v1/vectors/index/nothing/export").status_code == 404
