"""What a demonstration needs to know about its data, and the two plans there are: staffing and any CSV file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.labs.lift import Experiment, Trial
from services.labs.rest import Json, RestClient

Told = Callable[[int, int], None]
"""Told how many questions have been asked, and how many there are at most."""


class UnfitData(Exception):
    """The data will not do: the message says why, `reason` is for programs."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlQuestion:
    """A question for SQL, in words and as a statement."""

    title: str
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdRound:
    """What came out of asking everything for the first time."""

    trials: tuple[Trial, ...]
    """The trials to go on with."""
    asked: int
    """How many questions were asked to get them."""
    on_top: int
    """For how many of them the right answer was on top at once."""
    control: str | None
    """A question of another kind, if there is one."""


class Plan(Protocol):
    """Data, questions about them, and the truth."""

    @property
    def dataset(self) -> str:
        """The name of the dataset, and of the corpus made from it."""

    @property
    def file(self) -> Path:
        """The CSV file to ingest."""

    @property
    def truth(self) -> str:
        """Where the right answers are known from, in one sentence."""

    @property
    def corpus(self) -> Json:
        """The request that builds the corpus."""

    def questions(self, ingested: Json) -> list[SqlQuestion]:
        """SQL questions, given what the ingest daemon answered."""

    async def check(self, client: RestClient) -> None:
        """Looks at the ingested data before they are embedded. Raises UnfitData when they will not do."""

    async def ask(self, client: RestClient, experiment: Experiment, told: Told) -> ColdRound:
        """Asks questions cold until there are enough to learn from."""

    async def remarks(self, client: RestClient, trial: Trial, items: Sequence[str]) -> dict[str, str]:
        """Says in a few words each what these items are to a question."""
