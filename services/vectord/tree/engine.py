"""What keeps one index: the tree of segments (index.py), or another back end behind the same methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from services.vectord.files.exporting import Export
from services.vectord.files.manifest import Description
from services.vectord.segments.filters import Filter
from services.vectord.segments.metric import Floats
from services.vectord.segments.recall import Recall
from services.vectord.segments.snapshot import Found, Query
from services.vectord.tree.items import Item
from services.vectord.tree.state import Applied

Lane = Literal["seal", "merge", "store", "check"]
"""Chores of different lanes go on at the same time, in threads of their own; of one lane one for each index."""

Stop = Callable[[], bool]
"""Whether to give up."""


def never() -> bool:
    """Go on."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found, and when."""

    recall: Recall
    checked_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of an index at this moment (V9)."""

    description: Description
    count: int
    hot_count: int
    segments: int
    tombstones: int
    updated_ns: int
    size: int
    problems: Sequence[str]
    checked: Checked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Work that an index needs now and then, in the background. It may be given up at any time and raises OSError."""

    lane: Lane
    work: Callable[[Stop], object]


class Engine(Protocol):
    """An open index. Safe from any number of threads; methods block unless they say otherwise.

    Whatever its engine, an index has a directory with a `manifest` (manifest.py) that describes it.
    """

    @property
    def description(self) -> Description:
        """What it is."""
        ...

    @property
    def path(self) -> Path:
        """Its directory."""
        ...

    @property
    def busy(self) -> bool:
        """Whether writers should wait until what was written is put away; at once."""
        ...

    def add(self, given: Sequence[Item]) -> tuple[Applied, int]:
        """Adds or replaces items, all or none, and returns what changed and how many items there are."""
        ...

    def delete(self, ids: Sequence[str]) -> tuple[Applied, int]:
        """Deletes items by id."""
        ...

    def add_missing(self, given: Sequence[Item]) -> Applied:
        """Adds those items whose ids are not there yet."""
        ...

    def delete_unchanged(self, seen: Found) -> Applied:
        """Deletes items that still are as they were seen."""
        ...

    def search(self, vectors: Sequence[Floats], query: Query, names: Sequence[str]) -> list[Found]:
        """The nearest items of each vector, on one state."""
        ...

    def quick(self, query: Query, vectors: int = 1) -> bool:
        """Whether a search is bounded by 1 ms; at once."""
        ...

    @property
    def immediate(self) -> bool:
        """Whether items are read by id without waiting for a disk; at once."""
        ...

    def get(self, ids: Sequence[str], *, condition: Filter | None = None, with_vectors: bool = True) -> Found:
        """Items by id."""
        ...

    def page(self, after: str, limit: int, *, with_vectors: bool = False) -> tuple[Found, bool]:
        """Items in the order of their ids, and whether more follow."""
        ...

    def info(self) -> Info:
        """What is known of it; at once."""
        ...

    def describe(self, description: Description) -> None:
        """Replaces the description, durably."""
        ...

    def export(self) -> Export:
        """One state of it as one file. Raises FailedPrecondition when this engine has none."""
        ...

    def check_recall(self, *, k: int = 10, sample: int = 100, stop: Stop = never) -> Checked | None:
        """Measures how many of the right neighbours a search finds; None when the index is empty."""
        ...

    def chores(self) -> Sequence[Chore]:
        """What should be done in the background now; at once."""
        ...

    def retire(self) -> int:
        """Ends all writing, because the index is being deleted; returns how many items it held."""
        ...

    def close(self) -> None:
        """Lets go of files."""
        ...
