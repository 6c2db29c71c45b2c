"""Copying the items of one index into another (V7)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from services.runtime.errors import InvalidArgument
from services.vectord.errors import DimensionsDiffer, IndexBusy, SelfMerge
from services.vectord.segments.snapshot import Found
from services.vectord.tree.engine import Engine
from services.vectord.tree.items import Item

log = logging.getLogger(__name__)

_ITEMS = 1000
_LOOK_SECONDS = 0.02


@dataclass(slots=True, kw_only=True)
class Merged:
    """What a merge did, in items."""

    merged: int = 0
    skipped: int = 0
    failed: int = 0
    source_count: int = 0
    dest_count: int = 0


def merge(source: Engine, dest: Engine, *, clear_source: bool, patience: float) -> Merged:
    """Copies the items that the destination does not have yet, and clears the source of what is there.

    Raises SelfMerge, DimensionsDiffer, and IndexBusy when either takes nothing in for `patience` seconds.
    An item that cannot be written, say a zero vector into a cosine index, is counted and stays in the
    source. May be repeated at any time.
    """
    if source is dest:
        raise SelfMerge.of("dest", "must not be the source itself", name=dest.description.name)
    if source.description.dimension != dest.description.dimension:
        ours, theirs = source.description.dimension, dest.description.dimension
        raise DimensionsDiffer(
            f"vectors of {ours} components cannot go into an index of {theirs}", source=ours, dest=theirs
        )
    merged = Merged()
    after, more = "", True
    while more:
        _wait(dest, patience)
        _wait(source, patience)
        found, more = source.page(after, _ITEMS, with_vectors=True)
        if found.ids:
            after = found.ids[-1]
            _merge_page(found, source, dest, merged, clear_source=clear_source)
    merged.source_count, merged.dest_count = source.info().count, dest.info().count
    return merged


def _wait(index: Engine, seconds: float) -> None:
    end = time.monotonic() + seconds
    while index.busy:
        if time.monotonic() >= end:
            raise IndexBusy(f"the index {index.description.name!r} takes in nothing at the moment; merge again")
        time.sleep(_LOOK_SECONDS)


def _merge_page(found: Found, source: Engine, dest: Engine, merged: Merged, *, clear_source: bool) -> None:
    written = found
    try:
        added = dest.add_missing(_items(found)).added
    except InvalidArgument:
        written, added = _merge_singly(found, dest)
    merged.merged += added
    merged.skipped += len(written.ids) - added
    merged.failed += len(found.ids) - len(written.ids)
    if clear_source:
        source.delete_unchanged(written)


def _merge_singly(found: Found, dest: Engine) -> tuple[Found, int]:
    fine: list[int] = []
    added = 0
    for place, item in enumerate(_items(found)):
        try:
            added += dest.add_missing([item]).added
        except InvalidArgument as error:
            log.warning("item %r cannot be merged into %r: %s", item.id, dest.description.name, error.reason)
        else:
            fine.append(place)
    assert found.vectors is not None
    chosen = Found(
        ids=[found.ids[place] for place in fine],
        metadata=[found.metadata[place] for place in fine],
        vectors=found.vectors[fine],
    )
    return chosen, added


def _items(found: Found) -> list[Item]:
    assert found.vectors is not None
    return [
        Item(id=item_id, vector=vector, metadata=metadata)
        for item_id, vector, metadata in zip(found.ids, found.vectors, found.metadata, strict=True)
    ]
