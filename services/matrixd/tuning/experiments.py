"""A change of ranking, tried in shadow on questions whose answers are known; promoted only with evidence."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.errors import ExperimentNotFound, NotPromotable
from services.matrixd.playbooks.playbook import ACCEPTED
from services.matrixd.playbooks.recorder import Recorder
from services.matrixd.retrieval.search import Query, Searcher
from services.matrixd.tuning.evidence import DEPTH, held_out, ndcg, paired
from services.matrixd.tuning.tuning import Promoted, Tuning, Tunings, tuning_from
from services.runtime.durable import atomic_write, make_directory, remove_file
from services.runtime.errors import InvalidArgument
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs, Progress
from services.runtime.threads import Threads

log = logging.getLogger(__name__)

KIND = "matrix.experiment"
FEWEST = 20
_KEPT = 100
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question and how right each of its answers is."""

    text: str
    gains: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to try, on what."""

    candidate: Tuning
    corpora: Sequence[str]
    queries: Sequence[Labelled]
    playbook: str | None
    """The playbook to search with; None to search cold."""
    recorded_in: str
    """The playbook whose accepted questions are asked when there are no others."""
    held_out: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What came of a trial. nDCG is of the held-out questions, `low` and `high` of the mean difference."""

    id: str
    candidate: Tuning
    baseline: Tuning
    corpora: Sequence[str]
    baseline_ndcg: float
    candidate_ndcg: float
    low: float
    high: float
    queries: int
    held_out: int
    promotable: bool
    verdict: str
    ended_at: str


class Experiments:
    """Runs experiments and keeps their results, the newest hundred."""

    def __init__(
        self,
        directory: Path,
        tunings: Tunings,
        searcher: Searcher,
        recorder: Recorder,
        corpora: Corpora,
        jobs: Jobs,
        threads: Threads,
        now: Callable[[], datetime],
    ) -> None:
        self._directory = make_directory(directory)
        self._tunings = tunings
        self._searcher = searcher
        self._recorder = recorder
        self._corpora = corpora
        self._jobs = jobs
        self._threads = threads
        self._now = now
        self._results = _load(directory)

    async def start(self, trial: Trial) -> Job:
        """Starts the job; its result names the experiment. Raises InvalidArgument, CorpusNotFound."""
        for name in (*trial.corpora, *trial.candidate.substitutes.values()):
            await self._corpora.get(name)
        queries = list(trial.queries) or await self._recorded(trial.recorded_in)
        if len(queries) < FEWEST:
            raise InvalidArgument.of("queries", f"must be at least {FEWEST} to decide anything, are {len(queries)}")
        chosen = [queries[place] for place in held_out(len(queries), trial.held_out, trial.seed)]

        async def work(progress: Progress) -> dict[str, Any]:
            return await self._run(trial, chosen, len(queries), progress)

        return await self._jobs.submit(KIND, ", ".join(trial.corpora), unit="questions", total=len(chosen), work=work)

    def newest(self) -> Sequence[Experiment]:
        """The experiments, newest first."""
        return sorted(self._results.values(), key=lambda one: one.id, reverse=True)

    async def promote(self, experiment_id: str) -> Tuning:
        """Makes the change of an experiment count. Raises ExperimentNotFound, NotPromotable."""
        experiment = self._results.get(experiment_id)
        if experiment is None:
            raise ExperimentNotFound(f"there is no experiment {experiment_id!r}", experiment_id=experiment_id)
        promoted = Promoted(experiment.candidate, experiment.id)
        if self._tunings.current != promoted:
            if not experiment.promotable:
                raise NotPromotable(experiment.verdict, experiment_id=experiment_id)
            if self._tunings.current.tuning != experiment.baseline:
                message = "it was compared with a tuning that counts no more: run it again"
                raise NotPromotable(message, experiment_id=experiment_id)
            await self._threads.run(self._tunings.promote, promoted)
        return experiment.candidate

    async def _run(self, trial: Trial, chosen: Sequence[Labelled], total: int, progress: Progress) -> dict[str, Any]:
        baseline = self._tunings.current.tuning
        before: list[float] = []
        after: list[float] = []
        for one in chosen:
            for tuning, scores in ((baseline, before), (trial.candidate, after)):
                found = await self._searcher.search(_query(one.text, trial, tuning))
                scores.append(ndcg([hit.id for hit in found.ranking.hits], one.gains))
            progress.advance(1)
        differences = [new - old for new, old in zip(after, before, strict=True)]
        interval = await self._threads.run(paired, differences, trial.seed)
        experiment = Experiment(
            id=f"{time.time_ns():016x}{secrets.token_hex(4)}",
            candidate=trial.candidate,
            baseline=baseline,
            corpora=tuple(trial.corpora),
            baseline_ndcg=sum(before) / len(before),
            candidate_ndcg=sum(after) / len(after),
            low=interval.low,
            high=interval.high,
            queries=total,
            held_out=len(chosen),
            promotable=interval.low > 0,
            verdict=_verdict(interval.low, interval.high),
            ended_at=self._now().isoformat(),
        )
        await self._threads.run(self._save, experiment)
        return {"experiment_id": experiment.id, "promotable": experiment.promotable, "verdict": experiment.verdict}

    async def _recorded(self, playbook: str) -> list[Labelled]:
        """The questions that a playbook remembers as accepted, with their answers."""
        gains: dict[str, dict[str, float]] = {}
        token = ""
        while True:
            entries, token = await self._recorder.page(playbook, _PAGE, token, retired=False)
            for entry in entries:
                if entry.outcome == ACCEPTED and entry.score > 0:
                    gains.setdefault(entry.query_text, {})[entry.answer_id] = entry.score
            if not token:
                return [Labelled(text, answers) for text, answers in sorted(gains.items())]

    def _save(self, experiment: Experiment) -> None:
        atomic_write(self._directory / f"{experiment.id}.json", orjson.dumps(asdict(experiment)))
        self._results[experiment.id] = experiment
        for old in sorted(self._results)[:-_KEPT]:
            remove_file(self._directory / f"{old}.json")
            del self._results[old]


def _query(text: str, trial: Trial, tuning: Tuning) -> Query:
    return Query(
        text=text,
        vector=(),
        corpora=[tuning.substitutes.get(name, name) for name in trial.corpora],
        k=DEPTH,
        per_corpus_k=DEPTH,
        filter=None,
        exclude_ids=(),
        playbook=trial.playbook,
        playbook_top_k=DEPTH,
        boost_limit=tuning.boost_limit,
        inject_limit=tuning.inject_limit,
        role="",
        explain=False,
        retrieval=tuning.retrieval,
        fusion=tuning.fusion,
    )


def _verdict(low: float, high: float) -> str:
    told = f"nDCG@10 changes by {low:+.4f} to {high:+.4f} (95 %)"
    if low > 0:
        return f"{told}: better on questions it was not chosen by"
    return f"{told}: worse" if high < 0 else f"{told}: that it changes nothing cannot be excluded"


def _load(directory: Path) -> dict[str, Experiment]:
    results = {}
    for path in sorted(directory.glob("*.json")):
        try:
            values = orjson.loads(path.read_bytes())
            tunings = {name: tuning_from(values[name]) for name in ("candidate", "baseline")}
            experiment = Experiment(**{**values, **tunings})
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("the experiment %s is skipped: %s", path.name, error)
        else:
            results[experiment.id] = experiment
    return results
