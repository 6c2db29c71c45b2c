"""One corpus brought in line with its dataset, from a plan to the record that says so (M11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.matrixd.corpora.build import Build, Counts, Neighbours, Target
from services.matrixd.corpora.corpora import CorpusInfo
from services.matrixd.corpora.freshness import Freshness
from services.matrixd.corpora.plan import Plan
from services.matrixd.corpora.recipe import recipe_of
from services.matrixd.corpora.records import Record, Records
from services.matrixd.retrieval.lexicons import Lexicons
from services.runtime.jobs.jobs import Progress
from services.runtime.threads import Threads


class Passes:
    """Runs passes. Nothing is written down as fresh before it is."""

    def __init__(
        self,
        neighbours: Neighbours,
        records: Records,
        freshness: Freshness,
        *,
        threads: Threads,
        scratch: Path,
        in_flight: int,
        lexicons: Lexicons,
        changed: Callable[[str], None],
    ) -> None:
        """`scratch` is a directory for rows on their way; `in_flight` batches of a pass are worked on at once.

        `changed` is told the name of a corpus whose items have come or gone.
        """
        self._neighbours = neighbours
        self._records = records
        self._freshness = freshness
        self._threads = threads
        self._scratch = scratch
        self._in_flight = in_flight
        self._lexicons = lexicons
        self._changed = changed

    async def run(self, plan: Plan, info: CorpusInfo, progress: Progress, *, new: bool) -> Counts:
        """Brings a corpus, which is there, in line with its dataset; `new` promises that it is empty.

        Rows that cannot be embedded are counted, and leave the corpus lagging; so does a dataset that
        changes meanwhile. Raises what Build.run raises.
        """
        datasets = self._neighbours.datasets
        before = await datasets.settled(plan.dataset)
        record = await self._begin(plan, info)
        # A first build beside fresh corpora, or one with a new recipe: were it killed, nobody else would tell.
        await self._freshness.mark(plan.dataset)
        ledger = await self._threads.run(self._records.ledger, info)
        words = await self._lexicons.begin(info)
        through = False
        try:
            build = Build(
                plan,
                Target(model=info.model, dimension=info.dimension, new=new),
                self._neighbours,
                ledger,
                threads=self._threads,
                scratch=self._scratch,
                in_flight=self._in_flight,
                words=words,
            )
            counts = await build.run(progress)
            through = True
        finally:
            await self._lexicons.end(info, words, complete=through)
            await self._threads.run(ledger.close)
        if not new and (counts.removed or counts.embedded):
            self._changed(info.name)
        after = await datasets.get(plan.dataset)
        if not counts.failed and after.content == before.content:
            await self._threads.run(self._records.save, replace(record, rows=before.content))
        return counts

    async def _begin(self, plan: Plan, info: CorpusInfo) -> Record:
        """The record of a corpus, with the recipe that holds from now on."""
        recipe = recipe_of(plan, info.model)
        known = self._records.get(info)
        if known is not None and known.recipe == recipe:
            return known
        # Until this pass is through, items made in two ways stand side by side.
        record = Record(corpus=info.name, identity=info.identity, recipe=recipe)
        await self._threads.run(self._records.save, record)
        return record


def summary(counts: Counts) -> dict[str, Any]:
    """What a job tells of a pass."""
    return {**asdict(counts), "items": counts.items}
