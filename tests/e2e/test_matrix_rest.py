"""Hybrid search, conditions, the guard and undo through the edge."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

ROWS = [
    ("id", "bio", "city"),
    *(
        (n, f"forklift operator {word}", city)
        for n, (word, city) in enumerate(
            (word, city) for word in ("zebra", "quagga", "okapi") for city in ("Detroit", "Toledo")
        )
    ),
]
ASKED = "Need 3 forklift operators in Detroit"


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.requirement("M6", "M14", "X1")
def test_a_guarded_hybrid_search_with_a_condition_through_the_edge(client: httpx.Client) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(ROWS)
    files = {"file": ("forklifts.csv", text.getvalue().encode())}
    assert client.post("/v1/ingest", params={"name": "forklifts"}, files=files).status_code == 200
    build = {
        "corpus": "forklifts",
        "dataset": "forklifts",
        "id_column": "id",
        "text_columns": ["bio"],
        "id_prefix": "f-",
    }
    job = post(client, "/v1/matrix/corpora/build", **build)["job"]
    with client.stream("GET", f"/v1/matrix/jobs/{job['id']}/watch") as states:
        assert '"succeeded"' in states.read().decode()
    asked: dict[str, Any] = {"corpora": ["forklifts"], "query_text": "okapi", "retrieval": "hybrid"}
    found = post(client, "/v1/matrix/search", where="city = 'Toledo'", explain=True, **asked)
    assert found["hits"][0]["id"] == "f-5"
    assert {hit["metadata"]["city"] for hit in found["hits"]} == {"Toledo"}
    assert found["hits"][0]["explanation"]["lexical_rank"] == 0
    record = {"query_text": ASKED, "answer_id": "f-2", "answer_corpus": "forklifts", "corpus": "edge"}
    entry = post(client, "/v1/matrix/playbooks/record", **record)["playbook_id"]
    warm: dict[str, Any] = {"corpora": ["forklifts"], "use_playbook": True, "playbook_corpus": "edge"}
    assert post(client, "/v1/matrix/search", query_text=ASKED, **warm)["boosted"] == 1
    other = ASKED.replace("Detroit", "Toledo")
    assert post(client, "/v1/matrix/search", query_text=other, **warm)["boosted"] == 0
    assert post(client, "/v1/matrix/search", query_text=other, constraint_guard=False, **warm)["boosted"] == 1
    undone = client.delete(f"/v1/matrix/playbooks/{entry}", params={"corpus": "edge"})
    assert undone.json()["playbook"]["query_text"] == ASKED
    assert client.get("/v1/matrix/tuning").json()["tuning"]["retrieval"] == "dense"
