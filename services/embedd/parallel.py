"""Several pieces of work at once, bounded, with results in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")


async def in_parallel(pieces: Sequence[P], most: int, work: Callable[[P], Awaitable[R]]) -> list[R]:
    """The result of `work` for each piece, at most `most` at once. The first failure ends the rest and is raised."""
    if len(pieces) == 1:
        return [await work(pieces[0])]
    results: dict[int, R] = {}
    waiting = iter(enumerate(pieces))

    async def take_turns() -> None:
        for place, piece in waiting:
            results[place] = await work(piece)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(most, len(pieces))):
                group.create_task(take_turns())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [results[place] for place in range(len(pieces))]
