"""A workbench: graphs over the vectors of an index, built aside and measured, while the index serves as it is."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from services.vectord.files.manifest import Description
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import Rows
from services.vectord.segments.sealed import SealedSegment
from services.vectord.segments.segment import Segment
from services.vectord.segments.snapshot import Part, Snapshot
from services.vectord.tree import items
from services.vectord.tree.compaction import write_segment
from services.vectord.tree.state import Slot
from services.vectord.tuning.evals import EvalSet
from services.vectord.tuning.measure import measure
from services.vectord.tuning.trial import Starter, Trial


class Workbench:
    """Runs trials one after the other. A graph is a file in `scratch` that goes when the next one is built."""

    def __init__(
        self, snapshot: Snapshot, description: Description, questions: EvalSet, *, most_rows: int, scratch: Path
    ) -> None:
        """Takes all rows of the snapshot, or an even sample of `most_rows`."""
        self._of = snapshot.count
        self._rows = sample(snapshot, most_rows)
        self._description = description
        self._questions = questions
        self._path = scratch / f"{secrets.token_hex(8)}.lhv1"
        self._built: tuple[Parameters, Snapshot, float] | None = None
        names = [f"queries[{place}].values" for place in range(len(questions.queries))]
        self._queries, _ = items.normalise(
            list(questions.queries), dimension=description.dimension, metric=description.metric, names=names
        )

    @property
    def rows(self) -> int:
        """Items in each graph."""
        return sum(len(rows) for _, rows in self._rows)

    def __enter__(self) -> Workbench:
        """Nothing to do yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the graph."""
        self._path.unlink(missing_ok=True)

    def run(self, parameters: Parameters, started_by: Starter, watch: Watch) -> Trial:
        """Builds, measures, and tells; a graph of the same shape as the one before is used again.

        Raises Stopped, OSError. Costs what building and 300 searches cost.
        """
        snapshot, build_seconds = self._graph(parameters, watch)
        measured = measure(
            snapshot, self._queries, k=self._questions.k, ef=parameters.ef_search or None, stop=watch.stop
        )
        return Trial(
            parameters=parameters,
            eval_set=self._questions.name,
            recall=measured.recall,
            p50_ms=measured.p50_ms,
            p99_ms=measured.p99_ms,
            build_seconds=build_seconds,
            items=self.rows,
            of=self._of,
            started_by=started_by,
            ended_ns=time.time_ns(),
        )

    def _graph(self, parameters: Parameters, watch: Watch) -> tuple[Snapshot, float]:
        # The candidates of a search do not shape a graph; only when they are to be measured must it be built anew.
        shape = replace(parameters, ef_search=1 if parameters.ef_search else 0)
        if self._built is not None and self._built[0] == shape:
            watch.advance(self.rows)
            return self._built[1], self._built[2]
        self._built = None
        begin = time.perf_counter()
        segment = self._segment(parameters, watch)
        seconds = time.perf_counter() - begin
        snapshot = Snapshot(self._description.metric, [Part.of(segment, segment.count, None)])
        self._built = (shape, snapshot, seconds)
        return snapshot, seconds

    def _segment(self, parameters: Parameters, watch: Watch) -> SealedSegment:
        slots = [(Slot(segment), rows) for segment, rows in self._rows]
        return write_segment(self._path, replace(self._description, parameters=parameters), slots, watch=watch)


def sample(snapshot: Snapshot, most_rows: int) -> list[tuple[Segment, Rows]]:
    """The living rows, or so many of them, evenly from all."""
    living = [(part.segment, part.live_rows()) for part in snapshot.parts]
    if snapshot.count <= most_rows:
        return [(segment, rows) for segment, rows in living if len(rows)]
    wanted = np.linspace(0, snapshot.count - 1, most_rows).astype(np.int64)
    chosen: list[tuple[Segment, Rows]] = []
    begin = 0
    for segment, rows in living:
        inside = wanted[(wanted >= begin) & (wanted < begin + len(rows))] - begin
        if len(inside):
            chosen.append((segment, rows[inside]))
        begin += len(rows)
    return chosen
