"""The calls that reality tests make beyond those of the demonstration, over REST like any program's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from services.labs.rest import ENDED, Hit, Json, RestClient, job_error
from services.runtime.errors import NotFound

S = TypeVar("S")
T = TypeVar("T")

AT_ONCE = 8
"""Calls under way at a time where their order does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked(Hit):
    """A hit with what was explained about it."""

    playbook_id: str = ""
    """The playbook entry that moved it; empty when none did."""
    injected: bool = False
    boost_factor: float = 1.0
    cold_rank: int | None = None

    @property
    def moved(self) -> bool:
        """Whether a playbook entry had a part in where it stands."""
        return self.injected or (bool(self.playbook_id) and self.boost_factor != 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a search found, nearest first."""

    hits: tuple[Ranked, ...]
    boosted: int = 0
    injected: int = 0
    per_corpus: Mapping[str, int] = field(default_factory=dict)
    stretch: bool | None = None
    """Whether the mesh calls even the best hit far-fetched; None when it does not say."""
    constraints: tuple[Mapping[str, Any], ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids in order."""
        return tuple(hit.id for hit in self.hits)

    def rank(self, item: str) -> int | None:
        """Where an item stands, counted from 0; None when it is not among the hits."""
        return next((rank for rank, hit in enumerate(self.hits) if hit.id == item), None)


class MatrixClient(RestClient):
    """Searches with explanations, playbooks, ratings, and what the tests put up and take down."""

    async def __aenter__(self) -> MatrixClient:
        return self

    @property
    def base_url(self) -> str:
        """Where the gateway is."""
        return str(self._http.base_url)

    async def ask(self, request: Json) -> Answer:
        """Searches with an explanation (`POST /v1/matrix/search`)."""
        answer = await self._call("POST", "/v1/matrix/search", json={"explain": True, **request})
        return Answer(
            hits=tuple(_hit(hit) for hit in answer["hits"]),
            boosted=answer["boosted"],
            injected=answer["injected"],
            per_corpus=answer["per_corpus_counts"],
            stretch=answer.get("stretch"),
            constraints=tuple(answer.get("constraints") or ()),
        )

    async def record_all(self, entries: Sequence[Json], playbook: str) -> list[str]:
        """Records entries (`POST /v1/matrix/playbooks/bulk`); returns an id for each, empty when it was refused."""
        if not entries:
            return []
        request = {"entries": list(entries), "corpus": playbook}
        answer = await self._call("POST", "/v1/matrix/playbooks/bulk", json=request)
        return [result.get("playbook_id") or "" for result in answer["results"]]

    async def rate(self, text: str, corpus: str, ids: Sequence[str], expected: Mapping[str, Any]) -> list[int | None]:
        """Rates answers by the mesh's rubric (`POST /v1/matrix/rate`)."""
        judge = {"judge": "rubric", "expected": dict(expected)}
        request = {"query_text": text, "corpus": corpus, "ids": list(ids), "judge": judge}
        answer = await self._call("POST", "/v1/matrix/rate", json=request)
        return [rated.get("rating") for rated in answer["ratings"]]

    async def merge_playbooks(self, source: str, dest: str, *, clear_source: bool = False) -> Json:
        """Copies the entries of one playbook into another (`POST /v1/matrix/playbooks/merge`)."""
        request = {"source": source, "dest": dest, "clear_source": clear_source}
        return await self._call("POST", "/v1/matrix/playbooks/merge", json=request)

    async def corpora(self) -> list[Json]:
        """Lists the corpora (`GET /v1/matrix/corpora`)."""
        return list((await self._call("GET", "/v1/matrix/corpora", params={"page_size": 1000}))["corpora"])

    async def index(self, name: str) -> Json:
        """Describes an index (`GET /v1/vectors/index/{name}`)."""
        found: Json = (await self._call("GET", f"/v1/vectors/index/{quote(name, safe='')}"))["index"]
        return found

    async def rebuild(self, name: str, parameters: Json) -> None:
        """Builds an index's graph anew and waits for it (`POST /v1/vectors/index/{name}/rebuild`)."""
        body = {"parameters": parameters}
        job: Json = (await self._call("POST", f"/v1/vectors/index/{quote(name, safe='')}/rebuild", json=body))["job"]
        while job["state"] not in ENDED:
            await asyncio.sleep(0.1)
            job = (await self._call("GET", f"/v1/vectors/jobs/{quote(job['id'], safe='')}"))["job"]
        if job["state"] != "succeeded":
            raise job_error(job)

    async def drop_index(self, name: str) -> None:
        """Removes an index, or a playbook, if there is one (`DELETE /v1/vectors/index/{name}`)."""
        try:
            await self._call("DELETE", f"/v1/vectors/index/{quote(name, safe='')}")
        except NotFound:
            return

    async def drop_dataset(self, name: str) -> None:
        """Removes a dataset if there is one (`DELETE /v1/catalog/manifest/{name}`)."""
        try:
            await self._call("DELETE", f"/v1/catalog/manifest/{quote(name, safe='')}")
        except NotFound:
            return


async def each(call: Callable[[S], Awaitable[T]], over: Sequence[S]) -> list[T]:
    """Calls for each of a sequence, a few at a time; results in its order. The first failure ends it."""
    results: dict[int, T] = {}
    waiting = iter(enumerate(over))

    async def worker() -> None:
        for place, item in waiting:
            results[place] = await call(item)

    workers = [asyncio.create_task(worker()) for _ in range(min(AT_ONCE, len(over)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
    return [results[place] for place in range(len(over))]


def _hit(hit: Json) -> Ranked:
    why = hit.get("explanation") or {}
    return Ranked(
        id=hit["id"],
        corpus=hit["corpus"],
        distance=hit["distance"],
        metadata=hit.get("metadata") or {},
        playbook_id=why.get("playbook_id") or "",
        injected=bool(why.get("injected")),
        boost_factor=why.get("boost_factor") or 1.0,
        cold_rank=why.get("cold_rank"),
    )
