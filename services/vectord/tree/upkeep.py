"""When an index is sealed, merged and stored, and how that goes on beside searches and writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from services.vectord.files.manifest import Description, Manifest
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Stopped
from services.vectord.segments.snapshot import Snapshot
from services.vectord.tree import compaction, plan
from services.vectord.tree.core import Core
from services.vectord.tree.engine import Chore, Stop, never
from services.vectord.tree.fitting import check_fits
from services.vectord.tree.state import Slot

_LOG_BYTES = 16 << 20
_MOST_SLOTS = 64


class Upkeep:
    """The background work of one index. Of each kind one goes on at a time; a seal never waits for a merge."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._sealing = threading.Lock()
        self._merging = threading.Lock()
        self._reserved: list[Slot] = []
        """Segments that are being rebuilt, which no merge may take."""

    @property
    def behind(self) -> bool:
        """Whether writers should wait, because seals or merges cannot keep up."""
        core = self._core
        return core.directory.unsealed >= core.config.unsealed_bytes or len(core.state.slots) > _MOST_SLOTS

    def chores(self) -> list[Chore]:
        """What should be done now."""
        core, chores = self._core, list[Chore]()
        if core.gone:
            return chores
        if self._seal_due():
            chores.append(Chore(lane="seal", work=lambda stop: self.seal(stop=stop)))
        growth = self._merge_due()
        if growth is not None:
            chores.append(Chore(lane="merge", work=lambda stop: self.compact(growth, stop=stop)))
        if core.stored is not None and core.stored.due(core.directory.manifest):
            chores.append(Chore(lane="store", work=lambda stop: self.store()))
        return chores

    def due(self) -> int | None:
        """The growth with which the index should be compacted now; None while it is well as it is."""
        return plan.BUSY if self._seal_due() else self._merge_due()

    def _seal_due(self) -> bool:
        core = self._core
        limit = plan.hot_limit(core.config.hot_bytes, core.description.dimension)
        full = core.state.hot.count >= limit or core.directory.log_size >= _LOG_BYTES + 8 * core.state.hot.size
        return full or bool(core.state.frozen()) or core.directory.unsealed >= core.config.unsealed_bytes

    def _merge_due(self) -> int | None:
        core = self._core
        sealed = self._free()
        if plan.choose(sealed, growth=plan.BUSY) is not None:
            return plan.BUSY
        quiet = time.monotonic() - core.written_at >= core.config.quiet_seconds
        joins = plan.joins(core.state.slots[0].live, sealed, growth=plan.QUIET)
        return plan.QUIET if quiet and joins else None

    def _free(self) -> list[Slot]:
        reserved = list(self._reserved)
        return [slot for slot in self._core.state.sealed() if slot not in reserved]

    def seal(self, *, stop: Stop = never) -> None:
        """Writes the hot segment as a sealed one; searches and writes go on meanwhile.

        Gives up quietly when `stop` says so or the index is deleted; raises OSError, after which the
        index is as it was. Costs what writing and syncing that many bytes costs.
        """
        core = self._core
        with self._sealing:
            with core.writer:
                if core.gone or not core.directory.unsealed:
                    return
                made = compaction.cut(core.state, core.directory, updated_ns=core.updated_ns)
                core.publish()
            try:
                sealed = compaction.seal(made, core.directory, stop=lambda: core.gone or stop())
            except (Stopped, OSError):
                if core.gone or stop():
                    return
                raise
            with core.writer:
                core.state.replace(made.rows, sealed)
                core.publish()

    def compact(self, growth: int = plan.BUSY, *, stop: Stop = never, fresh: bool = False) -> None:
        """Seals, then merges the segments that should be one; all of them, linked anew, when `fresh`.

        Ends as `seal` does. Costs some 0.1 ms for each row of 256 that a graph takes in.
        """
        core = self._core
        with self._merging:
            self.seal(stop=stop)
            chosen = plan.choose(self._free(), growth=growth, fresh=fresh)
            if chosen is None or core.gone:
                return
            try:
                self._merge(compaction.prepare(chosen, core.directory), lambda: core.gone or stop())
            except (Stopped, OSError):
                if core.gone or stop():
                    return
                raise

    def _merge(self, made: compaction.Merge, stop: Stop) -> None:
        core = self._core
        merged = compaction.merge(made, core.directory, threads=core.config.build_threads, watch=Watch(stop=stop))
        with core.writer:
            if core.gone:
                return
            compaction.commit(made, merged, core.directory)
            core.state.replace(made.rows, merged)
            core.publish()

    def rebuild(self, described: Description, change: Callable[[Manifest], Manifest], watch: Watch) -> None:
        """Makes one segment of all that is sealed, linked anew as `described` says, and the index what it says.

        Seals and merges of what is written meanwhile go on beside it. The manifest, which `change` may
        change otherwise too, switches in one step; before that the index is as it was. Raises Stopped,
        OSError, NotFinite for vectors that the new storage type cannot hold. One at a time.
        """
        core = self._core
        with self._merging:
            self.seal(stop=watch.stop)
            chosen = plan.choose(self._free(), growth=plan.BUSY, fresh=True)
            made = compaction.Merge(base=None, rows=[], probes=0)
            if chosen is not None:
                made = compaction.prepare(chosen, core.directory)
                self._reserved = list(chosen.slots)
        try:
            check_fits(made.rows, described.storage_type)
            merged = compaction.merge(made, core.directory, threads=1, watch=watch, described=described)
            with core.writer, compaction.Written(core.directory, merged):
                if core.gone or watch.stop():
                    raise Stopped
                taken = [slot for slot, _ in made.rows]
                rest = [(slot, slot.part().live_rows()) for slot in core.state.slots if slot not in taken]
                check_fits(rest, described.storage_type)
                compaction.commit(
                    made, merged, core.directory, lambda present: change(replace(present, description=described))
                )
                core.description = described
                core.state.replace(made.rows, merged)
                core.publish()
        finally:
            self._reserved = []

    def fill(self, snapshot: Snapshot, watch: Watch) -> None:
        """Takes the items of another index as one segment; only for an empty index that nobody else has yet.

        Raises Stopped, OSError, NotFinite as `rebuild`.
        """
        core = self._core
        rows = [(Slot(part.segment), part.live_rows()) for part in snapshot.parts if part.live]
        if not rows:
            return
        check_fits(rows, core.description.storage_type)
        most, probes = compaction.split(rows, seed=core.directory.manifest.log_from)
        path = core.directory.segment_path()
        segment = compaction.write_segment(path, core.description, most + probes, probes=len(probes), watch=watch)
        entry = compaction.entry_of(segment)
        core.directory.change(lambda present: replace(present, segments=[*present.segments, entry]))
        with core.writer:
            core.state.slots.append(Slot(segment))
            core.publish()

    def store(self) -> None:
        """Brings into storage what is not there yet. Raises ServiceError, OSError; may be repeated at any time."""
        if self._core.stored is not None:
            self._core.stored.save(lambda: self._core.directory.manifest)
