"""Which corpora lag behind their dataset, and what the catalog is told about it (C5, M11).

The catalog knows one state for a dataset; a dataset may have several corpora. It is fresh when none of
them lags. Which rows are in a corpus is written down only when a pass over just these rows is through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.matrixd.corpora.corpora import CORPUS, Corpora, CorpusInfo
from services.matrixd.corpora.datasets import Dataset, Datasets
from services.matrixd.corpora.records import Records
from services.runtime.names import same_name


@dataclass(frozen=True, slots=True)
class Stale:
    """A dataset that lags behind, and those of its corpora that do."""

    dataset: Dataset
    since: datetime
    corpora: tuple[str, ...]


class Freshness:
    """Compares what is in the corpora with what is in the datasets."""

    def __init__(self, corpora: Corpora, datasets: Datasets, records: Records) -> None:
        self._corpora = corpora
        self._datasets = datasets
        self._records = records
        self._marking = asyncio.Lock()

    def lags(self, info: CorpusInfo, dataset: Dataset) -> bool:
        """Whether rows of the dataset may be missing from a corpus of it."""
        record = self._records.get(info)
        return record is None or record.rows != dataset.content

    async def corpora_of(self, dataset: str) -> list[CorpusInfo]:
        """The corpora that were made from a dataset."""
        return made_from(dataset, await self._corpora.all())

    async def stale(self) -> list[Stale]:
        """The stale datasets, longest stale first, with the corpora that lag. Reads every manifest and index."""
        datasets = [dataset async for dataset in self._datasets.all()]
        infos = await self._corpora.all()
        found = []
        for dataset in datasets:
            if dataset.stale_since is not None:
                lagging = [info.name for info in made_from(dataset.name, infos) if self.lags(info, dataset)]
                found.append(Stale(dataset, dataset.stale_since, tuple(lagging)))
        return sorted(found, key=lambda stale: (stale.since, stale.dataset.name))

    async def tidy(self) -> None:
        """Forgets the corpora that are no longer there."""
        recorded = self._records.names()
        there = {same_name(info.name) for info in await self._corpora.all()}
        self._records.remove(name for name in recorded if same_name(name) not in there)

    async def mark(self, name: str, embedded_at: datetime | None = None) -> None:
        """Tells the catalog how far a dataset is embedded; `embedded_at` is when, if something just was.

        While a corpus lags, whatever the reason, the dataset is stale.
        """
        async with self._marking:
            dataset = await self._datasets.get(name)
            infos = await self.corpora_of(dataset.name)
            lagging = any(self.lags(info, dataset) for info in infos)
            at = embedded_at or dataset.embedded_at
            if at is None and (lagging or not infos):
                return  # never embedded, as far as anybody knows
            if embedded_at is None and dataset.embedded_at and bool(dataset.stale_since) == lagging:
                return
            now = datetime.now(UTC)
            since = (dataset.stale_since or now) if lagging else None
            await self._datasets.mark_embedded(dataset, at or now, stale_since=since)


def made_from(dataset: str, infos: Sequence[CorpusInfo]) -> list[CorpusInfo]:
    """Those of some corpora that were made from a dataset."""
    name = same_name(dataset)
    return [info for info in infos if info.properties.get("kind") == CORPUS and same_name(info.dataset) == name]
