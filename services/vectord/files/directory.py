"""The files of one index: a manifest, numbered logs, numbered segments (V6).

    manifest             which segments there are, and from which log on they say nothing
    00000004.log         writes since the cut, each acknowledged one on disk
    00000002.lhv1        a sealed segment

A log is cut by beginning the next one. Whatever the manifest does not name is left over from a build
that was interrupted, or was already replaced, and goes when the index is opened.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.runtime.durable import Log, make_directory, remove_file, sweep_temporaries, sync_directory
from services.vectord.errors import DamagedSegment
from services.vectord.files import manifest
from services.vectord.files.manifest import Entry, Manifest
from services.vectord.segments.metric import Mask, Rows
from services.vectord.segments.sealed import SealedSegment
from services.vectord.tree import journal
from services.vectord.tree.journal import Operation

log = logging.getLogger(__name__)

MANIFEST = "manifest"
_LOG = ".log"
_SEGMENT = ".lhv1"
_DAMAGED = ".damaged"

Fetch = Callable[[Entry, Path], bool]
"""Brings a segment's file back from where it was stored; False when it is not there. Raises Unavailable."""


class Directory:
    """Reads and writes the files of an index. Safe from several threads, but only one may cut the log at a time."""

    def __init__(self, path: Path, present: Manifest) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.manifest = present
        self.problems = list(present.problems)
        """Damage, each in a sentence."""
        self._next_segment = present.next_segment
        self._lasting = list(present.problems)
        self._damaged: list[Path] = []
        self._lost: set[str] = set()
        self._logs: dict[int, Log] = {}
        self._committing = threading.Lock()
        self._named = {entry.file for entry in present.segments}
        self._merged: dict[str, Sequence[tuple[str, Rows]]] = {}
        self.log: Log
        """The log that takes writes: the last one begun."""

    @classmethod
    def create(cls, path: Path, first: Manifest) -> Directory:
        """Makes the directory of an empty index; its manifest is on disk when this returns."""
        make_directory(path)
        directory = cls(path, first)
        directory._begin_log(first.log_from)
        directory._commit(first)
        return directory

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Opens what is there and removes leftovers. Raises DamagedManifest, OSError."""
        directory = cls(path, manifest.read(path / MANIFEST))
        sweep_temporaries(path)
        directory._remove_leftovers()
        numbers = directory._numbers(_LOG) or [directory.manifest.log_from]
        for number in numbers:
            directory._begin_log(number)
        return directory

    @property
    def size(self) -> int:
        """Bytes on disk; 0 once the index was deleted."""
        return sum(_size(file) for file in self.path.glob("*"))

    @property
    def unsealed(self) -> int:
        """Bytes of writes that no segment holds yet; about what they take in memory."""
        return sum(_size(opened.path) for opened in list(self._logs.values()))

    @property
    def log_size(self) -> int:
        """Bytes in the log that takes writes."""
        return _size(self.log.path)

    def load(self, entry: Entry, fetch: Fetch | None = None) -> SealedSegment | None:
        """Opens and checks a sealed segment, fetched when it is not sound here; None, and reported, when lost.

        Raises NewerVersion, and what `fetch` raises.
        """
        path = self.path / entry.file
        try:
            return SealedSegment.open(path, sha256=entry.sha256)
        except DamagedSegment as error:
            problem = error.message
        if fetch is not None:
            self._set_aside(path)
            if fetch(entry, path):
                log.warning("index %s: %s; it was fetched from storage", self.manifest.description.name, problem)
                return SealedSegment.open(path, sha256=entry.sha256)
        self._damaged.append(path)
        self._lost.add(entry.file)
        self._report(f"{entry.count} items are lost: the segment {problem}")
        return None

    def writes(self) -> Iterator[tuple[int, list[Operation]]]:
        """Time and operations of every write since the cut; damaged records are reported and left out."""
        for number in sorted(self._logs):
            for record in self._logs[number].records():
                try:
                    yield journal.decode(record.payload)
                except journal.UnknownVersion as error:
                    self._report(f"a write is left out: {error} in {number:08d}{_LOG} is from a later release")

    def _report(self, problem: str, *, lasting: bool = True) -> None:
        log.error("index %s: %s", self.manifest.description.name, problem)
        self.problems.append(problem)
        if lasting:
            self._lasting.append(problem)

    def begin_log(self) -> int:
        """Cuts the log; returns the number of the new one."""
        number = max(self._logs) + 1
        self._begin_log(number)
        return number

    def _begin_log(self, number: int) -> None:
        opened = Log(self.path / f"{number:08d}{_LOG}")
        for damage in opened.damage:
            # The end of a log is torn whenever a write was under way, and that one was never acknowledged.
            what = "an unfinished write at the end" if damage.torn_tail else "a damaged write"
            if not damage.torn_tail:
                self._damaged.append(opened.path)
            where = f"{damage.length} bytes at {damage.offset}"
            self._report(f"{what} of {opened.path.name} was left out: {where}", lasting=not damage.torn_tail)
        self._logs[number] = self.log = opened

    def segment_path(self) -> Path:
        """Where the next sealed segment goes; a place is given once, whatever becomes of the build."""
        with self._committing:
            number = self._next_segment
            self._next_segment += 1
        return self.path / f"{number:08d}{_SEGMENT}"

    def forget_merges(self) -> None:
        """To be called when the log is cut: from now on every mask is of segments that the manifest names."""
        with self._committing:
            self._merged.clear()

    def commit_seal(self, *, log_from: int, updated_ns: int, masks: Mapping[str, Mask], added: Iterable[Entry]) -> None:
        """The manifest of a cut: what was alive then in each segment by its file, and the segments made of logs.

        Raises OSError; once the manifest is on disk this succeeds.
        """
        with self._committing:
            # Segments that were merged since the cut: what was alive in their rows is known of their parts.
            there = [one for one in self.manifest.segments if one.file not in self._lost]
            kept = [replace(one, alive=self._alive(one.file, masks)) for one in there]
            self._commit(replace(self.manifest, updated_ns=updated_ns, log_from=log_from, segments=[*kept, *added]))

    def _alive(self, file: str, masks: Mapping[str, Mask]) -> Mask | None:
        if file in masks:
            return masks[file]
        return np.concatenate([_all(self._alive(part, masks), rows)[rows] for part, rows in self._merged[file]])

    def commit_merge(
        self,
        parts: Sequence[tuple[str, Rows]],
        made: Entry | None,
        change: Callable[[Manifest], Manifest] = lambda present: present,
    ) -> None:
        """Puts a segment made of rows of others in their place, and changes what else the manifest says.

        The log is not cut. Raises OSError.
        """
        with self._committing:
            before = {entry.file: entry for entry in self.manifest.segments}
            gone = {file for file, _ in parts}
            segments = [entry for entry in self.manifest.segments if entry.file not in gone]
            if made is not None:
                alive = np.concatenate([_all(before[file].alive, rows)[rows] for file, rows in parts])
                segments.append(replace(made, alive=alive))
            self._commit(change(replace(self.manifest, segments=segments)))
            if made is not None:
                self._merged[made.file] = parts

    def change(self, change: Callable[[Manifest], Manifest]) -> None:
        """Changes what the manifest says beside its segments and logs. Raises OSError."""
        with self._committing:
            self._commit(change(self.manifest))

    def _commit(self, new: Manifest) -> None:
        """Makes a manifest the present one, durably, and removes what it no longer names.

        What cannot be removed now goes at the next time. Damaged files are set aside rather than
        removed: they may be all that is left of someone's data.
        """
        new = replace(new, next_segment=self._next_segment, problems=tuple(self._lasting))
        manifest.write(self.path / MANIFEST, new)
        self.manifest = new
        for number in [number for number in self._logs if number < new.log_from]:
            self._logs.pop(number).close()
        try:
            for file in self._damaged:
                self._set_aside(file)
            self._remove_replaced(new)
        except OSError as error:
            log.warning("index %s: old files are still there: %s", new.description.name, error.strerror)

    def _set_aside(self, file: Path) -> None:
        if file.exists():
            file.rename(file.with_name(file.name + _DAMAGED))
            sync_directory(self.path)

    def _remove_replaced(self, new: Manifest) -> None:
        # A segment that is being built has a number of its own, which no manifest has named yet.
        now = {entry.file for entry in new.segments}
        self._named |= now
        for name in sorted(self._named - now):
            remove_file(self.path / name)
            self._named.discard(name)
        self._remove_logs()

    def _remove_leftovers(self) -> None:
        for file in self.path.glob(f"*{_SEGMENT}"):
            if file.name not in self._named:
                remove_file(file)
        self._remove_logs()

    def _remove_logs(self) -> None:
        for number in self._numbers(_LOG):
            if number < self.manifest.log_from:
                remove_file(self.path / f"{number:08d}{_LOG}")

    def _numbers(self, suffix: str) -> list[int]:
        return sorted(int(file.stem) for file in self.path.glob(f"*{suffix}"))

    def close(self) -> None:
        """Closes the logs; every acknowledged write is on disk already."""
        for opened in self._logs.values():
            opened.close()


def _all(alive: Mask | None, rows: Rows) -> Mask:
    """A mask to take `rows` from."""
    return np.ones(int(rows.max(initial=-1)) + 1, dtype=np.bool_) if alive is None else alive


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # replaced meanwhile
        return 0
