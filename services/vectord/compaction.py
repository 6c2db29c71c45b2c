"""Turns hot rows and neighbouring segments into one sealed segment, crash-safe at every step.

    cut    the next log begins, the hot segment is frozen; all that was written so far is in the slots
    seal   the new segment is built and its file written; then the manifest, which names it and the
           cut; then what it replaced is removed
    swap   searches get the new segment (State.replace)

A kill before the manifest leaves the old files and all logs; after it, the new ones and the logs
since the cut. Either way every acknowledged write is there once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.vectord import envelope, plan
from services.vectord.building import PROBES, Source, build
from services.vectord.directory import Directory
from services.vectord.manifest import Description, Entry, Manifest
from services.vectord.metric import Mask, Rows
from services.vectord.native import use_threads
from services.vectord.sealed import SealedSegment
from services.vectord.state import Slot, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """An index at the moment in which its log was cut."""

    log_from: int
    updated_ns: int
    base: SealedSegment | None
    """The segment whose rows all go into the new one, dead ones too."""
    rows: Sequence[tuple[Slot, Rows]]
    """The rows of the new segment in their order, those of `base` first; a slot may come twice."""
    probes: int
    """How many at the end of `rows` hold the probes."""
    alive: Mask
    """Which of these rows are alive."""
    kept: Sequence[Entry]
    """The segments that stay."""


def cut(state: State, directory: Directory, *, growth: int, updated_ns: int) -> Cut:
    """Cuts the log and chooses what becomes one segment. Only with the index's writer held."""
    log_from = directory.begin_log()
    state.rotate()
    sealed = state.sealed()
    chosen = plan.choose(state.frozen(), sealed, growth=growth)
    others = [(slot, np.flatnonzero(slot.alive())) for slot in chosen.others]
    rows, probes = _split(others, seed=log_from)
    rows += probes
    alive = np.ones(sum(len(some) for _, some in rows), dtype=np.bool_)
    base = None
    if chosen.base is not None and isinstance(chosen.base.segment, SealedSegment):
        base = chosen.base.segment
        rows.insert(0, (chosen.base, np.arange(base.count)))
        alive = np.concatenate((chosen.base.alive(), alive))
    gone = {id(slot) for slot, _ in rows}
    kept = [_entry(slot.segment, slot.alive()) for slot in sealed if id(slot) not in gone]
    return Cut(
        log_from=log_from,
        updated_ns=updated_ns,
        base=base,
        rows=rows,
        probes=len(probes),
        alive=alive,
        kept=kept,
    )


def _split(rows: Sequence[tuple[Slot, Rows]], *, seed: int) -> tuple[list[tuple[Slot, Rows]], list[tuple[Slot, Rows]]]:
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


def _entry(segment: object, alive: Mask) -> Entry:
    assert isinstance(segment, SealedSegment)
    return Entry(file=segment.file, sha256=segment.sha256, count=segment.count, alive=alive)


def seal(made: Cut, directory: Directory, *, threads: int, stop: Callable[[], bool]) -> SealedSegment | None:
    """Builds and writes the new segment and the manifest; None when no row is left. Raises Stopped, OSError."""
    description = directory.manifest.description
    segment = _segment(made, directory, description, threads, stop) if len(made.alive) else None
    added = [] if segment is None else [_entry(segment, made.alive)]
    directory.commit(
        Manifest(
            description=description,
            updated_ns=made.updated_ns,
            log_from=made.log_from,
            segments=[*made.kept, *added],
        )
    )
    return segment


def _segment(
    made: Cut, directory: Directory, description: Description, threads: int, stop: Callable[[], bool]
) -> SealedSegment:
    use_threads(threads)
    others = made.rows[1:] if made.base is not None else made.rows
    built = build(
        made.base,
        [Source(segment=slot.segment, rows=rows) for slot, rows in others],
        probes=made.probes,
        dimension=description.dimension,
        metric=description.metric,
        parameters=description.parameters,
        stop=stop,
    )
    path = directory.segment_path()
    sha256 = envelope.write(
        path,
        index=built.index,
        ids=built.ids,
        norms=built.norms,
        metadata=built.metadata,
        metric=description.metric,
        storage_type=description.storage_type,
        ef_search=built.ef_search,
    )
    return SealedSegment.open(path, sha256=sha256, verify=False)
