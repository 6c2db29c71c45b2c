"""Index operations as a user meets them: over REST, on the command line, and with the power cut in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_until
from tests.e2e.test_cli import failed, said

DIMENSION = 16
SLOW = {"ef_construction": 400, "m": 32}


def vector(number: int) -> list[float]:
    return [float((number * step) % 97) for step in range(3, 3 + DIMENSION)]


def filled(client: httpx.Client, name: str, count: int) -> None:
    body = {"name": name, "dimension": DIMENSION, "metric": "l2"}
    assert client.post("/v1/vectors/index", json=body).status_code == 200
    for begin in range(0, count, 2000):
        items = [{"id": str(number), "vector": vector(number)} for number in range(begin, min(begin + 2000, count))]
        answer = client.post(f"/v1/vectors/index/{name}/add", json={"items": items})
        assert answer.status_code == 200, answer.text


def sent(client: httpx.Client, verb: str, path: str, **body: Any) -> Any:
    answer = client.request(verb, f"/v1/vectors/{path}", json=body if verb == "POST" else None)
    assert answer.status_code == 200, answer.text
    return answer.json()


def watched(client: httpx.Client, job: Any) -> Any:
    """The job at its end, from the stream of its states."""
    states = [update["job"] for update in client.get(f"/v1/vectors/jobs/{job['id']}/watch").json()]
    assert states[-1]["state"] == "succeeded", states[-1]
    return states[-1]


@pytest.mark.requirement("V10")
def test_every_operation_has_its_route(client: httpx.Client) -> None:
    filled(client, "rest-1", 300)
    assert sent(client, "POST", "aliases", name="rest live", index="rest-1")["created"] is True
    moved = sent(client, "POST", "index/rest live/rebuild", dest="rest-2", alias="rest live")
    assert watched(client, moved["job"])["result"]["alias"] == "rest live"
    assert sent(client, "GET", "index/rest live")["index"]["name"] == "rest-2"
    assert sent(client, "GET", "index/rest-2")["index"]["aliases"] == ["rest live"]
    assert sent(client, "POST", "aliases/rest live/rollback")["alias"]["index"] == "rest-1"
    assert [one["name"] for one in sent(client, "GET", "aliases")["aliases"]] == ["rest live"]
    refused = client.delete("/v1/vectors/index/rest-1")
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "INDEX_HAS_ALIAS")
    assert sent(client, "POST", "index/rest-1/evals", eval_set="mine", sample=20)["eval_set"]["size"] == 20
    assert len(sent(client, "GET", "index/rest-1/evals")["eval_sets"]) == 1
    tried = sent(client, "POST", "index/rest-1/trials", eval_set="mine", parameters={"ef_search": 30})
    trial = watched(client, tried["job"])["result"]["trial"]
    assert trial["eval_set"] == "mine"
    tuned = sent(client, "POST", "index/rest-1/autotune", grid=[{"ef_construction": 40, "ef_search": 50}])
    assert watched(client, tuned["job"])["result"]["winner"]["parameters"]["ef_search"] == 50
    assert [one["id"] for one in sent(client, "GET", "index/rest-1/trials?page_size=1")["trials"]] == ["00000002"]
    promoted = sent(client, "POST", "index/rest-1/promote", trial_id=trial["id"])
    watched(client, promoted["job"])
    assert len(sent(client, "GET", "index/rest-1/promotions")["promotions"]) == 1
    watched(client, sent(client, "POST", "index/rest-1/rollback")["job"])
    assert sent(client, "GET", "agent")["agent"]["enabled"] is False
    assert sent(client, "POST", "agent/run", name="rest-1")["step"]["action"] == "skipped"
    job = sent(client, "GET", "jobs?page_size=1")["jobs"][0]
    assert sent(client, "GET", f"jobs/{job['id']}")["job"] == job
    assert sent(client, "POST", f"jobs/{job['id']}/cancel")["job"] == job
    sent(client, "DELETE", "index/rest-1/evals/mine")
    sent(client, "DELETE", "aliases/rest live")
    for name in ("rest-1", "rest-2"):
        sent(client, "DELETE", f"index/{name}")


@pytest.mark.requirement("V10")
def test_an_index_is_looked_after_on_the_command_line(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    filled(client, "cli-1", 200)
    job = said(stack, "index", "rebuild", "cli-1", "--into", "cli-2", "--alias", "cli-live", "--m", "8")
    assert (job["state"], job["done"], job["unit"]) == ("succeeded", 200, "items")
    assert job["id"] in {one["id"] for one in said(stack, "jobs", "list")["jobs"]}
    assert "cli-2" in stack.run("index", "show", "cli-live").stdout
    assert said(stack, "index", "alias", "set", "cli-live", "cli-1")["alias"]["previous"] == ["cli-2"]
    queries = tmp_path / "queries.jsonl"
    queries.write_text("\n".join(json.dumps(vector(number)) for number in range(3)))
    made = said(stack, "index", "eval", "create", "cli-1", "mine", "--queries", str(queries), "--k", "3")
    assert (made["eval_set"]["size"], made["eval_set"]["origin"]) == (3, "given")
    shown = stack.run("index", "tune", "cli-live", "--try", "40/30", "--try", "80/60", "--eval", "mine").stdout
    assert "wins. Promote it: lakehouse index promote cli-live 0000000" in shown
    assert "\x1b" not in shown
    promoted = said(stack, "index", "promote", "cli-1", "00000002")
    assert (promoted["promotion"]["parameters"]["ef_search"], promoted["job"]["state"]) == (60, "succeeded")
    assert "promotion" not in said(stack, "index", "rollback", "cli-1")
    assert said(stack, "index", "agent", "--run", "cli-1")["step"]["action"] == "skipped"
    file = tmp_path / "cli.lhv1"
    assert said(stack, "index", "export", "cli-1", "--output", str(file))["size"] == file.stat().st_size
    assert said(stack, "index", "import", "cli-3", str(file))["index"]["count"] == 200
    refused = failed(stack, "index", "promote", "cli-1", "9")
    assert (refused["reason"], refused["hint"][:22]) == ("TRIAL_NOT_FOUND", "`lakehouse index trial")
    sent(client, "DELETE", "aliases/cli-live")
    for name in ("cli-1", "cli-2", "cli-3"):
        sent(client, "DELETE", f"index/{name}")


@pytest.mark.requirement("V10", "X11")
@pytest.mark.timeout(240)
def test_a_kill_during_a_rebuild_leaves_the_old_index_and_nothing_else(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(LAKEHOUSE_VECTOR_CONCURRENT_JOBS="2")
    stack.up()
    with stack.client() as client:
        for name in ("first", "second"):
            filled(client, name, 6000)
        sent(client, "POST", "aliases", name="live", index="first")
        jobs = [
            sent(client, "POST", f"index/{name}/rebuild", parameters=SLOW, **where)["job"]["id"]
            for name, where in (("first", {"dest": "new", "alias": "live"}), ("second", {}))
        ]
        wait_until(lambda: all(sent(client, "GET", f"jobs/{job}")["job"]["done"] > 0 for job in jobs))
    stack.kill()
    stack.up()
    with stack.client() as client:
        assert {sent(client, "GET", f"jobs/{job}")["job"]["state"] for job in jobs} == {"interrupted"}
        assert [one["name"] for one in sent(client, "GET", "index")["indexes"]] == ["first", "second"]
        assert sent(client, "GET", "index/live")["index"]["name"] == "first"
        for name in ("first", "second"):
            index = sent(client, "GET", f"index/{name}")["index"]
            assert (index["count"], index["parameters"]["m"], index["problems"]) == (6000, 16, [])
            search = {"vector": vector(77), "k": 1}
            assert sent(client, "POST", f"index/{name}/search", **search)["hits"][0]["distance"] == 0
