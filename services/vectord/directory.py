"""The files of one index: a manifest, numbered logs, numbered segments (V6).

    manifest             which segments there are, and from which log on they say nothing
    00000004.log         writes since the cut, each acknowledged one on disk
    00000002.lhv1        a sealed segment

A log is cut by beginning the next one. Whatever the manifest does not name is left over from a build
that was interrupted, or was already replaced, and goes when the index is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.runtime.durable import Log, make_directory, remove_file, sweep_temporaries, sync_directory
from services.vectord import journal, manifest
from services.vectord.envelope import DamagedSegment
from services.vectord.journal import Operation
from services.vectord.manifest import Entry, Manifest
from services.vectord.sealed import SealedSegment

log = logging.getLogger(__name__)

_MANIFEST = "manifest"
_LOG = ".log"
_SEGMENT = ".lhv1"
_DAMAGED = ".damaged"


class Directory:
    """Reads and writes the files of an index; one thread writes at a time."""

    def __init__(self, path: Path, present: Manifest) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.manifest = present
        self.next_segment = present.next_segment
        self.problems = list(present.problems)
        """Damage, each in a sentence."""
        self._lasting = list(present.problems)
        self._damaged: list[Path] = []
        self._logs: dict[int, Log] = {}
        self.log: Log
        """The log that takes writes: the last one begun."""

    @classmethod
    def create(cls, path: Path, first: Manifest) -> Directory:
        """Makes the directory of an empty index; its manifest is on disk when this returns."""
        make_directory(path)
        directory = cls(path, first)
        directory._begin_log(first.log_from)
        directory.commit(first)
        return directory

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Opens what is there and removes leftovers. Raises DamagedManifest, OSError."""
        directory = cls(path, manifest.read(path / _MANIFEST))
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

    def segments(self) -> Iterator[tuple[Entry, SealedSegment]]:
        """Opens and checks the sealed segments; one that is damaged is reported and left out."""
        for entry in self.manifest.segments:
            try:
                yield entry, SealedSegment.open(self.path / entry.file, sha256=entry.sha256)
            except DamagedSegment as error:
                self._damaged.append(self.path / entry.file)
                self._report(f"{entry.count} items are lost: the segment {error}")

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
        number = self.next_segment
        self.next_segment += 1
        return self.path / f"{number:08d}{_SEGMENT}"

    def commit(self, new: Manifest) -> None:
        """Makes a manifest the present one, durably, and removes what it no longer names. Raises OSError.

        Once the manifest is on disk this succeeds: what cannot be removed now goes at the next time.
        Damaged files are set aside rather than removed: they may be all that is left of someone's data.
        """
        new = replace(new, next_segment=self.next_segment, problems=tuple(self._lasting))
        manifest.write(self.path / _MANIFEST, new)
        self.manifest = new
        for number in [number for number in self._logs if number < new.log_from]:
            self._logs.pop(number).close()
        try:
            for file in self._damaged:
                self._set_aside(file)
            self._remove_leftovers()
        except OSError as error:
            log.warning("index %s: old files are still there: %s", new.description.name, error.strerror)

    def _set_aside(self, file: Path) -> None:
        if file.exists():
            file.rename(file.with_name(file.name + _DAMAGED))
            sync_directory(self.path)

    def _remove_leftovers(self) -> None:
        named = {entry.file for entry in self.manifest.segments}
        for file in self.path.glob(f"*{_SEGMENT}"):
            if file.name not in named:
                remove_file(file)
        for number in self._numbers(_LOG):
            if number < self.manifest.log_from:
                remove_file(self.path / f"{number:08d}{_LOG}")

    def _numbers(self, suffix: str) -> list[int]:
        return sorted(int(file.stem) for file in self.path.glob(f"*{suffix}"))

    def close(self) -> None:
        """Closes the logs; every acknowledged write is on disk already."""
        for opened in self._logs.values():
            opened.close()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # replaced meanwhile
        return 0
