"""The autotune agent at work: wakes, decides by its rules, and runs what they say as a job that gives way."""

from __future__ import annotations

import asyncio
import logging
import time

from services.runtime.errors import ServiceError
from services.runtime.jobs.job import Job
from services.runtime.threads import Threads
from services.vectord import operations_messages as shown
from services.vectord.errors import IndexHasJob
from services.vectord.operations.jobs import Operations, Result, questions_of
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Stopped
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tuning import rules
from services.vectord.tuning.agent_journal import AgentJournal, AgentState, Done, Promoted, Step, step
from services.vectord.tuning.evals import GENERATED
from services.vectord.tuning.rules import Begun, Known, Limits, Skip, Try
from services.vectord.tuning.trial import Trial

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 60.0


class Agent:
    """Belongs to one event loop. Does nothing by itself unless it is enabled."""

    def __init__(
        self,
        indexes: Indexes,
        operations: Operations,
        journal: AgentJournal,
        *,
        threads: Threads,
        limits: Limits,
        enabled: bool,
    ) -> None:
        self._indexes = indexes
        self._operations = operations
        self._journal = journal
        self._threads = threads
        self._limits = limits
        self._enabled = enabled
        self._deciding = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look for new data, when it is enabled."""
        if self._enabled:
            self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Begins nothing any more; a trial of it under way is a job and ends as one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Closes the journal; no trial may be under way."""
        self._journal.close()

    def state(self) -> AgentState:
        """What it does and did."""
        begun, now = self._journal.begun(), time.time_ns()
        return AgentState(
            enabled=self._enabled,
            trials_per_hour=self._limits.trials_per_hour,
            trials_last_hour=rules.last_hour(begun, now),
            next_trial_ns=max(now, rules.free_at(begun, self._limits)),
            steps=self._journal.steps(),
        )

    async def run(self, name: str) -> tuple[Step, Job | None]:
        """Wakes it for one index: a trial within its limits, or why there is none. Raises IndexNotFound."""
        index = self._indexes.graphs(name)
        async with self._deciding:
            known, now = _known(index), time.time_ns()
            busy = self._operations.busy()
            if busy is not None:
                decision: Try | Skip = Skip(detail=f"job {busy.id} runs, and the agent's work comes last")
            else:
                decision = rules.decide(self._journal.begun(), now, known, self._limits)
            if isinstance(decision, Skip):
                return Step(at_ns=now, index=known.name, action="skipped", detail=decision.detail), None
            return await self._begin(index, known, decision, now)

    async def _look(self) -> None:
        while True:
            try:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._wake()
            except Exception:
                # Whatever keeps it from working must keep nobody else: it rests, and looks again.
                log.exception("the agent could not begin a trial")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _wake(self) -> None:
        async with self._deciding:
            if self._operations.busy() is not None:
                return
            indexes = [index for index in self._indexes.all() if isinstance(index, Index) and index.has_graphs]
            there = {known.key: (index, known) for index in indexes for known in [_known(index)]}
            woken = rules.wakes(
                self._journal.begun(), time.time_ns(), [known for _, known in there.values()], self._limits
            )
            if woken is not None:
                known, decision = woken
                await self._begin(there[known.key][0], known, decision, time.time_ns())

    async def _begin(self, index: Index, known: Known, decision: Try, now: int) -> tuple[Step, Job | None]:
        # Written down first: what is not on disk does not count, and a crash must not make it try again at once.
        begun = await self._threads.run(self._journal.begin, known, decision, now)
        try:
            job = await self._operations.submit_agent(index, lambda watch: self._work(index, begun, watch))
        except IndexHasJob as error:
            done = Done(number=begun.number, at_ns=now, failure=error.message)
            await self._threads.run(self._journal.note, done)
            return step(begun, done), None
        return step(begun), job

    def _work(self, index: Index, begun: Begun, watch: Watch) -> Result:
        try:
            questions = questions_of(index, "")
            ended = self._operations.run_trials(index, questions, [begun.parameters], "agent", watch)[0]
        except Stopped:
            self._journal.note(Done(number=begun.number, at_ns=time.time_ns(), failure="it gave way or was cancelled"))
            raise
        except ServiceError as error:
            self._journal.note(Done(number=begun.number, at_ns=time.time_ns(), failure=error.message))
            raise
        self._journal.note(Done(number=begun.number, at_ns=time.time_ns(), trial_id=ended.id))
        self._promote(index, rules.better(_known(index)), watch)
        return shown.trial_result(ended)

    def _promote(self, index: Index, best: Trial | None, watch: Watch) -> None:
        if best is None:
            return
        self._operations.promote_now(index, best, watch)
        detail = f"trial {best.id} finds {best.recall:.4f} in {best.p50_ms:.3f} ms, better than what was in use"
        noted = Promoted(at_ns=time.time_ns(), index=index.description.name, trial_id=best.id, detail=detail)
        self._journal.note(noted)


def _known(index: Index) -> Known:
    description = index.description
    return Known(
        key=f"{description.name}/{description.created_ns}",
        name=description.name,
        count=index.snapshot.count,
        parameters=description.parameters,
        # Only what was measured with the same questions can be compared.
        trials=[one for one in index.tuning.trials() if one.eval_set == GENERATED],
    )
