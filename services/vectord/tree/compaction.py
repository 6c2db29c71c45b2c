"""How writes become sealed segments, and segments larger ones; crash-safe at every step.

A seal takes the hot rows and needs no graph, so it is quick and memory stays bounded:

    cut    the next log begins, the hot segment is frozen; all that was written so far is in the slots
    seal   the frozen rows are written as a list; then the manifest, which names it and the cut
    swap   searches get the new segment (State.replace)

A merge makes one segment, with a graph, of several, and may take long. It goes on beside seals and
never touches the log: the manifest says what was alive at the cut, and a merged segment inherits
that row by row. A kill before a manifest leaves the old files, after it the new ones; either way
every acknowledged write is there once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.vectord.files import envelope
from services.vectord.files.directory import Directory
from services.vectord.files.manifest import Description, Entry, Manifest
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Source, build
from services.vectord.segments.measuring import PROBES
from services.vectord.segments.metric import Mask, Rows
from services.vectord.segments.native import give_memory_back, use_threads
from services.vectord.segments.sealed import SealedSegment
from services.vectord.tree.plan import Plan
from services.vectord.tree.state import Slot, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """An index at the moment in which its log was cut."""

    log_from: int
    updated_ns: int
    rows: Sequence[tuple[Slot, Rows]]
    """The living rows of the frozen segments."""
    masks: Mapping[str, Mask]
    """What was alive in each sealed segment, by its file."""


def cut(state: State, directory: Directory, *, updated_ns: int) -> Cut:
    """Cuts the log and freezes the hot segment. Only with the index's writer held."""
    log_from = directory.begin_log()
    directory.forget_merges()
    state.rotate()
    return Cut(
        log_from=log_from,
        updated_ns=updated_ns,
        rows=[(slot, np.flatnonzero(slot.alive())) for slot in state.frozen()],
        masks={_sealed(slot).file: slot.alive() for slot in state.sealed()},
    )


def seal(made: Cut, directory: Directory, *, stop: Callable[[], bool]) -> SealedSegment | None:
    """Writes the frozen rows and the manifest; None when no row is left. Raises Stopped, OSError."""
    segment = None
    if any(len(rows) for _, rows in made.rows):
        described = directory.manifest.description
        segment = write_segment(directory.segment_path(), described, made.rows, watch=Watch(stop=stop), graph=False)
    added = [] if segment is None else [entry_of(segment)]
    with Written(directory, segment):
        directory.commit_seal(log_from=made.log_from, updated_ns=made.updated_ns, masks=made.masks, added=added)
    return segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Segments on their way to become one."""

    base: SealedSegment | None
    """The segment whose rows all go into the new one, dead ones too."""
    rows: Sequence[tuple[Slot, Rows]]
    """The rows of the new segment in their order, those of `base` first; a slot may come twice."""
    probes: int
    """How many at the end of `rows` hold the probes."""

    @property
    def parts(self) -> list[tuple[str, Rows]]:
        """The same rows by file."""
        return [(_sealed(slot).file, rows) for slot, rows in self.rows]


def prepare(chosen: Plan, directory: Directory) -> Merge:
    """Which rows of the chosen segments become one: what was alive at the last cut, which may since have died."""
    alive = {entry.file: entry.alive for entry in directory.manifest.segments}
    others = [(slot, _living(slot.segment.count, alive[_sealed(slot).file])) for slot in chosen.others]
    rows, probes = split(others, seed=directory.manifest.log_from)
    rows += probes
    base = None
    if chosen.base is not None:
        base = _sealed(chosen.base)
        rows.insert(0, (chosen.base, np.arange(base.count)))
    return Merge(base=base, rows=rows, probes=len(probes))


def merge(
    made: Merge, directory: Directory, *, threads: int, watch: Watch, described: Description | None = None
) -> SealedSegment | None:
    """Builds and writes the segment, as the index is described or is to be; None when no row is left.

    Raises Stopped, OSError.
    """
    if not any(len(rows) for _, rows in made.rows):
        return None
    others = made.rows[1:] if made.base is not None else made.rows
    segment = write_segment(
        directory.segment_path(),
        described or directory.manifest.description,
        others,
        base=made.base,
        probes=made.probes,
        threads=threads,
        watch=watch,
    )
    give_memory_back()
    return segment


def commit(
    made: Merge,
    segment: SealedSegment | None,
    directory: Directory,
    change: Callable[[Manifest], Manifest] = lambda present: present,
) -> None:
    """Writes the manifest that names the merged segment, changed otherwise too. Only with the index's writer held.

    Raises OSError.
    """
    with Written(directory, segment):
        directory.commit_merge(made.parts, None if segment is None else entry_of(segment), change)


def _living(count: int, alive: Mask | None) -> Rows:
    return np.arange(count) if alive is None else np.flatnonzero(alive)


def split(rows: Sequence[tuple[Slot, Rows]], *, seed: int) -> tuple[list[tuple[Slot, Rows]], list[tuple[Slot, Rows]]]:
    """Most rows, and the probes: drawn from all of them, but the same ones every time."""
    if not rows:
        return [], []
    ends = np.cumsum([len(some) for _, some in rows])
    total = int(ends[-1])
    probe = np.zeros(total, dtype=np.bool_)
    probe[np.random.default_rng(seed).permutation(total)[: min(PROBES, total // 2)]] = True
    pieces = np.split(probe, ends[:-1])
    most = [(slot, some[~piece]) for (slot, some), piece in zip(rows, pieces, strict=True)]
    few = [(slot, some[piece]) for (slot, some), piece in zip(rows, pieces, strict=True)]
    return most, few


def write_segment(
    path: Path,
    description: Description,
    others: Sequence[tuple[Slot, Rows]],
    *,
    watch: Watch,
    base: SealedSegment | None = None,
    probes: int = 0,
    threads: int = 1,
    graph: bool = True,
) -> SealedSegment:
    """Builds and writes a segment of the rows of `base` and the others; see building.build. Raises Stopped, OSError."""
    use_threads(threads)
    built = build(
        base,
        [Source(segment=slot.segment, rows=rows) for slot, rows in others],
        probes=probes,
        dimension=description.dimension,
        metric=description.metric,
        storage=description.storage_type,
        parameters=description.parameters,
        stop=watch.stop,
        advance=watch.advance,
        graph=graph,
    )
    sha256 = envelope.write(
        path,
        index=built.index,
        ids=built.ids,
        norms=built.norms,
        metadata=built.metadata,
        metric=description.metric,
        storage_type=description.storage_type,
        ef_search=built.ef_search,
        sections=built.sections,
    )
    return SealedSegment.open(path, sha256=sha256, verify=False)


class Written:
    """Removes a segment's file again when the manifest that was to name it could not be written."""

    def __init__(self, directory: Directory, segment: SealedSegment | None) -> None:
        self._path: Path | None = None if segment is None else directory.path / segment.file

    def __enter__(self) -> None:
        """Nothing to do yet."""

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and self._path is not None:
            self._path.unlink(missing_ok=True)


def entry_of(segment: SealedSegment) -> Entry:
    """How a manifest names a segment."""
    return Entry(file=segment.file, sha256=segment.sha256, count=segment.count)


def _sealed(slot: Slot) -> SealedSegment:
    assert isinstance(slot.segment, SealedSegment)
    return slot.segment
