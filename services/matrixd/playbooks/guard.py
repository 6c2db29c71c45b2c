"""Keeps a playbook from misleading: what a question asks for exactly must be what was asked then (M6, M7).

    asked and recorded contradict each other     the entry is refused
    only the asked one names a value             the answer itself must have it
    only the recorded one names a value          the asked one must say the same in other words: most of
                                                 what these other words find must have the value. Where its
                                                 other values imply this one (a city its state), no word by
                                                 itself may find another one nearly always
    the answer's metadata contradict the asked   it is neither boosted nor injected

A rejection counts for questions that ask for at least as much as the recorded one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.struct_pb2 import Struct, Value

from services.matrixd.playbooks.agreement import uncounted, unnamed
from services.matrixd.playbooks.constraints import Asked, Constraints
from services.matrixd.playbooks.gates import Recollection, Verdict
from services.matrixd.playbooks.playbook import REJECTED
from services.matrixd.playbooks.vocabularies import Reader
from services.matrixd.playbooks.vocabulary import holds, values_of

_MOST, _NEARLY_ALL = 0.6, 0.8
_MOST_WORDS = 12
_SAME_WORDS = Verdict("constraint", True, "the same words")
_AGREES = Verdict("constraint", True, "asks for the same")
_OTHER_WORDS = Verdict("constraint", True, "asks for the same in other words")
_UNKNOWN = Verdict("constraint", False, "the values of the corpora are not known yet")


class Doubt(NamedTuple):
    """An entry that counts only if some words of the asked question mean values that the recorded one names."""

    playbook_id: str
    corpus: str
    words: str
    values: tuple[Asked, ...]
    implied: tuple[Asked, ...]

    @property
    def apart(self) -> list[str]:
        """The words to be looked at one by one, because one that means something else would drown among them."""
        words = list(dict.fromkeys(self.words.split()))
        return words[:_MOST_WORDS] if self.implied and len(words) > 1 else []


class Guard:
    """The guard of one search."""

    def __init__(self, text: str, reader: Reader | None) -> None:
        """`reader` is None while the corpora's values are not known; then only the same words agree."""
        self._text = text
        self._reader = reader
        self._meant: set[str] = set()

    @property
    def asked(self) -> Constraints | None:
        """What the question asks for; None while that is not known."""
        return self._reader.read(self._text) if self._reader is not None else None

    def doubts(self, recollections: Iterable[Recollection]) -> list[Doubt]:
        """The entries that depend on what words of the question mean."""
        if self._reader is None:
            return []
        found = []
        for recollection in recollections:
            if recollection.query_text == self._text or recollection.outcome == REJECTED:
                continue
            if self._reader.difference(self._text, recollection.query_text):
                continue
            values, implied = self._unsaid(recollection)
            words = self._other_words(recollection)
            if (values or implied) and words and not any(value.negated for value in values):
                found.append(Doubt(recollection.playbook_id, recollection.answer_corpus, words, values, implied))
        return found

    def learn(self, doubt: Doubt, together: Sequence[Struct], apart: Sequence[Sequence[Struct]] = ()) -> None:
        """Resolves a doubt by what was found for its words together, and for each of `doubt.apart`."""
        shows = all(_mostly(value, together) for value in doubt.values)
        found = (together, *apart)
        if shows and not any(_another(value, items) for value in doubt.implied for items in found):
            self._meant.add(doubt.playbook_id)

    def question(self, recollection: Recollection) -> Verdict:
        """Whether an entry's question asks for the same. 2 us for one that was compared before, else 200 us."""
        recorded = recollection.query_text
        if recorded == self._text:
            return _SAME_WORDS
        if self._reader is None:
            return _UNKNOWN
        differs = self._reader.difference(self._text, recorded)
        if differs:
            return Verdict("constraint", False, differs)
        asked, then = self._reader.read(self._text), self._reader.read(recorded)
        if recollection.outcome == REJECTED:
            asked, then = then, asked
        more = uncounted(asked, then)
        if more:
            return Verdict("constraint", False, f"asks for {more}, which was not recorded")
        values, implied = self._unsaid(recollection)
        if not values and (not implied or not self._other_words(recollection)):
            return _AGREES
        if recollection.playbook_id in self._meant:
            return _OTHER_WORDS
        return Verdict("constraint", False, f"recorded for {_said((*values, *implied)[0])}, which is not asked for")

    def answer(self, recollection: Recollection, payload: bytes) -> Verdict | None:
        """What speaks against an answer in its own metadata; None when nothing does. 20 us."""
        if self._reader is None or recollection.outcome == REJECTED:
            return None
        asked = self._reader.read(self._text)
        if not asked.values:
            return None
        metadata = Struct.FromString(payload)
        extra = unnamed(asked, self._reader.read(recollection.query_text))
        for value in asked.values:
            known = [metadata.fields[field] for field in sorted(value.fields) if field in metadata.fields]
            has = any(holds(one, value.value) for one in known)
            wrong = has if value.negated else (not has if known else value in extra)
            if wrong:
                return Verdict("constraint", False, f"the answer does not meet {_said(value)}")
        return None

    def _unsaid(self, recollection: Recollection) -> tuple[tuple[Asked, ...], tuple[Asked, ...]]:
        """The values that only the recorded question names: those that nothing implies, and those implied."""
        reader = self._reader
        assert reader is not None
        asked = reader.read(self._text)
        said = [value.value for value in asked.values if not value.negated]
        values: list[Asked] = []
        implied: list[Asked] = []
        for value in unnamed(reader.read(recollection.query_text), asked):
            known = any(reader.vocabulary.implies(one, field, value.value) for one in said for field in value.fields)
            (implied if known and not value.negated else values).append(value)
        return tuple(values), tuple(implied)

    def _other_words(self, recollection: Recollection) -> str:
        """The words that only the asked question has, apart from values, numbers and function words."""
        assert self._reader is not None
        recorded = self._reader.read(recollection.query_text).words
        return " ".join(word for word in self._reader.read(self._text).free if word not in recorded)


def _mostly(value: Asked, items: Sequence[Struct]) -> bool:
    shown = [any(holds(one, value.value) for one in cells) for cells in _cells(value, items)]
    return sum(shown) > _MOST * len(shown)


def _another(value: Asked, items: Sequence[Struct]) -> bool:
    """Whether nearly all items share another value of the same column."""
    shown: Counter[str] = Counter()
    cells = _cells(value, items)
    for one in cells:
        shown.update({norm for cell in one for norm in values_of(cell)})
    return any(norm != value.value and count >= _NEARLY_ALL * len(cells) for norm, count in shown.items())


def _cells(value: Asked, items: Sequence[Struct]) -> list[list[Value]]:
    found = [[metadata.fields[field] for field in value.fields if field in metadata.fields] for metadata in items]
    return [cells for cells in found if cells]


def _said(value: Asked) -> str:
    return f"{'not ' if value.negated else ''}{value.value!r} ({', '.join(sorted(value.fields))})"
