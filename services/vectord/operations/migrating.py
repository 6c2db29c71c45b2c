"""Moves an index to another back end while it is searched and written to.

    copy     the items of a consistent state go into a new index, which nobody sees
    passes   what was written meanwhile is written again, as it is by then; each pass has less to do
    switch   with writers held for a moment, the rest; then the new index has the name, and the old one goes

A kill before the switch leaves the old index, after it the new one: which of both is one write of a manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from services.vectord.operations.rebuild import catch_up
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Stopped
from services.vectord.segments.snapshot import Snapshot
from services.vectord.tree.engine import Lane
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item

_PAGE = 1000
_PAGE_FLOATS = 1 << 20
_PASSES = 20
_FEW = 200
"""Writes that are left for the switch."""


def migrate(indexes: Indexes, source: Index, backend: str, watch: Watch) -> Index:
    """Moves an index; its name, aliases, description and trials stay, its problems do not.

    Raises Stopped, IndexNotFound when the index is deleted meanwhile, OSError: then it is where it was.
    Costs a write of every item and, for `memory`, a graph; for `lance`, an index of the table.
    """
    if source.description.backend == backend:
        return source
    dest = indexes.begin_successor(source, backend)
    try:
        with source.following() as changes:
            _copy(changes.before, dest, watch)
            for _ in range(_PASSES):
                ids = changes.take()
                catch_up(source, dest, ids, watch)
                if len(ids) <= _FEW:
                    break

            @contextmanager
            def last() -> Iterator[None]:
                with changes.held() as ids:
                    if source.gone:
                        raise Stopped
                    catch_up(source, dest, ids, watch)
                    yield

            indexes.exchange(source, dest, last)
    except BaseException:
        if source.successor is None:
            indexes.discard(dest, "")
        raise
    return dest


def _copy(before: Snapshot, dest: Index, watch: Watch) -> None:
    limit = max(1, min(_PAGE, _PAGE_FLOATS // dest.description.dimension))
    after, more = "", True
    while more:
        found, more = before.page(after, limit, with_vectors=True)
        if found.ids:
            assert found.vectors is not None
            columns = zip(found.ids, found.vectors, found.metadata, strict=True)
            dest.add([Item(id=item_id, vector=vector, metadata=metadata) for item_id, vector, metadata in columns])
            after = found.ids[-1]
        _do_chores(dest, {"seal"}, watch)
        watch.advance(len(found.ids))
    # One graph over everything, rather than one after the other.
    _do_chores(dest, {"seal", "merge"}, watch)


def _do_chores(dest: Index, lanes: Collection[Lane], watch: Watch) -> None:
    """What the keeper would do, if it knew the index."""
    for chore in dest.chores():
        if chore.lane in lanes:
            chore.work(watch.stop)
        if watch.stop():
            raise Stopped
