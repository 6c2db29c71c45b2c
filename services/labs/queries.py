"""The questions of a reality test: what each asks, in which words, and what its asker knows of right answers.

A file of questions is CSV with a header, or a JSON list of objects. The columns, all but `query` optional:

    query            the question
    id               its name in reports; its number in the file when absent
    paraphrases      the same question in other words; in CSV separated by ` | `
    role             the role it is about, for the role gate
    category         for counting; `all` when absent
    expected         JSON object of metadata fields that a right answer has, for the rubric
    answers          ids that are right; in CSV separated by ` | `
    out_of_domain    true when the data cannot answer it
    where            SQL condition over the dataset behind the corpora, which right answers meet
    not_like         the id of another question, alike in words, whose answer must not be given here
    contract         whose request it is, for `lakehouse stress`
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.labs.plan import UnfitData

SEPARATOR = " | "
FIELDS = (
    "query",
    "id",
    "paraphrases",
    "role",
    "category",
    "expected",
    "answers",
    "out_of_domain",
    "where",
    "not_like",
    "contract",
)
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question."""

    id: str
    text: str
    paraphrases: tuple[str, ...] = ()
    role: str = ""
    category: str = "all"
    expected: Mapping[str, Any] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    out_of_domain: bool = False
    where: str = ""
    not_like: str = ""
    contract: str = ""


def read_queries(path: Path) -> tuple[Query, ...]:
    """Reads a file of questions, JSON when it is named so, else CSV. Raises OSError, and UnfitData naming the fault."""
    rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    queries = tuple(_query(row, number) for number, row in enumerate(rows, 1))
    if not queries:
        raise UnfitData(f"{path}: there is no question in it", reason="NO_QUERIES")
    seen: set[str] = set()
    for query in queries:
        if query.id in seen:
            raise UnfitData(f"{path}: two questions have the id {query.id!r}", reason="DUPLICATE_IDS")
        seen.add(query.id)
    lost = next((query for query in queries if query.not_like and query.not_like not in seen), None)
    if lost is not None:
        message = f"{path}: question {lost.id!r} names {lost.not_like!r} in not_like, and there is no such question"
        raise UnfitData(message, reason="UNKNOWN_QUERY")
    return queries


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _known(path, reader.fieldnames or ())
        rows: list[dict[str, Any]] = []
        for row in reader:
            values: dict[str, Any] = {name: (value or "").strip() for name, value in row.items() if name is not None}
            for name in ("paraphrases", "answers"):
                values[name] = [part.strip() for part in values.get(name, "").split(SEPARATOR) if part.strip()]
            values["expected"] = _object(path, values.get("expected", ""))
            rows.append(values)
        return rows


def _json_rows(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnfitData(f"{path}: this is no JSON: {error}", reason="NOT_JSON") from error
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise UnfitData(f"{path}: a list of objects is needed", reason="WRONG_SHAPE")
    for row in document:
        _known(path, tuple(row), required=("query",))
    return document


def _known(path: Path, names: Sequence[str], *, required: Sequence[str] = ("query",)) -> None:
    unknown = [name for name in names if name not in FIELDS]
    missing = [name for name in required if name not in names]
    if unknown or missing:
        fault = f"it has no field {missing[0]!r}" if missing else f"nobody knows the field {unknown[0]!r}"
        raise UnfitData(f"{path}: {fault}; the fields are: {', '.join(FIELDS)}", reason="WRONG_SHAPE")


def _object(path: Path, text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnfitData(f"{path}: expected is no JSON object: {text}", reason="WRONG_SHAPE")
    return value


def _query(row: Mapping[str, Any], number: int) -> Query:
    text = str(row["query"]).strip()
    if not text:
        raise UnfitData(f"question {number} is empty", reason="WRONG_SHAPE")
    return Query(
        id=str(row.get("id") or number),
        text=text,
        paraphrases=_texts(row, "paraphrases", number),
        role=str(row.get("role") or ""),
        category=str(row.get("category") or "all"),
        expected=_expected(row, number),
        answers=_texts(row, "answers", number),
        out_of_domain=_flag(row.get("out_of_domain", False), number),
        where=str(row.get("where") or ""),
        not_like=str(row.get("not_like") or ""),
        contract=str(row.get("contract") or ""),
    )


def _texts(row: Mapping[str, Any], name: str, number: int) -> tuple[str, ...]:
    value = row.get(name) or []
    if not isinstance(value, list):
        raise UnfitData(f"question {number}: {name} must be a list of texts", reason="WRONG_SHAPE")
    return tuple(str(part) for part in value)


def _expected(row: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    value = row.get("expected") or {}
    if not isinstance(value, dict):
        raise UnfitData(f"question {number}: expected must be an object", reason="WRONG_SHAPE")
    return value


def _flag(value: object, number: int) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().casefold()
    if word not in _TRUE | _FALSE:
        raise UnfitData(f"question {number}: out_of_domain is {word!r}, not true or false", reason="WRONG_SHAPE")
    return word in _TRUE
