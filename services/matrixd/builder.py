"""Accepting builds: what must be true before a job begins (M11)."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.build import Build, Neighbours, Target
from services.matrixd.corpora import CORPUS, CorpusInfo
from services.matrixd.datasets import Dataset
from services.matrixd.errors import BuildRunning, CorpusConflict, SharedIds
from services.matrixd.plan import BuildRequest, Plan, make_plan
from services.matrixd.sql import select_columns
from services.matrixd.texts import Vectors
from services.matrixd.values import as_text
from services.runtime.errors import Violation
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs
from services.runtime.names import same_name
from services.runtime.threads import Threads

KIND = "corpus.build"
_SAMPLE = 1_000


class Builder:
    """Turns requests into jobs."""

    def __init__(self, neighbours: Neighbours, jobs: Jobs, *, threads: Threads, scratch: Path) -> None:
        """`scratch` is a directory for rows on their way."""
        self._neighbours = neighbours
        self._jobs = jobs
        self._threads = threads
        self._scratch = scratch
        self._starting: set[str] = set()

    async def start(self, request: BuildRequest) -> Job:
        """Checks a request, creates the corpus where it is new, and starts the job.

        Raises InvalidArgument, SharedIds, NotFound for dataset or model, CorpusConflict, BuildRunning.
        """
        name = same_name(request.corpus)
        self._check_idle(request.corpus)
        self._starting.add(name)
        try:
            return await self._start(request)
        finally:
            self._starting.discard(name)

    async def _start(self, request: BuildRequest) -> Job:
        neighbours = self._neighbours
        dataset = await neighbours.datasets.get(request.dataset)
        plan = make_plan(request, dataset.columns)
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
        target = Target(model=probe.model, dimension=probe.dimension, new=existing is None)
        build = Build(plan, dataset, target, neighbours, threads=self._threads, scratch=self._scratch)
        return await self._jobs.submit(KIND, plan.corpus, unit="rows", total=dataset.rows, work=build.run)

    def _check_idle(self, corpus: str) -> None:
        name = same_name(corpus)
        if name in self._starting:
            raise BuildRunning(f"a build of corpus {corpus!r} is just being started", corpus=corpus)
        running = self._jobs.active(KIND, lambda subject: same_name(subject) == name)
        if running is not None:
            message = f"job {running.id} builds corpus {corpus!r} now: wait for it, or cancel it"
            raise BuildRunning(message, job_id=running.id, corpus=corpus)

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


def new_corpus(plan: Plan, request: BuildRequest, dataset: Dataset, probe: Vectors) -> vector_pb2.CreateIndexRequest:
    """The index to create, with what it is made from."""
    source = vector_pb2.IndexSource(dataset=dataset.name, dataset_version=dataset.version, embedding_model=probe.model)
    source.properties.update(plan.properties())
    return vector_pb2.CreateIndexRequest(
        name=plan.corpus,
        dimension=probe.dimension,
        metric="cosine",
        storage_type=request.storage_type,
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
