"""The rows to embed: every call to catalogd and queryd is here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from lakehouse.catalog.v1 import catalog_pb2
from lakehouse.query.v1 import query_pb2

from services.runtime.errors import NotFound, Unavailable

# A change of some dataset that is being written takes milliseconds; so many seconds are an outage.
_SETTLE_SECONDS, _SETTLE_STEP = 10.0, 0.05


class CatalogStub(Protocol):
    """The methods of catalogd that matrixd calls."""

    def GetManifest(self, request: catalog_pb2.GetManifestRequest) -> Awaitable[catalog_pb2.GetManifestResponse]: ...
    def GetVersion(self, request: catalog_pb2.GetVersionRequest) -> Awaitable[catalog_pb2.GetVersionResponse]: ...
    def ListDatasets(self, request: catalog_pb2.ListDatasetsRequest) -> Awaitable[catalog_pb2.ListDatasetsResponse]: ...
    def SetEmbeddingState(
        self, request: catalog_pb2.SetEmbeddingStateRequest
    ) -> Awaitable[catalog_pb2.SetEmbeddingStateResponse]: ...


class QueryStub(Protocol):
    """The methods of queryd that matrixd calls."""

    def QueryArrow(self, request: query_pb2.QueryArrowRequest) -> AsyncIterable[query_pb2.QueryArrowResponse]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What embedding needs to know of a dataset. `version` is the catalog version of this state.

    `content` names the state of its rows: equal contents are equal rows.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    version: int
    content: str
    refresh_policy: str = "manual"
    embedded_at: datetime | None = None
    stale_since: datetime | None = None


class Datasets:
    """Calls catalogd and queryd."""

    def __init__(self, catalog: CatalogStub, query: QueryStub) -> None:
        self._catalog = catalog
        self._query = query

    async def get(self, name: str) -> Dataset:
        """What is known of a dataset. Raises NotFound (DATASET_NOT_FOUND)."""
        return _dataset((await self._catalog.GetManifest(catalog_pb2.GetManifestRequest(name=name))).manifest)

    async def version_of(self, name: str) -> int:
        """The version of a dataset; 0 for an empty name and for a dataset that is not there."""
        try:
            return (await self.get(name)).version if name else 0
        except NotFound:
            return 0

    async def settled(self, name: str) -> Dataset:
        """What is known of a dataset that every reader of the catalog knows by now.

        A manifest can be seen before the catalog's version says so, and queryd follows the version: what
        it reads after this is not older than what is returned. Raises NotFound, Unavailable.
        """
        for _ in range(int(_SETTLE_SECONDS / _SETTLE_STEP)):
            dataset = await self.get(name)
            if await self.version() >= dataset.version:
                return dataset
            await asyncio.sleep(_SETTLE_STEP)
        raise Unavailable("a change of the catalog has been under way for too long: try again later")

    async def version(self) -> int:
        """The present version of the catalog. Cheap."""
        return (await self._catalog.GetVersion(catalog_pb2.GetVersionRequest())).version

    async def all(self) -> AsyncIterator[Dataset]:
        """Every dataset, in the order of names."""
        token = ""
        while True:
            request = catalog_pb2.ListDatasetsRequest(page_size=1_000, page_token=token)
            response = await self._catalog.ListDatasets(request)
            for manifest in response.datasets:
                yield _dataset(manifest)
            token = response.next_page_token
            if not token:
                return

    async def read(self, sql: str, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Runs a SELECT and hands its answer, an Arrow IPC stream, to `write` piece by piece."""
        async for response in self._query.QueryArrow(query_pb2.QueryArrowRequest(sql=sql)):
            await write(response.data.data)

    async def mark_embedded(self, dataset: Dataset, at: datetime, *, stale_since: datetime | None) -> None:
        """Tells catalogd that a dataset was embedded: wholly in this version, or so that it is stale nevertheless.

        Rows that came later than this version leave the dataset stale in any case.
        """
        state = catalog_pb2.EmbeddingState()
        state.last_embedded_at.FromDatetime(at)
        if stale_since is not None:
            state.stale_since.FromDatetime(stale_since)
        else:
            state.embedded_version = dataset.version
        await self._catalog.SetEmbeddingState(catalog_pb2.SetEmbeddingStateRequest(name=dataset.name, embedding=state))


def _dataset(manifest: catalog_pb2.Manifest) -> Dataset:
    state = manifest.embedding
    return Dataset(
        name=manifest.name,
        columns=tuple(column.name for column in manifest.columns),
        rows=manifest.row_count,
        version=manifest.version,
        content=_content(manifest),
        refresh_policy=state.refresh_policy or "manual",
        embedded_at=state.last_embedded_at.ToDatetime(UTC) if state.HasField("last_embedded_at") else None,
        stale_since=state.stale_since.ToDatetime(UTC) if state.HasField("stale_since") else None,
    )


def _content(manifest: catalog_pb2.Manifest) -> str:
    # Not the version: a new refresh policy has one too. Objects are immutable, so they name the rows.
    parts = [(part.key, part.sha256, part.size, part.row_count) for part in manifest.objects]
    return hashlib.sha256(repr((manifest.schema_fingerprint, parts)).encode()).hexdigest()
