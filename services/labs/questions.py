"""Questions made from the rows of any file, so that the right answer is known without a judge.

A question is a handful of one row's words in another order; that row is its right answer. The
paraphrase drops some of those words, takes others of the same row instead, and shuffles again.
Words that many rows share are left out where enough others remain. Deterministic: the row's id
seeds the choice.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_](?:[\w'\u2019+/.-]*[^\W_])?")
_MOST = 9
_FEWEST = 4
_TWO_WORDS = 2
_SHARED_BY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and its paraphrase, made from one row."""

    row_id: str
    text: str
    paraphrase: str


def words_of(text: str) -> list[str]:
    """Returns the distinct words of a text in order, without those of one or two letters or digits."""
    found: dict[str, str] = {}
    for match in _WORD.finditer(text):
        if len(match.group()) > 2:
            found.setdefault(match.group().casefold(), match.group())
    return list(found.values())


def common_words(texts: Iterable[str]) -> frozenset[str]:
    """Returns the words, in lower case, that occur in more than a tenth of the texts and at least in three."""
    counted: Counter[str] = Counter()
    number = 0
    for text in texts:
        number += 1
        counted.update({word.casefold() for word in words_of(text)})
    return frozenset(word for word, count in counted.items() if count >= 3 and count > _SHARED_BY * number)


def ask(row_id: str, text: str, *, attempt: int = 0, common: Collection[str] = ()) -> Question | None:
    """Makes a question from a row's text; None when it has too few words. Each attempt asks in fewer words."""
    words = words_of(text)
    # A short text, such as a name and a place, gives all its words but one.
    fewest = min(_FEWEST, len(words) - 1)
    size = max(fewest, min(_MOST, len(words) // 2) - 2 * attempt)
    telling = [word for word in words if word.casefold() not in common]
    if len(telling) >= size + 2:
        words = telling
    if size < _TWO_WORDS:
        return None
    pick = random.Random(f"{attempt}\x1f{row_id}")
    asked = pick.sample(words, size)
    others = [word for word in words if word not in asked]
    swapped = max(1, size // 4)
    reworded = [*asked[swapped:], *pick.sample(others, swapped)]
    pick.shuffle(reworded)
    return Question(row_id=row_id, text=" ".join(asked), paraphrase=" ".join(reworded))
