"""When fresh items go into the table, when its fragments are joined and its indexes built."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from services.vectord.lance import measuring
from services.vectord.lance.core import TableCore, keep
from services.vectord.lance.state import Cut
from services.vectord.lance.table import is_scattered, unindexed
from services.vectord.lance.view import View
from services.vectord.segments.building import Stopped
from services.vectord.tree import plan
from services.vectord.tree.engine import Chore, Stop, never

_HOT_FACTOR = 8  # a fragment costs more than a segment in memory, so more is sealed at once
_LOG_BYTES = 16 << 20
_DEAD_FACTOR = 4
_UNINDEXED_ROWS = 1 << 16
_UNINDEXED_FLOATS = 1 << 22  # compared one by one in every search; as long as a search of the index takes
_GROWTH = 2


class TableUpkeep:
    """The background work of one index. Commits go one after the other; an index is trained beside them."""

    def __init__(self, core: TableCore) -> None:
        self._core = core
        self._committing = threading.Lock()
        self._tidying = threading.Lock()

    @property
    def behind(self) -> bool:
        """Whether writers should wait, because the table cannot keep up."""
        return self._core.directory.unsealed >= self._core.config.unsealed_bytes

    def chores(self) -> list[Chore]:
        """What should be done now."""
        chores = []
        if self._seal_due():
            chores.append(Chore(lane="seal", work=lambda stop: self.seal(stop=stop)))
        if self._tidy_due():
            chores.append(Chore(lane="merge", work=lambda stop: self.tidy(stop=stop)))
        return chores

    def _seal_due(self) -> bool:
        core = self._core
        hot = core.state.hot
        limit = plan.hot_limit(_HOT_FACTOR * core.config.hot_bytes, core.description.dimension)
        if hot.count >= limit or core.directory.log.size >= _LOG_BYTES + 8 * hot.size or core.state.frozen():
            return True
        return core.state.dead >= _DEAD_FACTOR * limit

    def _tidy_due(self) -> bool:
        view = self._core.state.view
        due = is_scattered(view) or self._extend_due(view) or self._train_due(view) or _unmeasured(view)
        return due or self._core.table.stale

    def _extend_due(self, view: View) -> bool:
        return unindexed(view) > min(_UNINDEXED_ROWS, _UNINDEXED_FLOATS // view.dimension)

    def _train_due(self, view: View) -> bool:
        if not measuring.worthwhile(view):
            return False
        known = view.approximation
        return known is None or not known.trained_rows / _GROWTH**2 <= view.count <= known.trained_rows * _GROWTH

    def seal(self, *, stop: Stop = never) -> None:
        """Puts what is fresh into the table, in one version; searches and writes go on meanwhile.

        Raises OSError, after which the index is as it was. A kill before the manifest leaves the old version
        and every log; after it, the new one and the logs since the cut.
        """
        core = self._core
        with self._committing:
            with core.writer:
                if core.gone or stop() or not core.directory.unsealed:
                    return
                log_from = core.directory.begin_log()
                updated_ns = core.updated_ns
                made = core.state.cut()
                core.publish()
            view = self._written(made)
            keep(core.directory, view, log_from=log_from, updated_ns=updated_ns)
            self._publish(view, made)

    def _written(self, made: Cut) -> View:
        core = self._core
        parts = [(slot.segment, rows) for slot, rows in made.rows if len(rows)]
        dimension = core.description.dimension
        return core.table.commit(
            core.state.view,
            made.gone,
            ids=[segment.ids[row] for segment, rows in parts for row in rows.tolist()],
            vectors=np.concatenate(
                [np.empty((0, dimension), dtype=np.float32), *(segment.vectors(rows) for segment, rows in parts)]
            ),
            norms=np.concatenate([np.empty(0), *(segment.norms(rows) for segment, rows in parts)]),
            metadata=[segment.metadata[row] for segment, rows in parts for row in rows.tolist()],
        )

    def tidy(self, *, stop: Stop = never, fresh: bool = False) -> None:
        """Joins fragments, builds indexes, removes old files: what is due, or when `fresh` everything.

        Gives up quietly when `stop` says so or the index is deleted. Raises OSError.
        """
        with self._tidying:
            try:
                self._step(lambda view: fresh or is_scattered(view), self._core.table.compact, stop)
                self._step(lambda view: fresh or self._extend_due(view), self._core.table.extend_indexes, stop)
                self._train(stop, fresh=fresh)
                self._measure(stop)
                with self._committing:
                    if not self._core.gone:
                        self._core.table.clean(self._core.state.view)
            except Stopped:
                return

    def end(self) -> None:
        """Waits for work that is under way to be given up, and lets another engine write."""
        with self._tidying, self._committing:
            self._core.table.close()

    def _step(self, due: Callable[[View], bool], work: Callable[[View], View], stop: Stop) -> None:
        with self._committing:
            self._go_on(stop)
            if due(self._core.state.view):
                self._exchange(work(self._core.state.view))

    def _train(self, stop: Stop, *, fresh: bool) -> None:
        core = self._core
        view = core.state.view
        if not self._train_due(view) and not (fresh and measuring.possible(view)):
            return
        partitions = measuring.partitions(view.count)
        trained = core.table.train(view, partitions=partitions, stop=lambda: core.gone or stop())
        with self._committing:
            self._go_on(stop)
            installed = core.table.install(trained, core.state.view)
            self._exchange(installed.asked(measuring.guess(partitions, view)))

    def _measure(self, stop: Stop) -> None:
        core = self._core
        view = core.state.view
        if not _unmeasured(view):
            return
        approximation = measuring.measure(view, stop=lambda: core.gone or stop())
        with self._committing:
            self._go_on(stop)
            self._exchange(core.state.view.asked(approximation))

    def _go_on(self, stop: Stop) -> None:
        if self._core.gone or stop():
            raise Stopped

    def _exchange(self, view: View) -> None:
        keep(self._core.directory, view)
        self._publish(view, None)

    def _publish(self, view: View, made: Cut | None) -> None:
        with self._core.writer:
            self._core.state.swap(view, made)
            self._core.publish()


def _unmeasured(view: View) -> bool:
    return view.approximation is not None and not view.approximation.recall
