"""The datasets as a statement sees them: one view for each, by its name, over immutable files (Q2).

A session gets its own views, made when a statement first touches a dataset and made again only
when the dataset's files have changed. So nothing is fetched before it is needed, start-up costs
the same for one dataset and for ten thousand, and a running statement keeps the rows it began with.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.queryd.errors import DatasetUnreadable, UnknownTable
from services.runtime.names import same_name

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One immutable Parquet object, and the dataset it is needed for."""

    dataset: str
    bucket: str
    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the engine needs to know of a dataset that a statement reads."""

    name: str
    """The name that the statement calls it by."""
    dataset: str
    files: tuple[str, ...]
    """The SHA-256 of each data file, in order."""
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset: its name and the files that hold its rows, in order."""

    name: str
    files: tuple[DataFile, ...]
    digest: str = field(init=False)
    """Stands for the content: equal digests are equal rows in equal order."""

    def __post_init__(self) -> None:
        joined = ",".join(file.sha256 for file in self.files)
        object.__setattr__(self, "digest", hashlib.sha256(joined.encode()).hexdigest())

    def view(self, name: str) -> View:
        """The dataset as a statement sees it that calls it `name`."""
        files = tuple(file.sha256 for file in self.files)
        return View(name=name, dataset=self.name, files=files, digest=self.digest)

    @property
    def fault(self) -> str | None:
        """Why no statement can read it, or None."""
        if not self.files:
            return "it has no data files"
        for file in self.files:
            if _SHA256.fullmatch(file.sha256) is None:
                return f"the object {file.key} is registered without a SHA-256 in hexadecimal"
        return None


class Views:
    """The datasets of one catalog version, swapped as a whole. Safe from any thread."""

    def __init__(self) -> None:
        """Begins without a version: nothing is known yet."""
        self._state: tuple[int | None, dict[str, Dataset]] = (None, {})

    @property
    def version(self) -> int | None:
        """The catalog version these datasets belong to; None before the first."""
        return self._state[0]

    @property
    def names(self) -> list[str]:
        """Every dataset's name in order."""
        return sorted(dataset.name for dataset in self._state[1].values())

    def follow(self, version: int, datasets: Iterable[Dataset]) -> None:
        """Takes over the datasets of a catalog version; those that left it are gone at once. O(datasets)."""
        self._state = (version, {same_name(dataset.name): dataset for dataset in datasets})

    def resolve(self, tables: Iterable[str]) -> list[tuple[str, Dataset]]:
        """The dataset behind each table of a statement, under the table's own spelling. O(tables).

        UnknownTable with the nearest name, DatasetUnreadable for a dataset that cannot be read.
        """
        _, datasets = self._state
        found: list[tuple[str, Dataset]] = []
        for table in tables:
            dataset = datasets.get(same_name(table))
            if dataset is None:
                raise self._unknown(table)
            if dataset.fault is not None:
                raise unreadable(dataset.name, dataset.fault)
            found.append((table, dataset))
        return found

    def _unknown(self, table: str) -> UnknownTable:
        names = self.names
        folded = {same_name(name): name for name in names}
        near = difflib.get_close_matches(same_name(table), folded, n=1)
        if near:
            suggestion = folded[near[0]]
            return UnknownTable(
                f"there is no dataset {table!r}; did you mean {suggestion!r}?", table=table, suggestion=suggestion
            )
        if not names:
            return UnknownTable(f"there is no dataset {table!r}: nothing has been ingested yet", table=table)
        listed = ", ".join(repr(name) for name in names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
        return UnknownTable(f"there is no dataset {table!r}; there is {listed}", table=table)


def data_path(files: Path, sha256: str) -> Path:
    """Where the data file with this content lies."""
    return files / f"{sha256}.parquet"


def unreadable(dataset: str, why: str) -> DatasetUnreadable:
    """The error for a dataset whose rows cannot be read."""
    return DatasetUnreadable(f"the dataset {dataset!r} cannot be read: {why}", dataset=dataset)
