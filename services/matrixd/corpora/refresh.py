"""Refreshing a dataset's corpora: embedding what is new or changed since they were made (C5, M11)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from services.matrixd.corpora.build import Counts, Neighbours
from services.matrixd.corpora.builder import rows_failed
from services.matrixd.corpora.claims import Claims
from services.matrixd.corpora.corpora import CORPUS, CorpusInfo
from services.matrixd.corpora.datasets import Dataset
from services.matrixd.corpora.freshness import Freshness
from services.matrixd.corpora.passes import Passes, summary
from services.matrixd.corpora.plan import Plan, make_plan
from services.matrixd.corpora.recipe import first_recipe
from services.matrixd.corpora.records import Records
from services.matrixd.errors import CannotRefresh, CorpusNotFound
from services.runtime.errors import InvalidArgument
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs, Progress
from services.runtime.names import same_name

KIND = "corpus.refresh"


class Refresher:
    """Turns requests into jobs. A corpus is made as its last build made it."""

    def __init__(
        self,
        neighbours: Neighbours,
        jobs: Jobs,
        claims: Claims,
        passes: Passes,
        freshness: Freshness,
        records: Records,
    ) -> None:
        self._neighbours = neighbours
        self._jobs = jobs
        self._claims = claims
        self._passes = passes
        self._freshness = freshness
        self._records = records

    async def start(self, dataset_name: str, corpus: str = "") -> Job:
        """Starts the job that brings one corpus of a dataset up to date, or all of them that lag.

        Raises NotFound for the dataset, CorpusNotFound, InvalidArgument for a corpus of something else,
        CannotRefresh, BuildRunning.
        """
        dataset = await self._neighbours.datasets.get(dataset_name)
        asked = [await self._one(dataset, corpus)] if corpus else await self._freshness.corpora_of(dataset.name)
        if not asked:
            message = f"no corpus is made from dataset {dataset.name!r}: build one first"
            raise CorpusNotFound(message, dataset=dataset.name)
        lagging = [info for info in asked if self._freshness.lags(info, dataset)]
        plans = [(self._plan(info, dataset), info) for info in lagging]

        async def work(progress: Progress) -> dict[str, Any]:
            return await self._run(dataset.name, plans, asked, progress)

        with self._claims.starting([info.name for info in lagging]) as hand_over:
            total = dataset.rows * len(plans)
            job = await self._jobs.submit(KIND, dataset.name, unit="rows", total=total, work=work)
            hand_over(job)
            return job

    async def _one(self, dataset: Dataset, corpus: str) -> CorpusInfo:
        self._neighbours.corpora.forget([corpus])
        info = await self._neighbours.corpora.get(corpus)
        if info.properties.get("kind") != CORPUS or same_name(info.dataset) != same_name(dataset.name):
            made = f"from dataset {info.dataset!r}" if info.dataset else "from no dataset"
            raise InvalidArgument.of(
                "corpus", f"{info.name!r} is made {made}, not from {dataset.name!r}", corpus=corpus
            )
        return info

    def _plan(self, info: CorpusInfo, dataset: Dataset) -> Plan:
        record = self._records.get(info)
        recipe = record.recipe if record is not None else first_recipe(info)
        if recipe is None:
            raise CannotRefresh(f"how corpus {info.name!r} was made is not known: build it once more", corpus=info.name)
        try:
            return make_plan(recipe, dataset.columns)
        except InvalidArgument as error:
            message = f"corpus {info.name!r} no longer fits its dataset ({error.message}): build it again"
            raise CannotRefresh(message, corpus=info.name) from error

    async def _run(
        self,
        dataset: str,
        plans: Sequence[tuple[Plan, CorpusInfo]],
        asked: Sequence[CorpusInfo],
        progress: Progress,
    ) -> dict[str, Any]:
        begun = datetime.now(UTC)
        done: dict[str, Counts] = {}
        for plan, info in plans:
            # Each corpus is compared with the rows there are when its turn comes; the job may have waited long.
            if self._freshness.lags(info, await self._neighbours.datasets.get(dataset)):
                done[info.name] = await self._passes.run(plan, info, progress, new=False)
        result = {
            "dataset": dataset,
            **summary(_sum(done.values())),
            "corpora": [{"corpus": name, **summary(counts)} for name, counts in done.items()],
            "up_to_date": [info.name for info in asked if info.name not in done],
        }
        await self._freshness.mark(dataset, begun if done else None)
        if progress.failed:
            raise rows_failed(progress, result)
        return result


def _sum(all_counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for counts in all_counts:
        for name, value in asdict(counts).items():
            setattr(total, name, getattr(total, name) + value)
    return total
