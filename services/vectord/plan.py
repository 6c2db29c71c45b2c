"""Which segments become one: the hot ones whenever they are full, others by their size.

Segments grow in size by a factor, so there are few of them and no item is rewritten often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.vectord.sealed import SealedSegment
from services.vectord.state import Slot

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
    """Whether more than a quarter of a segment is dead, so that it is worth building anew."""
    return slot.dead * _WORN > slot.segment.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Slots that become one: `base` is added to as it is, of the others only living rows go in."""

    base: Slot | None
    others: Sequence[Slot]

    @property
    def joins(self) -> bool:
        """Whether it makes sealed segments fewer, or better."""
        return any(isinstance(slot.segment, SealedSegment) for slot in [self.base, *self.others] if slot is not None)


def choose(hot: Sequence[Slot], sealed: Sequence[Slot], *, growth: int) -> Plan:
    """Every hot slot and every worn one, and the sealed ones that are not too large beside them."""
    chosen = [slot for slot in sealed if worn(slot)]
    ascending = sorted((slot for slot in sealed if not worn(slot)), key=lambda slot: slot.live)
    total = sum(slot.live for slot in [*hot, *chosen])
    joining = 0
    for place, slot in enumerate(ascending):
        if slot.live <= growth * total:
            joining = place + 1
        total += slot.live
    chosen += ascending[:joining]
    base = max((slot for slot in chosen if _can_grow(slot)), key=lambda slot: slot.segment.count, default=None)
    return Plan(base=base, others=[*hot, *(slot for slot in chosen if slot is not base)])


def _can_grow(slot: Slot) -> bool:
    return isinstance(slot.segment, SealedSegment) and slot.segment.has_graph and not worn(slot)
