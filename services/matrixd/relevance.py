"""Which chunks matter for the file that is worked on (M3).

    path            +1.0   the chunk is from the focus file
    filename        +0.6   its text names the focus file
    defined_symbol  +0.6   its text mentions a symbol that the focus file defines
    jaccard         x 0.4  how many words both texts share
    shared_prefix   +0.3   both paths begin with the same two segments
    import_only     -0.5   its text mentions imported symbols and no defined one

The last one is the point: what a file imports reads much like the file, and leads a model astray.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.matrixd.symbols import defined_symbols, imported_symbols, words
from services.runtime.errors import InvalidArgument

DEFAULT_THRESHOLD = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of code or text."""

    id: str
    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """The file that is worked on. Symbols are read from its text where none are given."""

    path: str
    text: str = ""
    defined: Collection[str] = ()
    imported: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """What counted for or against a chunk, and how much."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A chunk with its score and what it is made of."""

    chunk: Chunk
    score: float
    signals: Sequence[Signal]


@dataclass(frozen=True, slots=True)
class Sorted:
    """Chunks that stay and chunks that go, each best first."""

    kept: Sequence[Scored]
    dropped: Sequence[Scored]
    threshold: float


def sort_chunks(focus: Focus, chunks: Iterable[Chunk], threshold: float | None) -> Sorted:
    """Scores every chunk and splits them at the threshold. About 50 us a chunk of 1,000 characters.

    Raises InvalidArgument for a threshold that is no number.
    """
    limit = DEFAULT_THRESHOLD if threshold is None else threshold
    if not math.isfinite(limit):
        raise InvalidArgument.of("threshold", f"must be a number, is {limit}")
    score = _Scorer(focus)
    scored = sorted((score(chunk) for chunk in chunks), key=lambda one: -one.score)
    kept = [one for one in scored if one.score >= limit]
    dropped = [one for one in scored if one.score < limit]
    return Sorted(kept, dropped, limit)


class _Scorer:
    """Scores chunks against one focus file, whose text is read once."""

    def __init__(self, focus: Focus) -> None:
        path = PurePosixPath(focus.path.replace("\\", "/"))
        self._path = path.as_posix().removeprefix("./")
        self._prefix = path.parts[:2]
        self._words = words(focus.text)
        self._name = _mention([path.name])
        self._defined = _mention(focus.defined or defined_symbols(focus.text, focus.path))
        self._imported = _mention(focus.imported or imported_symbols(focus.text, focus.path))

    def __call__(self, chunk: Chunk) -> Scored:
        """Adds up the signals."""
        defines = _found(self._defined, chunk.text)
        signals = [
            Signal("path", 1.0 if self._is_from_focus(chunk) else 0.0),
            Signal("filename", 0.6 if _found(self._name, chunk.text) else 0.0),
            Signal("defined_symbol", 0.6 if defines else 0.0),
            Signal("jaccard", 0.4 * _jaccard(self._words, words(chunk.text))),
            Signal("shared_prefix", 0.3 if self._shares_prefix(chunk.path) else 0.0),
            Signal("import_only", -0.5 if not defines and _found(self._imported, chunk.text) else 0.0),
        ]
        counted = [signal for signal in signals if signal.value]
        return Scored(chunk, math.fsum(signal.value for signal in counted), counted)

    def _is_from_focus(self, chunk: Chunk) -> bool:
        sources = (chunk.path.replace("\\", "/"), chunk.id.replace("\\", "/"))
        return any(re.search(rf"(?:^|[^\w]){re.escape(self._path)}(?:$|[^\w])", source) for source in sources)

    def _shares_prefix(self, path: str) -> bool:
        parts = PurePosixPath(path.replace("\\", "/")).parts[:2]
        return len(self._prefix) == 2 and parts == self._prefix


def _mention(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds any of the names as a whole word; None without names."""
    alternatives = "|".join(re.escape(name) for name in sorted(names) if name)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)") if alternatives else None


def _found(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.search(text) is not None


def _jaccard(one: set[str], other: set[str]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 0.0
