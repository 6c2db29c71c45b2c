"""Who says how right an answer is: known truth, a rubric over metadata, or people. One interface.

A judge rates from 1 (wrong) to 5 (right); when it does not know, there is no rating, and none is made up.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from services.labs.matrix import MatrixClient
from services.labs.needs import Need, rating
from services.labs.plan import UnfitData
from services.labs.queries import Query
from services.labs.rest import Hit
from services.labs.staffing import Worker

ACCEPTED = 4
"""The lowest rating of an answer that is worth remembering."""


class Judge(Protocol):
    """Rates answers."""

    @property
    def name(self) -> str:
        """What it is, in a few words, for reports."""

    async def rate(self, query: Query, hits: Sequence[Hit]) -> list[int | None]:
        """A rating for each hit, in order; None when the judge does not know. Raises ServiceError."""

    def ideal(self, query: Query, pool: Mapping[str, int]) -> list[float]:
        """The gains of the best answers there are, best first; `pool` holds every rating given so far."""


def gain(rated: int | None) -> float:
    """What a rating is worth in nDCG: 5 counts 1, 4 a half, 3 a fifth, 1 and no rating nothing."""
    return float(2 ** ((rated or 1) - 1) - 1) / 15


class TruthJudge:
    """Reads the truth off the sample's workers."""

    name = "known truth (the generator knows every worker's attributes)"

    def __init__(self, roster: Mapping[str, Worker], needs: Mapping[str, Need]) -> None:
        """`needs` are the needs behind the questions, by the questions' ids."""
        self._roster = roster
        self._needs = needs

    async def rate(self, query: Query, hits: Sequence[Hit]) -> list[int | None]:
        """Computes the ratings; workers that are not in the roster have none."""
        need = self._needs[query.id]
        return [rating(self._roster[hit.id], need) if hit.id in self._roster else None for hit in hits]

    def ideal(self, query: Query, pool: Mapping[str, int]) -> list[float]:
        """Looks at every worker, whether found or not."""
        need = self._needs[query.id]
        return sorted((gain(rating(worker, need)) for worker in self._roster.values()), reverse=True)[:10]


class RubricJudge:
    """Compares metadata with the fields that a question expects; by the mesh where it can, else here."""

    def __init__(self, client: MatrixClient | None) -> None:
        """Without a client the rule below decides."""
        self._client = client

    @property
    def name(self) -> str:
        """Says whose rule it is."""
        return "rubric (expected fields), " + ("rated by the mesh" if self._client else "rated by this command")

    async def rate(self, query: Query, hits: Sequence[Hit]) -> list[int | None]:
        """Rates by the expected fields; no rating for a question that expects none."""
        if not query.expected:
            return [None] * len(hits)
        if self._client is None:
            return [by_rubric(hit.metadata, query.expected) for hit in hits]
        rated: dict[tuple[str, str], int | None] = {}
        for corpus in sorted({hit.corpus for hit in hits}):
            ids = [hit.id for hit in hits if hit.corpus == corpus]
            ratings = await self._client.rate(query.text, corpus, ids, query.expected)
            rated |= {(corpus, ident): value for ident, value in zip(ids, ratings, strict=True)}
        return [rated[hit.corpus, hit.id] for hit in hits]

    def ideal(self, query: Query, pool: Mapping[str, int]) -> list[float]:
        """The best of what any search has found: nobody knows the rest."""
        return sorted((gain(value) for value in pool.values()), reverse=True)[:10]


class LabelsJudge:
    """Looks up what people said."""

    name = "people (a file of labels)"

    def __init__(self, labels: Mapping[tuple[str, str], int]) -> None:
        """`labels` are ratings by (question or its id, answer)."""
        self._labels = labels

    async def rate(self, query: Query, hits: Sequence[Hit]) -> list[int | None]:
        """The labels; an answer that nobody has rated has no rating."""
        return [self._label(query, hit.id) for hit in hits]

    def _label(self, query: Query, ident: str) -> int | None:
        return self._labels.get((query.id, ident), self._labels.get((query.text, ident)))

    def ideal(self, query: Query, pool: Mapping[str, int]) -> list[float]:
        """Everything that was labelled for the question."""
        mine = (value for (asked, _), value in self._labels.items() if asked in (query.id, query.text))
        return sorted(map(gain, mine), reverse=True)[:10]


def by_rubric(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> int | None:
    """The share of expected fields that agree, as 1 (none) to 5 (all); None when the answer has none of them.

    A list means that each of its members is in the field, be the field a list or a text with `;`, `,` or `|` between.
    The mesh rates by the same rule.
    """
    if all(metadata.get(name) is None for name in wanted):
        return None
    met = sum(_agrees(metadata.get(name), value) for name, value in wanted.items())
    return 1 + int(4 * met / len(wanted))


def _agrees(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        members = value if isinstance(value, list) else str(value or "").replace(",", ";").replace("|", ";").split(";")
        return {_plain(member) for member in wanted} <= {_plain(member) for member in members}
    return _plain(value) == _plain(wanted)


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def read_labels(path: Path) -> dict[tuple[str, str], int]:
    """Reads labels: CSV with the columns query, id, rating, or a JSON list of such objects. Raises UnfitData, OSError.

    `query` is a question's id or its text; `rating` is 1 to 5.
    """
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UnfitData(f"{path}: this is no JSON: {error}", reason="NOT_JSON") from error
    else:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    labels = {}
    for number, row in enumerate(rows, 1):
        try:
            rated = int(row["rating"])
            labels[str(row["query"]), str(row["id"])] = rated
        except (KeyError, TypeError, ValueError) as error:
            fault = f"{path}: label {number} needs query, id and a rating from 1 to 5"
            raise UnfitData(fault, reason="WRONG_SHAPE") from error
        if not 1 <= rated <= 5:
            raise UnfitData(f"{path}: label {number} has the rating {rated}, not 1 to 5", reason="WRONG_SHAPE")
    return labels


def from_answers(queries: Sequence[Query]) -> dict[tuple[str, str], int]:
    """Labels from questions that name their right answers: those are right, of others nothing is known."""
    return {(query.id, answer): 5 for query in queries for answer in query.answers}
