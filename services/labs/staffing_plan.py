"""The built-in demonstration: 10,000 workers, eight demands, and columns that know who truly fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.labs.demands import CONTROL, DEMANDS, Demand, fits, fitting, paraphrases, shortfalls, verbatim
from services.labs.lift import Case, Experiment, Trial
from services.labs.plan import ColdRound, SqlQuestion, Told
from services.labs.rest import Hit, Json, RestClient
from services.labs.staffing import Worker, workers, write_csv

ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffingPlan:
    """Sample workers, who are written to `file` first."""

    file: Path
    roster: dict[str, Worker] = field(default_factory=lambda: {w.worker_id: w for w in workers(ROWS)})
    dataset: str = "workers"
    truth: str = (
        "Who truly fits is read off the columns (role, city, certificate, years, availability), best rated first."
    )

    def write(self) -> int:
        """Writes the file; returns its bytes."""
        return write_csv(self.file, self.roster.values())

    @property
    def corpus(self) -> Json:
        """Embeds the résumés, and keeps the other columns as metadata."""
        return {
            "corpus": self.dataset,
            "dataset": self.dataset,
            "id_column": "worker_id",
            "text_columns": ["resume_text"],
        }

    def questions(self, ingested: Json) -> list[SqlQuestion]:
        """A count, an aggregate, and ZIP codes that kept their zeros."""
        return [
            SqlQuestion(
                title="How many workers, roles and cities are there?",
                statement="SELECT count(*) AS workers, count(DISTINCT role) AS roles, count(DISTINCT city) AS cities "
                "FROM workers",
            ),
            SqlQuestion(
                title="Which trades are common, what do they earn, and who is free?",
                statement="SELECT role, count(*) AS workers, round(avg(hourly_rate), 2) AS average_rate, "
                "count(*) FILTER (available) AS available FROM workers GROUP BY role ORDER BY workers DESC LIMIT 5",
            ),
            SqlQuestion(
                title="Did ZIP codes keep their leading zeros?",
                statement="SELECT city, min(zip) AS lowest_zip, count(*) AS workers FROM workers "
                "WHERE zip LIKE '0%' GROUP BY city ORDER BY workers DESC LIMIT 3",
            ),
        ]

    async def check(self, client: RestClient) -> None:
        """Nothing to look at: the data are ours."""

    async def ask(self, client: RestClient, experiment: Experiment, told: Told) -> ColdRound:
        """Asks every demand."""
        trials = []
        for number, demand in enumerate(DEMANDS, 1):
            trials.append(await experiment.cold(self.case(demand)))
            told(number, len(DEMANDS))
        on_top = sum(trial.answer is not None and not trial.discovery for trial in trials)
        return ColdRound(trials=tuple(trials), asked=len(trials), on_top=on_top, control=verbatim(CONTROL))

    def case(self, demand: Demand) -> Case:
        """A demand as a question whose answer the roster knows."""
        return Case(
            label=f"{demand.role} in {demand.city}, {demand.certificate}, {demand.min_years}+ years",
            question=verbatim(demand),
            paraphrase=paraphrases(demand)[0],
            choose=lambda hits: self._best(hits, demand),
            role=demand.role,
        )

    def _best(self, hits: Sequence[Hit], demand: Demand) -> str | None:
        found = fitting((self.roster[hit.id] for hit in hits if hit.id in self.roster), demand)
        return found[0].worker_id if found else None

    async def remarks(self, client: RestClient, trial: Trial, items: Sequence[str]) -> dict[str, str]:
        """Name and rating of each worker, and what is missing."""
        demand = next(demand for demand in DEMANDS if verbatim(demand) == trial.case.question)
        return {item: _remark(self.roster[item], demand) for item in items if item in self.roster}


def _remark(worker: Worker, demand: Demand) -> str:
    verdict = "fits" if fits(worker, demand) else ", ".join(shortfalls(worker, demand))
    return f"{worker.name}, rated {worker.rating}: {verdict}"
