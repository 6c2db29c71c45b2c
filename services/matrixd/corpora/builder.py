"""Accepting builds: what must be true before a job begins (M11)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.build import Neighbours
from services.matrixd.corpora.claims import Claims
from services.matrixd.corpora.corpora import CORPUS, CorpusInfo
from services.matrixd.corpora.datasets import Dataset
from services.matrixd.corpora.freshness import Freshness
from services.matrixd.corpora.passes import Passes, summary
from services.matrixd.corpora.plan import DEFAULT_STORAGE, BuildRequest, Plan, make_plan
from services.matrixd.corpora.sql import select_columns
from services.matrixd.corpora.texts import Vectors
from services.matrixd.corpora.values import as_text
from services.matrixd.errors import CorpusConflict, RowsFailed, SharedIds
from services.runtime.errors import Violation
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs, Progress
from services.runtime.names import same_name

KIND = "corpus.build"
_SAMPLE = 1_000


class Builder:
    """Turns requests into jobs."""

    def __init__(
        self, neighbours: Neighbours, jobs: Jobs, claims: Claims, passes: Passes, freshness: Freshness
    ) -> None:
        self._neighbours = neighbours
        self._jobs = jobs
        self._claims = claims
        self._passes = passes
        self._freshness = freshness

    async def start(self, request: BuildRequest) -> Job:
        """Checks a request, creates the corpus where it is new, and starts the job.

        Raises InvalidArgument, SharedIds, NotFound for dataset or model, CorpusConflict, BuildRunning.
        """
        # One corpus may be meant by several names: cases, aliases.
        self._neighbours.corpora.forget([request.corpus])
        existing = await self._neighbours.corpora.find(request.corpus)
        if existing is not None:
            request = replace(request, corpus=existing.name)
        with self._claims.starting([request.corpus]) as hand_over:
            job = await self._start(request)
            hand_over(job)
            return job

    async def _start(self, request: BuildRequest) -> Job:
        neighbours = self._neighbours
        dataset = await neighbours.datasets.get(request.dataset)
        plan = make_plan(replace(request, dataset=dataset.name), dataset.columns)
        # Any text shows which model an id means, whether it is there, and how long its vectors are.
        probe = await neighbours.texts.embed([request.corpus], request.model)
        neighbours.corpora.forget([request.corpus])
        existing = await neighbours.corpora.find(request.corpus)
        if existing is not None:
            check_same(existing, request, dataset, probe)
        else:
            if not request.id_prefix:
                await self._check_ids(plan, dataset)
            await neighbours.corpora.create(new_corpus(plan, request, dataset, probe))
        info = await neighbours.corpora.get(plan.corpus)

        async def work(progress: Progress) -> dict[str, Any]:
            return await self._run(plan, info, progress, new=existing is None)

        return await self._jobs.submit(KIND, plan.corpus, unit="rows", total=dataset.rows, work=work)

    async def _run(self, plan: Plan, info: CorpusInfo, progress: Progress, *, new: bool) -> dict[str, Any]:
        begun = datetime.now(UTC)
        if new:
            await self._freshness.tidy()
        counts = await self._passes.run(plan, info, progress, new=new)
        result = {"corpus": plan.corpus, "dataset": plan.dataset, **summary(counts)}
        await self._freshness.mark(plan.dataset, begun)
        if counts.failed:
            raise rows_failed(progress, result)
        return {**result, "model": info.model, "dimension": info.dimension}

    async def _check_ids(self, plan: Plan, dataset: Dataset) -> None:
        """Refuses ids without a prefix that mean something else in another corpus."""
        others = [
            info
            for info in await self._neighbours.corpora.all()
            if info.properties.get("kind") == CORPUS
            and not info.properties.get("id_prefix")
            and same_name(info.dataset) != same_name(dataset.name)
            and same_name(info.name) != same_name(plan.corpus)
        ]
        ids = await self._first_ids(plan, dataset) if others else []
        for other in others:
            chunked = other.properties.get("chunk_size") is not None
            wanted = [f"{item_id}#0" for item_id in ids] if chunked else ids
            shared = sorted(await self._neighbours.corpora.metadata(other.name, wanted))
            if shared:
                message = (
                    f"is required here, for example {plan.corpus[:1].lower() + '-'!r}: without one, "
                    f"{shared[0]!r} would stand for two things, in corpus {other.name!r} and here"
                )
                violation = Violation("id_prefix", message)
                raise SharedIds(f"id_prefix: {message}", violations=[violation], corpus=other.name, id=shared[0])

    async def _first_ids(self, plan: Plan, dataset: Dataset) -> list[str]:
        stream = io.BytesIO()

        async def write(data: bytes) -> None:
            stream.write(data)

        await self._neighbours.datasets.read(select_columns(dataset.name, [plan.id_column], _SAMPLE), write)
        stream.seek(0)
        with pa.ipc.open_stream(stream) as reader:
            values = reader.read_all().column(0).to_pylist()
        return list(dict.fromkeys(text for value in values if (text := as_text(value))))


def rows_failed(progress: Progress, result: Mapping[str, Any]) -> RowsFailed:
    """The error for rows that could not be embedded while all others were; its metadata tells the same as a result."""
    message = f"{progress.failed} rows could not be embedded; the first: {progress.first_failure}"
    told: dict[str, Any] = {name: value for name, value in result.items() if isinstance(value, str | int)}
    return RowsFailed(message, **told)


def new_corpus(plan: Plan, request: BuildRequest, dataset: Dataset, probe: Vectors) -> vector_pb2.CreateIndexRequest:
    """The index to create, with what it is made from."""
    source = vector_pb2.IndexSource(dataset=dataset.name, dataset_version=dataset.version, embedding_model=probe.model)
    source.properties.update(plan.properties())
    return vector_pb2.CreateIndexRequest(
        name=plan.corpus,
        dimension=probe.dimension,
        metric="cosine",
        storage_type=request.storage_type or DEFAULT_STORAGE,
        source=source,
        bucket=request.bucket,
    )


def check_same(existing: CorpusInfo, request: BuildRequest, dataset: Dataset, probe: Vectors) -> None:
    """Raises CorpusConflict unless the corpus is what this build would make."""
    differences = (
        ("kind", existing.properties.get("kind", ""), CORPUS),
        ("dataset", existing.dataset, dataset.name),
        ("model", existing.model, probe.model),
        ("dimension", existing.dimension, probe.dimension),
        ("storage_type", existing.storage_type, request.storage_type or existing.storage_type),
        ("bucket", existing.bucket, request.bucket or existing.bucket),
    )
    for name, there, wanted in differences:
        if there != wanted:
            message = (
                f"corpus {existing.name!r} is there with {name} {there or 'unknown'!r}, not {wanted!r}: "
                "build under another name, or delete it first"
            )
            raise CorpusConflict(message, corpus=existing.name, difference=name)
