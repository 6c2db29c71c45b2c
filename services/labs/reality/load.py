"""`lakehouse load`: so many callers, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from services.labs.queries import Query
from services.labs.reality.http import Connection, encoded

SEARCH, RECORD = "/v1/matrix/search", "/v1/matrix/playbooks/record"
PLAYBOOK = "reality_load"
WARM_UP = 1.0
"""Seconds of load before anything is counted."""
REPEATS = 5
K = 10


class Failed(Exception):
    """A step of a scenario did not do what it should."""


@dataclass(slots=True)
class Tally:
    """What one kind of scenario did."""

    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    """Why scenarios failed, and how often."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """One run of load."""

    tallies: dict[str, Tally]
    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by HTTP status; 0 is a lost connection."""
    per_second: Counter[int] = field(default_factory=Counter)
    """Scenarios that ended in each second."""
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Scenarios that ended, well or not."""
        return sum(len(tally.milliseconds) for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        """Scenarios that failed."""
        return sum(tally.failures.total() for tally in self.tallies.values())


class Caller:
    """One of the callers: a connection, and the steps that scenarios are made of."""

    def __init__(self, connection: Connection, corpora: Sequence[str], measured: Measured) -> None:
        self._connection = connection
        self._corpora = list(corpora)
        self._measured = measured

    async def search(self, query: Query, **options: Any) -> list[dict[str, Any]]:
        """Searches; returns the hits. Raises Failed."""
        body: dict[str, Any] = {"query_text": query.text, "corpora": self._corpora, "k": K, **options}
        if query.role:
            body["query_role"] = query.role
        hits: list[dict[str, Any]] = (await self._post(SEARCH, body))["hits"]
        return hits

    async def record(self, query: Query, hit: dict[str, Any]) -> None:
        """Records a hit as the right answer. Raises Failed."""
        body = {"query_text": query.text, "answer_id": hit["id"], "answer_corpus": hit["corpus"], "corpus": PLAYBOOK}
        await self._post(RECORD, {**body, **({"role": query.role} if query.role else {})})

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        status, answer = await self._connection.post(path, encoded(body))
        self._measured.statuses[status] += 1
        if not 200 <= status < 300:
            raise Failed(f"status {status}" if status else "connection lost")
        return json.loads(answer)


Work = Callable[[Caller, Query], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Something that callers do, and how often of a hundred times."""

    name: str
    weight: int
    work: Work
    left_out: str = ""
    """The steps that need daemons which are not there yet."""


async def _search(caller: Caller, query: Query) -> None:
    await caller.search(query)


async def _fill(caller: Caller, query: Query) -> None:
    hits = await caller.search(query, use_playbook=True, playbook_corpus=PLAYBOOK)
    if not hits:
        raise Failed("nothing found")
    await caller.record(query, hits[0])


async def _swap(caller: Caller, query: Query) -> None:
    before = [hit["id"] for hit in await caller.search(query, use_playbook=True, playbook_corpus=PLAYBOOK)]
    after = await caller.search(query, use_playbook=True, playbook_corpus=PLAYBOOK, exclude_ids=before)
    if {hit["id"] for hit in after} & set(before):
        raise Failed("a worker who was swapped out came back")


async def _repeat(caller: Caller, query: Query) -> None:
    first = await caller.search(query)
    for _ in range(REPEATS - 1):
        if [hit["id"] for hit in await caller.search(query)] != [hit["id"] for hit in first]:
            raise Failed("the same question got another answer")


async def _replay(caller: Caller, query: Query) -> None:
    hits = await caller.search(query)
    if not hits:
        raise Failed("nothing found")
    await caller.record(query, hits[0])
    again = await caller.search(query, use_playbook=True, playbook_corpus=PLAYBOOK)
    if all(hit["id"] != hits[0]["id"] for hit in again):
        raise Failed("a recorded answer was not found again")


SEARCHES = (Scenario(name="search", weight=100, work=_search),)
MULTITIER = (
    Scenario(name="search", weight=35, work=_search, left_out="writing and checking the e-mail"),
    Scenario(name="fill and record", weight=15, work=_fill, left_out="validating the fill"),
    Scenario(name="swap", weight=15, work=_swap),
    Scenario(name="repeat", weight=15, work=_repeat),
    Scenario(name="record and ask again", weight=10, work=_replay, left_out="replaying a session"),
)
LEFT_OUT = "sms (10 of 100): writing and checking a message needs daemons that this release does not have"


async def run(
    url: str,
    token: str | None,
    corpora: Sequence[str],
    queries: Sequence[Query],
    scenarios: Sequence[Scenario],
    *,
    callers: int,
    seconds: float,
    seed: int,
    told: Callable[[int], None],
) -> Measured:
    """Loads the mesh for some seconds after a warm-up; `told` learns now and then how many scenarios have ended."""
    parts = urlsplit(url)
    warming = Measured(tallies={scenario.name: Tally() for scenario in scenarios})
    measured = Measured(tallies={scenario.name: Tally() for scenario in scenarios})
    connections = [Connection(parts.hostname or "", parts.port or 80, token) for _ in range(callers)]
    try:
        await _round(connections, corpora, queries, scenarios, warming, min(WARM_UP, seconds), seed + 1, lambda n: None)
        await _round(connections, corpora, queries, scenarios, measured, seconds, seed, told)
    finally:
        for connection in connections:
            connection.close()
    return measured


async def _round(
    connections: Sequence[Connection],
    corpora: Sequence[str],
    queries: Sequence[Query],
    scenarios: Sequence[Scenario],
    measured: Measured,
    seconds: float,
    seed: int,
    told: Callable[[int], None],
) -> None:
    weights = [scenario.weight for scenario in scenarios]
    began = time.perf_counter()

    async def loop(number: int, connection: Connection) -> None:
        pick = random.Random(f"{seed} {number}")
        caller = Caller(connection, corpora, measured)
        turn = number
        while (start := time.perf_counter()) - began < seconds:
            scenario = pick.choices(scenarios, weights)[0]
            tally = measured.tallies[scenario.name]
            try:
                await scenario.work(caller, queries[turn % len(queries)])
            except Failed as failure:
                tally.failures[str(failure)] += 1
            now = time.perf_counter()
            tally.milliseconds.append(1000 * (now - start))
            measured.per_second[int(now - began)] += 1
            turn += 1
            if number == 0:
                told(measured.done)

    async with asyncio.TaskGroup() as group:
        for number, connection in enumerate(connections):
            group.create_task(loop(number, connection))
    measured.seconds = time.perf_counter() - began
