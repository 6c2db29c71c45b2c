"""Keeps the views in step with the catalog: asked before each statement, and on a timer (Q2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.queryd.views import Dataset, Views
from services.runtime.errors import ServiceError, Unavailable

log = logging.getLogger(__name__)

AskVersion = Callable[[], Awaitable[int]]
"""Returns the present catalog version."""
AskDatasets = Callable[[], Awaitable[tuple[int, Sequence[Dataset]]]]
"""Returns every dataset, and the catalog version they belong to."""


class Follower:
    """Brings views up to the catalog's version, once for all who wait for it."""

    def __init__(self, views: Views, *, version: AskVersion, datasets: AskDatasets) -> None:
        self._views = views
        self._version = version
        self._datasets = datasets
        self._lock = asyncio.Lock()

    async def follow(self) -> None:
        """Returns when the views are those of the version the catalog has now.

        While the catalog is away the views last known keep serving; without any, Unavailable.
        """
        try:
            version = await self._version()
            if version == self._views.version:
                return
            async with self._lock:
                if version != self._views.version:
                    self._views.follow(*await self._datasets())
        except Unavailable:
            if self._views.version is None:
                raise
            log.warning("the catalog does not answer; serving the datasets of version %d", self._views.version)

    async def keep_following(self, seconds: float) -> None:
        """Follows at once and then every so often, until it is cancelled."""
        while True:
            try:
                await self.follow()
            except ServiceError as error:
                log.warning("the catalog cannot be followed: %s", error.message)
            await asyncio.sleep(seconds)
