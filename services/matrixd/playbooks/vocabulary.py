"""The values that the metadata of a corpus is made of, and finding them in a text.

What may be asked for exactly is learned from the data: no list of cities, roles or certificates is
in this daemon. A column whose values are long, or too many, says nothing that a question would name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.struct_pb2 import Struct, Value

from services.matrixd.playbooks.language import FUNCTION_WORDS, singular

MAX_VALUES = 2_000
"""Values of one column; a column of more is left out."""
_MAX_PIECES, _MAX_LENGTH = 6, 64
_LONG_SHARE = 0.5
_PIECE = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_SEPARATORS = re.compile(r"\s*[;|\n]\s*")
_CAPITALS = 3
_SUPPORT = 3
_MANY = object()

Pieces = tuple[str, ...]
Implication = tuple[str, str, str]
"""A value, a column, and the only value of that column that items with the first value have."""


class Piece(NamedTuple):
    """A run of letters or digits in a text, normalised and as written."""

    norm: str
    raw: str
    start: int
    end: int


class Named(NamedTuple):
    """A value that a text names: the columns that have it, and where it stands."""

    fields: frozenset[str]
    value: str
    start: int
    end: int


class _Phrase(NamedTuple):
    pieces: Pieces
    capitals: bool
    """Whether it counts only where it is written in capitals: `OR` is a state, `or` is not."""
    fields: frozenset[str]


def pieces_of(text: str) -> list[Piece]:
    """The runs of letters and of digits of a text, without case and plural ending."""
    return [
        Piece(singular(match.group().casefold()), match.group(), match.start(), match.end())
        for match in _PIECE.finditer(text)
    ]


class Vocabulary:
    """Finds values in texts. Immutable."""

    def __init__(
        self,
        fields: Mapping[str, Iterable[tuple[Pieces, bool]]] | None = None,
        implied: Iterable[Implication] = (),
    ) -> None:
        """`fields` has the values of each column: their pieces, and whether they count in capitals only."""
        self._implied = frozenset(implied)
        merged: dict[tuple[Pieces, bool], set[str]] = {}
        for field, values in (fields or {}).items():
            for value in values:
                merged.setdefault(value, set()).add(field)
        self._phrases: dict[str, list[_Phrase]] = {}
        for (pieces, capitals), names in merged.items():
            self._phrases.setdefault(pieces[0], []).append(_Phrase(pieces, capitals, frozenset(names)))
        for phrases in self._phrases.values():
            phrases.sort(key=lambda phrase: (-len(phrase.pieces), phrase.capitals, phrase.pieces))

    def __len__(self) -> int:
        return sum(map(len, self._phrases.values()))

    def implies(self, value: str, field: str, other: str) -> bool:
        """Whether everything that has `value` has `other` in `field`: a city implies its state."""
        return (value, field, other) in self._implied

    def find(self, pieces: Sequence[Piece]) -> Iterator[Named]:
        """The values in a text, longest first where they overlap, in order. 0.3 us a piece."""
        place = 0
        while place < len(pieces):
            phrase = self._at(pieces, place)
            if phrase is None:
                place += 1
                continue
            last = place + len(phrase.pieces) - 1
            yield Named(phrase.fields, " ".join(phrase.pieces), pieces[place].start, pieces[last].end)
            place = last + 1

    def _at(self, pieces: Sequence[Piece], place: int) -> _Phrase | None:
        for phrase in self._phrases.get(pieces[place].norm, ()):
            there = pieces[place : place + len(phrase.pieces)]
            if tuple(piece.norm for piece in there) != phrase.pieces:
                continue
            if not phrase.capitals or all(piece.raw.isupper() for piece in there):
                return phrase
        return None


class Collector:
    """Gathers the values of columns, item by item. 60 us an item; memory is bounded by MAX_VALUES a column."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._implied: dict[tuple[str, str], object] = {}
        self._support: Counter[str] = Counter()

    def add_all(self, items: Iterable[Struct]) -> None:
        """Takes the values of several items in."""
        for metadata in items:
            self.add(metadata)

    def add(self, metadata: Struct) -> None:
        """Takes the values of one item in."""
        named: list[str] = []
        single: list[tuple[str, str]] = []
        for field, value in metadata.fields.items():
            column = self._columns.get(field)
            if column is None:
                column = self._columns[field] = _Column()
            values = [part for text in _texts(value) for part in column.take(text)]
            named += values
            if len(values) == 1:
                single.append((field, values[0]))
        for name in named:
            self._support[name] += 1
            for field, other in single:
                if self._implied.setdefault((name, field), other) != other:
                    self._implied[name, field] = _MANY

    def vocabulary(self) -> dict[str, frozenset[tuple[Pieces, bool]]]:
        """The values of the columns that name something."""
        return {field: frozenset(column.values) for field, column in self._columns.items() if column.names}

    def implications(self) -> Iterator[Implication]:
        """What the values imply, as far as several items show it."""
        for (value, field), other in self._implied.items():
            if isinstance(other, str) and other != value and self._support[value] >= _SUPPORT:
                yield (value, field, other)


