"""Judges rate answers from 1 to 5; one that cannot tell gives no rating, which is not a low one (M9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.errors import JudgeNotAvailable
from services.runtime.errors import InvalidArgument

RUBRIC = "rubric"
_SEPARATORS = ";,|"


class Rated(NamedTuple):
    """A rating from 1 to 5, or None, and why."""

    rating: int | None
    detail: str


_ABSENT = Rated(None, "there is no such answer")


class Judge(Protocol):
    """Anything that rates answers."""

    async def rate(self, question: str, answers: Mapping[str, Struct]) -> dict[str, Rated]:
        """A verdict for each answer, given its metadata. Never raises for a single answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTerms:
    """Who judges and by what."""

    judge: str
    minimum: int
    original_text: str
    rate_top: bool
    expected: Mapping[str, Any]


class RubricJudge:
    """Compares an answer's metadata with the fields that a right answer has. 5 when all agree, 1 when none does."""

    def __init__(self, expected: Mapping[str, Any]) -> None:
        """Raises InvalidArgument without fields."""
        if not expected:
            raise InvalidArgument.of("judge_gate.expected", "is required for the rubric: which fields are right?")
        self._expected = expected

    async def rate(self, question: str, answers: Mapping[str, Struct]) -> dict[str, Rated]:
        """A verdict for each answer. 20 us each."""
        return {answer: self._one(MessageToDict(metadata)) for answer, metadata in answers.items()}

    def _one(self, metadata: Mapping[str, Any]) -> Rated:
        known = [field for field in self._expected if metadata.get(field) is not None]
        if not known:
            return Rated(None, "the answer has none of the expected fields")
        wrong = [field for field in self._expected if not _right(self._expected[field], metadata.get(field))]
        share = 1 - len(wrong) / len(self._expected)
        detail = f"{', '.join(sorted(wrong))} not as expected" if wrong else "all fields as expected"
        return Rated(1 + int(4 * share), detail)


def make_judge(terms: JudgeTerms) -> Judge:
    """The judge that a request names. Raises InvalidArgument, JudgeNotAvailable."""
    if terms.judge == RUBRIC:
        return RubricJudge(terms.expected)
    if terms.judge:
        raise JudgeNotAvailable(f"judge {terms.judge!r} is not in this release: use 'rubric'", judge=terms.judge)
    raise InvalidArgument.of("judge_gate.judge", "is required")


async def rate_answers(
    corpora: Corpora, terms: JudgeTerms | None, question: str, corpus: str, ids: Sequence[str]
) -> dict[str, Rated]:
    """A verdict for each answer of a corpus, also for ids that it does not have.

    Raises CorpusNotFound, and what `make_judge` raises.
    """
    if terms is None:
        raise InvalidArgument.of("judge.judge", "is required")
    judge = make_judge(terms)
    await corpora.get(corpus)
    there = await corpora.metadata(corpus, list(dict.fromkeys(ids)))
    rated = await judge.rate(terms.original_text or question, there)
    return {one: rated.get(one, _ABSENT) for one in ids}


def _right(expected: Any, actual: Any) -> bool:
    if isinstance(expected, list):
        return all(_among(one, actual) for one in expected)
    return _same(expected, actual) or (isinstance(actual, list) and _among(expected, actual))


def _among(one: Any, actual: Any) -> bool:
    if isinstance(actual, str):
        for separator in _SEPARATORS:
            if separator in actual:
                return any(_same(one, part) for part in actual.split(separator))
    return any(_same(one, part) for part in actual) if isinstance(actual, list) else _same(one, actual)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.strip().casefold() == other.strip().casefold()
    return type(one) is type(other) and one == other
