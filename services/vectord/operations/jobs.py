"""Long work on indexes, as jobs: one at a time for each index, and the agent's gives way to everybody else's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from services.runtime.errors import InvalidArgument
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs, Progress
from services.runtime.names import same_name
from services.runtime.threads import Threads
from services.vectord import operations_messages as shown
from services.vectord.errors import IndexHasJob, IndexNotFound, NothingToRollBack
from services.vectord.files.manifest import Description
from services.vectord.operations.migrating import migrate
from services.vectord.operations.orders import Autotune, Rebuild
from services.vectord.operations.rebuild import rebuild_into
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Parameters, Stopped
from services.vectord.tree.backends import BACKENDS
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.names import check_description
from services.vectord.tuning import evals, trial
from services.vectord.tuning.bench import Workbench
from services.vectord.tuning.evals import EvalSet
from services.vectord.tuning.trial import Promotion, Starter, Trial

REBUILD, TRIAL, AUTOTUNE, AGENT = "index.rebuild", "index.trial", "index.autotune", "index.agent"
MIGRATE = "index.migrate"
KINDS = (REBUILD, TRIAL, AUTOTUNE, AGENT, MIGRATE)

Result = Mapping[str, Any]
T = TypeVar("T")


class Operations:
    """Accepts work on indexes. Belongs to one event loop."""

    def __init__(self, indexes: Indexes, jobs: Jobs, *, threads: Threads, builders: Threads, trial_rows: int) -> None:
        """`builders` do what takes long, `threads` the rest."""
        self._indexes = indexes
        self._jobs = jobs
        self._threads = threads
        self._builders = builders
        self._trial_rows = trial_rows
        self._starting: set[str] = set()

    async def rebuild(self, name: str, wanted: Rebuild) -> Job:
        """Starts to make an index anew, in place or as another.

        Raises IndexNotFound, IndexExists, InvalidArgument, IndexHasJob.
        """
        index = self._indexes.graphs(name)
        description = _rebuilt(index.description, wanted)
        check_description(description)
        if wanted.alias and not wanted.dest:
            raise InvalidArgument.of("alias", "is moved to a new index: name it in dest")
        if wanted.dest:
            self._indexes.check_free(wanted.dest, wanted.alias)

        def work(watch: Watch) -> Result:
            made = index
            if wanted.dest:
                made = rebuild_into(self._indexes, index, description, wanted.alias, watch)
            else:
                index.rebuild(description, watch=watch)
            return {"index": made.description.name, "items": made.snapshot.count, "alias": wanted.alias}

        return await self._submit(REBUILD, index, work)

    async def migrate(self, name: str, backend: str) -> Job:
        """Starts to move an index to another back end. Raises IndexNotFound, BackendNotInstalled, IndexHasJob."""
        index = self._indexes.movable(name)
        BACKENDS[backend].check()

        def work(watch: Watch) -> Result:
            moved = migrate(self._indexes, index, backend, watch)
            return {"index": moved.description.name, "items": moved.snapshot.count, "backend": backend}

        return await self._submit(MIGRATE, index, work)

    async def trial(self, name: str, eval_set: str, parameters: Parameters) -> Job:
        """Starts a trial. Raises IndexNotFound, EvalSetNotFound, InvalidArgument, IndexEmpty, IndexHasJob."""
        index = self._indexes.graphs(name)
        trial.check(parameters, "parameters")
        questions = await self.questions(index, eval_set)
        wanted = trial.filled(parameters, index.description.parameters)

        def work(watch: Watch) -> Result:
            return shown.trial_result(self.run_trials(index, questions, [wanted], "call", watch)[0])

        return await self._submit(TRIAL, index, work)

    async def autotune(self, name: str, wanted: Autotune) -> Job:
        """Starts to try a grid. Raises as `trial` does."""
        index = self._indexes.graphs(name)
        grid = trial.grid(wanted.grid, index.description.parameters)
        questions = await self.questions(index, wanted.eval_set)

        def work(watch: Watch) -> Result:
            trials = self.run_trials(index, questions, grid, "autotune", watch)
            won = trial.winner(trials, wanted.minimum_recall)
            promoted = wanted.promote and won is not None
            if won is not None and promoted:
                self.promote_now(index, won, watch)
            return shown.tuned_result(trials, won, promoted=promoted)

        return await self._submit(AUTOTUNE, index, work, times=len(grid))

    async def questions(self, index: Index, name: str) -> EvalSet:
        """The eval set of that name; without a name one that was generated, now if need be.

        Raises EvalSetNotFound, IndexEmpty.
        """
        return await self._threads.run(questions_of, index, name)

    def run_trials(
        self, index: Index, questions: EvalSet, grid: Sequence[Parameters], started_by: Starter, watch: Watch
    ) -> list[Trial]:
        """Runs trials and keeps what each found. Blocks. Raises Stopped, IndexNotFound, OSError."""
        with Workbench(
            index.snapshot, index.description, questions, most_rows=self._trial_rows, scratch=self._indexes.scratch
        ) as bench:
            return [index.tuning.keep(bench.run(parameters, started_by, watch)) for parameters in grid]

    def promote_now(self, index: Index, won: Trial, watch: Watch) -> None:
        """Gives an index the parameters of a trial in the moment it is rebuilt with them. Blocks. Raises Stopped."""
        tuned = index.tuned.promoted(_promotion(won), index.description.parameters)
        # Not counted: the job's units are items in graphs that were tried.
        quiet = Watch(stop=watch.stop)
        index.rebuild(replace(index.description, parameters=won.parameters), tuned=tuned, watch=quiet)

    async def promote(self, name: str, trial_id: str, minimum_recall: float) -> tuple[Promotion, Job]:
        """Gives an index the parameters of a trial, and starts to rebuild it.

        Raises IndexNotFound, TrialNotFound, RecallTooLow, IndexHasJob.
        """
        index = self._indexes.graphs(name)
        won = index.tuning.trial(trial_id)
        trial.check_promotable(won, minimum_recall)
        promotion = _promotion(won)
        async with self._claimed(index):
            tuned = index.tuned.promoted(promotion, index.description.parameters)
            description = replace(index.description, parameters=won.parameters)
            await self._threads.run(index.promote, description, tuned)
            return promotion, await self._rebuild_with(index, description)

    async def roll_back(self, name: str) -> tuple[Promotion | None, Job]:
        """Takes the last promotion back, and starts to rebuild the index.

        Raises IndexNotFound, NothingToRollBack, IndexHasJob.
        """
        index = self._indexes.graphs(name)
        async with self._claimed(index):
            before = index.tuned.rolled_back()
            if before is None:
                raise NothingToRollBack(f"nothing was promoted for the index {name!r}", name=name)
            tuned, parameters = before
            description = replace(index.description, parameters=parameters)
            await self._threads.run(index.promote, description, tuned)
            job = await self._rebuild_with(index, description)
            return (tuned.promotions[0] if tuned.promotions else None), job

    async def _rebuild_with(self, index: Index, description: Description) -> Job:
        def work(watch: Watch) -> Result:
            index.rebuild(description, watch=watch)
            return {"index": description.name, "items": index.snapshot.count, "alias": ""}

        return await self._start(REBUILD, index, work)

    def busy(self) -> Job | None:
        """Any job that has not ended."""
        return next((job for kind in KINDS if (job := self._jobs.active(kind, lambda _: True))), None)

    async def submit_agent(self, index: Index, work: Callable[[Watch], Result]) -> Job:
        """Starts a job of the agent. Raises IndexHasJob."""
        return await self._submit(AGENT, index, work)

    async def _submit(self, kind: str, index: Index, work: Callable[[Watch], Result], *, times: int = 1) -> Job:
        async with self._claimed(index, agent=kind == AGENT):
            return await self._start(kind, index, work, times=times)

    async def _start(self, kind: str, index: Index, work: Callable[[Watch], Result], *, times: int = 1) -> Job:
        def checked(watch: Watch) -> Result:
            stopping = replace(watch, stop=lambda: watch.stop() or index.gone)
            try:
                return work(stopping)
            except Stopped:
                if index.gone and not watch.stop():
                    raise IndexNotFound(f"the index {subject!r} was deleted", name=subject) from None
                raise

        async def run(progress: Progress) -> Result:
            return await watched(self._builders, progress, checked)

        subject = index.description.name
        total = index.snapshot.count if kind in (REBUILD, MIGRATE) else min(index.snapshot.count, self._trial_rows)
        return await self._jobs.submit(kind, subject, unit="items", total=total * times, work=run)

    @asynccontextmanager
    async def _claimed(self, index: Index, *, agent: bool = False) -> AsyncIterator[None]:
        """Keeps an index for work that is about to become a job. Raises IndexHasJob."""
        key = same_name(index.description.name)
        if not agent:
            await self._dismiss_agent()
        running = next((job for kind in KINDS if (job := self._jobs.active(kind, lambda s: same_name(s) == key))), None)
        if running is not None:
            message = f"job {running.id} works on the index {index.description.name!r}: wait for it, or cancel it"
            raise IndexHasJob(message, name=index.description.name, job_id=running.id)
        if key in self._starting:
            message = f"a job on the index {index.description.name!r} is just being started"
            raise IndexHasJob(message, name=index.description.name)
        self._starting.add(key)
        try:
            yield
        finally:
            self._starting.discard(key)

    async def _dismiss_agent(self) -> None:
        running = self._jobs.active(AGENT, lambda _: True)
        if running is not None:
            await self._jobs.cancel(running.id)


def questions_of(index: Index, name: str) -> EvalSet:
    """The eval set of that name; without a name the generated one, made anew when the index has changed much."""
    if name:
        found = index.tuning.eval_set(name)
        evals.check_measurable(index.snapshot, name)
        return found
    there = index.tuning.find(evals.GENERATED)
    if there is not None and not evals.outdated(there, index.snapshot.count):
        evals.check_measurable(index.snapshot, evals.GENERATED)
        return there
    made = evals.generate(index.snapshot, name=evals.GENERATED, sample=evals.SAMPLE, seed=evals.SEED, k=evals.K)
    index.tuning.replace(made)
    return made


def _promotion(won: Trial) -> Promotion:
    return Promotion(parameters=won.parameters, trial_id=won.id, recall=won.recall, promoted_ns=time.time_ns())


def _rebuilt(present: Description, wanted: Rebuild) -> Description:
    return replace(
        present,
        name=wanted.dest or present.name,
        parameters=trial.filled(wanted.parameters, present.parameters),
        storage_type=wanted.storage_type or present.storage_type,
    )


async def watched(threads: Threads, progress: Progress, work: Callable[[Watch], T]) -> T:
    """Runs blocking work for a job; when the job is cancelled, the work is told and waited for.

    Work that ended well all the same was too far to be stopped: its result counts.
    """
    loop = asyncio.get_running_loop()
    stopping = threading.Event()

    def advance(done: int) -> None:
        loop.call_soon_threadsafe(progress.advance, done)

    watch = Watch(stop=stopping.is_set, advance=advance)
    task = asyncio.ensure_future(threads.run(work, watch))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            raise
        return task.result()
