"""A new index from an old one that goes on being written to: nothing is missing when the new one takes over.

    copy     the rows of a consistent state become one sealed segment of the new index
    passes   what was written meanwhile is written again, as it is by then; each pass has less to do
    switch   with writers held for a moment, the rest; the new index appears, and the alias moves

Until the switch nobody can see the new index, and a start of the daemon would remove it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.vectord.files.manifest import Description
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Stopped
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item

_BATCH_FLOATS = 1 << 22
_BATCH = 1000
_PASSES = 20
_FEW = 200
"""Writes that are left for the switch: so few take some milliseconds."""


def rebuild_into(indexes: Indexes, source: Index, description: Description, alias: str, watch: Watch) -> Index:
    """Builds a new index of that description, and points `alias` at it when one is given.

    Raises Stopped, IndexExists, IndexNotFound when the source is deleted meanwhile, OSError: then there
    is no new index, and the source is as it was.
    """
    dest = indexes.begin(description, alias)
    try:
        with source.following() as changes:
            dest.fill(changes.before, watch=watch)
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

            indexes.publish(dest, alias, source, last)
    except BaseException:
        indexes.discard(dest, alias)
        raise
    return dest


def catch_up(source: Index, dest: Index, ids: Sequence[str], watch: Watch) -> None:
    """Writes again to `dest` what is in `source` of these ids by now. Raises Stopped, OSError."""
    batch = max(1, min(_BATCH, _BATCH_FLOATS // source.description.dimension))
    for begin in range(0, len(ids), batch):
        if watch.stop():
            raise Stopped
        some = ids[begin : begin + batch]
        found = source.get(some)
        assert found.vectors is not None
        there = set(found.ids)
        if found.ids:
            columns = zip(found.ids, found.vectors, found.metadata, strict=True)
            dest.add([Item(id=item_id, vector=vector, metadata=metadata) for item_id, vector, metadata in columns])
        if gone := [item_id for item_id in some if item_id not in there]:
            dest.delete(gone)
        if dest.busy:
            dest.compact(stop=watch.stop)