class _Column:
    """The values of one column, and whether they are such that a question would name them."""

    def __init__(self) -> None:
        self.values: set[tuple[Pieces, bool]] = set()
        self._cells: dict[str, tuple[str, ...]] = {}
        self._long = 0
        self._dropped = False

    @property
    def names(self) -> bool:
        return bool(self.values) and self._long <= _LONG_SHARE * len(self._cells)

    def take(self, text: str) -> tuple[str, ...]:
        """The values in a cell, normalised; none once there have been too many."""
        known = self._cells.get(text)
        if known is not None or self._dropped:
            return known or ()
        parts = parts_of(text)
        fitting = [part for part in parts if part is not None and part[0]]
        self._long += None in parts
        self.values.update(fitting)
        cell = self._cells[text] = tuple(dict.fromkeys(" ".join(pieces) for pieces, _ in fitting))
        if len(self.values) > MAX_VALUES or len(self._cells) > 8 * MAX_VALUES or self._long > MAX_VALUES:
            self._dropped = True
            self.values, self._cells = set(), {}
        return cell


def parts_of(text: str) -> list[tuple[Pieces, bool] | None]:
    """The values in one cell: it may be a list with semicolons or commas. None for one too long to be named."""
    parts: list[tuple[Pieces, bool] | None] = []
    for whole in _SEPARATORS.split(text):
        several = whole.split(", ") if ", " in whole else []
        for part in (whole, *several):
            if len(several) > 1 and part is whole and len(several) > 3:
                continue  # a list with commas, not a place with its state
            parts.append(_value(part))
    return parts


def values_of(value: Value) -> set[str]:
    """The values in a cell of metadata, in their normalised form."""
    return {" ".join(part[0]) for text in _texts(value) for part in parts_of(text) if part is not None and part[0]}


def holds(value: Value, wanted: str) -> bool:
    """Whether a cell is, or lists, a value in its normalised form."""
    return wanted in values_of(value)


def _value(part: str) -> tuple[Pieces, bool] | None:
    if len(part) > _MAX_LENGTH:
        return None
    pieces = tuple(piece.norm for piece in pieces_of(part))
    if len(pieces) > _MAX_PIECES:
        return None
    letters = [piece for piece in pieces if not piece[0].isdigit()]
    capitals = len(part.strip()) <= _CAPITALS and part.isupper()
    if not letters or (len(pieces) == 1 and (len(pieces[0]) < 2 or (pieces[0] in FUNCTION_WORDS and not capitals))):
        return ((), False)  # numbers are compared as numbers; a letter or a function word names nothing
    return (pieces, capitals)


def _texts(value: Value) -> Iterator[str]:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        yield value.string_value
    elif kind == "list_value":
        for item in value.list_value.values:
            if item.WhichOneof("kind") == "string_value":
                yield item.string_value
