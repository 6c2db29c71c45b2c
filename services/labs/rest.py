"""The mesh as any program sees it: REST through the gateway, with nothing but an HTTP client.

Paths and fields are those of the contracts. An error answer is rebuilt as the same ServiceError
class that the daemon raised.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
from google.protobuf import json_format
from google.rpc import status_pb2

from services.runtime.errors import CODE_FROM_NUMBER, DeadlineExceeded, ServiceError, Unavailable, from_status

Json = dict[str, Any]
Progress = Callable[[int, int], None]
"""Told what is done and how much there is, in bytes or in units of a job."""

_PIECE = 1 << 18
ENDED = frozenset({"succeeded", "failed", "cancelled", "interrupted"})
"""States of a job that has come to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One item found by a search."""

    id: str
    corpus: str
    distance: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer to a search, nearest hit first."""

    hits: tuple[Hit, ...]
    boosted: int
    injected: int

    def rank(self, item: str) -> int | None:
        """Where an item stands, counted from 0; None when it is not among the hits."""
        return next((rank for rank, hit in enumerate(self.hits) if hit.id == item), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer to a SQL statement."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class RestClient:
    """A handful of REST calls; use it as an async context manager. Raises ServiceError."""

    def __init__(self, base_url: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout)

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ingest(self, path: Path, name: str, progress: Progress) -> Json:
        """Streams a CSV file as a dataset (`POST /v1/ingest?name=`); returns what the daemon made of it."""
        size = os.path.getsize(path)  # noqa: ASYNC240 - one look at the directory
        headers = {"content-type": "text/csv", "content-length": str(size)}
        parameters = {"name": name, "format": "csv", "file_name": path.name}
        body = _pieces(path, lambda sent: progress(sent, size))
        return await self._call("POST", "/v1/ingest", params=parameters, headers=headers, content=body, timeout=900.0)

    async def sql(self, statement: str) -> Table:
        """Runs one SELECT (`POST /v1/sql`)."""
        answer = await self._call("POST", "/v1/sql", json={"sql": statement})
        return Table(
            columns=tuple(column["name"] for column in answer["columns"]),
            types=tuple(column["type"] for column in answer["columns"]),
            rows=tuple(tuple(row) for row in answer["rows"]),
        )

    async def build_corpus(self, request: Json, progress: Progress) -> Json:
        """Starts a corpus job (`POST /v1/matrix/corpora/build`) and follows it to its end; returns the job.

        Rows that could not be embedded are no error as long as there are others; `failed` counts them.
        """
        job: Json = (await self._call("POST", "/v1/matrix/corpora/build", json=request))["job"]
        while job["state"] not in ENDED:
            progress(job.get("done", 0), job.get("total") or 0)
            await asyncio.sleep(0.1)
            job = (await self._call("GET", f"/v1/matrix/jobs/{quote(job['id'], safe='')}"))["job"]
        if job["state"] != "succeeded":
            error = job_error(job)
            if error.reason != "ROWS_FAILED" or job["failed"] >= job["done"]:
                raise error
        progress(job["done"], job["done"])
        return job

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Returns one vector for each text (`POST /v1/embed`)."""
        answer = await self._call("POST", "/v1/embed", json={"texts": list(texts)})
        return [embedding["values"] for embedding in answer["embeddings"]]

    async def search(self, request: Json) -> Found:
        """Searches corpora (`POST /v1/matrix/search`)."""
        answer = await self._call("POST", "/v1/matrix/search", json=request)
        hits = tuple(
            Hit(id=hit["id"], corpus=hit["corpus"], distance=hit["distance"], metadata=hit.get("metadata") or {})
            for hit in answer["hits"]
        )
        return Found(hits=hits, boosted=answer["boosted"], injected=answer["injected"])

    async def record(self, request: Json) -> str:
        """Records an answer for a question (`POST /v1/matrix/playbooks/record`); returns the playbook_id."""
        answer = await self._call("POST", "/v1/matrix/playbooks/record", json=request)
        return str(answer["playbook_id"])

    async def _call(self, method: str, path: str, **options: Any) -> Json:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{method} {path}: no answer in time", method=method, path=path) from error
        except httpx.TransportError as error:
            raise Unavailable(f"{method} {path}: the gateway does not answer", method=method, path=path) from error
        if response.is_success:
            answer: Json = response.json()
            return answer
        raise _error_from(response)


async def _pieces(path: Path, told: Callable[[int], None]) -> AsyncIterator[bytes]:
    sent = 0
    # Reading a piece from the page cache takes microseconds, so it is done inline.
    with open(path, "rb") as file:  # noqa: ASYNC230
        while piece := file.read(_PIECE):
            yield piece
            sent += len(piece)
            told(sent)


def _error_from(response: httpx.Response) -> ServiceError:
    try:
        status = json_format.Parse(response.text, status_pb2.Status(), ignore_unknown_fields=True)
        code = CODE_FROM_NUMBER[status.code]
    except (json_format.ParseError, KeyError):
        return Unavailable(f"the gateway answered {response.status_code}", http_status=response.status_code)
    return from_status(code, status.message, status.SerializeToString())


def job_error(job: Json) -> ServiceError:
    """The error that a job ended with."""
    status = json_format.ParseDict(job.get("error") or {}, status_pb2.Status(), ignore_unknown_fields=True)
    if status.code in CODE_FROM_NUMBER and status.code != 0:
        return from_status(CODE_FROM_NUMBER[status.code], status.message, status.SerializeToString())
    details = " ".join(job.get("failures") or ())
    return Unavailable(f"the job ended as {job['state']}. {details}".strip(), state=job["state"])
