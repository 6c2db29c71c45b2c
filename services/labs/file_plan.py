"""The demonstration on anybody's CSV file: questions made from its own rows, so that the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.labs import statements
from services.labs.lift import Case, Experiment, Trial
from services.labs.plan import ColdRound, SqlQuestion, Told, UnfitData
from services.labs.questions import Question, ask, common_words
from services.labs.rest import Json, RestClient

SAMPLE = 250
ENOUGH = 6
ATTEMPTS = 3
_SHOWN = 44


@dataclass(slots=True, kw_only=True)
class FilePlan:
    """A file with a column of ids and columns of text."""

    file: Path
    dataset: str
    id_column: str
    text_columns: tuple[str, ...]
    truth: str = "Each question is made of a few words of one row, in another order; that row is the right answer."

    @property
    def corpus(self) -> Json:
        """Embeds the text columns, and keeps the others as metadata."""
        return {
            "corpus": self.dataset,
            "dataset": self.dataset,
            "id_column": self.id_column,
            "text_columns": list(self.text_columns),
        }

    def questions(self, ingested: Json) -> list[SqlQuestion]:
        """A count, the amount of text, and an aggregate of what else there is."""
        special = {self.id_column, *self.text_columns}
        others = [(c["name"], c["type"]) for c in ingested["columns"] if c["name"] not in special]
        questions = [
            SqlQuestion(
                title=f"How many rows are there, and does {self.id_column} tell them apart?",
                statement=statements.count_rows(self.dataset, self.id_column),
            ),
            SqlQuestion(
                title="How much text does a row have?",
                statement=statements.text_lengths(self.dataset, self.text_columns),
            ),
        ]
        if others:
            column, statement = statements.aggregate(self.dataset, others)
            questions.append(SqlQuestion(title=f"What is in {column}?", statement=statement))
        return questions

    async def check(self, client: RestClient) -> None:
        """Refuses ids that occur twice or are missing."""
        counted = await client.sql(statements.count_rows(self.dataset, self.id_column))
        rows, different, without = (int(value) for value in counted.rows[0])
        if without:
            message = f"column {self.id_column!r} is empty in {without:,} of {rows:,} rows"
            raise UnfitData(message, reason="MISSING_IDS")
        if different < rows:
            found = await client.sql(statements.duplicate_ids(self.dataset, self.id_column))
            shown = ", ".join(f"{ident!r} {times} times" for ident, times in found.rows)
            message = f"column {self.id_column!r} does not tell the {rows:,} rows apart: {shown}"
            raise UnfitData(message, reason="DUPLICATE_IDS")

    async def ask(self, client: RestClient, experiment: Experiment, told: Told) -> ColdRound:
        """Asks until there are enough questions whose row is not on top; fewer words when more do not do."""
        statement = statements.sample_texts(self.dataset, self.id_column, self.text_columns, SAMPLE)
        texts = [(str(ident), str(text)) for ident, text in (await client.sql(statement)).rows]
        trials: list[Trial] = []
        asked: list[Question] = []
        for question in _questions(texts):
            if len(trials) == ENOUGH:
                break
            if any(trial.answer == question.row_id for trial in trials):
                continue
            trial = await experiment.cold(_case(question))
            asked.append(question)
            told(len(asked), ATTEMPTS * len(texts))
            if trial.discovery:
                trials.append(trial)
        control = await _control(client, trials, asked)
        return ColdRound(trials=tuple(trials), asked=len(asked), on_top=len(asked) - len(trials), control=control)

    async def remarks(self, client: RestClient, trial: Trial, items: Sequence[str]) -> dict[str, str]:
        """How the text of each row begins."""
        statement = statements.texts_of(self.dataset, self.id_column, self.text_columns, items)
        return {str(ident): _beginning(str(text)) for ident, text in (await client.sql(statement)).rows}


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _questions(texts: Sequence[tuple[str, str]]) -> Iterator[Question]:
    common = common_words(text for _, text in texts)
    for attempt in range(ATTEMPTS):
        for ident, text in texts:
            question = ask(ident, text, attempt=attempt, common=common)
            if question is not None:
                yield question


def _case(question: Question) -> Case:
    return Case(
        label=question.text,
        question=question.text,
        paraphrase=question.paraphrase,
        choose=lambda hits: question.row_id,
    )


async def _control(client: RestClient, trials: Sequence[Trial], asked: Sequence[Question]) -> str | None:
    """The question that lies farthest from everything that will be recorded."""
    recorded = [trial.case.question for trial in trials]
    others = [question.text for question in asked if question.text not in recorded]
    if not recorded or not others:
        return None
    vectors = np.asarray(await client.embed([*recorded, *others]), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (vectors[len(recorded) :] @ vectors[: len(recorded)].T).max(axis=1)
    return others[int(np.argmin(nearest))]
