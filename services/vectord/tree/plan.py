"""Which segments become one: the hot ones whenever they are full, others by their size.

Segments grow in size by a factor, so there are few of them and no item is rewritten often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.vectord.segments.sealed import GRAPH_ROWS, SealedSegment
from services.vectord.tree.state import Slot

BUSY = 2
"""How much larger than all before it a segment may be and still join them while writes go on."""

QUIET = 16
"""The same when nothing has been written for a while: fewer segments make faster searches."""

LEAST_HOT_ROWS = 256
MOST_HOT_ROWS = 8192

_WORN = 4


def hot_limit(hot_bytes: int, dimension: int) -> int:
    """Rows from which a hot segment is sealed."""
    return min(max(hot_bytes // (4 * dimension), LEAST_HOT_ROWS), MOST_HOT_ROWS)


def worn(slot: Slot) -> bool:
    """Whether a segment is worth building anew: more than a quarter of it is dead, or it still lacks a graph."""
    segment = slot.segment
    if slot.dead * _WORN > segment.count:
        return True
    return isinstance(segment, SealedSegment) and segment.count >= GRAPH_ROWS and not segment.has_graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sealed slots that become one: `base` is added to as it is, of the others only living rows go in."""

    base: Slot | None
    others: Sequence[Slot]

    @property
    def slots(self) -> Sequence[Slot]:
        """All of them."""
        return self.others if self.base is None else [self.base, *self.others]


def choose(sealed: Sequence[Slot], *, growth: int, fresh: bool = False) -> Plan | None:
    """Every worn segment, and those that are not too large beside the smaller ones; None when all is well.

    `fresh` takes all of them and reuses no graph.
    """
    if fresh:
        return Plan(base=None, others=list(sealed)) if sealed else None
    chosen = [slot for slot in sealed if worn(slot)]
    ascending = sorted((slot for slot in sealed if not worn(slot)), key=lambda slot: slot.live)
    joining = _joining(ascending, sum(slot.live for slot in chosen), growth)
    if not chosen and joining < 2:
        return None
    chosen += ascending[:joining]
    base = max((slot for slot in chosen if _can_grow(slot)), key=lambda slot: slot.segment.count, default=None)
    return Plan(base=base, others=[slot for slot in chosen if slot is not base])


def joins(hot: int, sealed: Sequence[Slot], *, growth: int) -> bool:
    """Whether `hot` rows, once sealed, would join a sealed segment."""
    return _joining(sorted(sealed, key=lambda slot: slot.live), hot, growth) > 0


def _joining(ascending: Sequence[Slot], total: int, growth: int) -> int:
    """How many of the smallest segments join: each is at most `growth` times as large as all before it."""
    joining = 0
    for place, slot in enumerate(ascending):
        if slot.live <= growth * total:
            joining = place + 1
        total += slot.live
    return joining


def _can_grow(slot: Slot) -> bool:
    return isinstance(slot.segment, SealedSegment) and slot.segment.has_graph and not worn(slot)
