"""Every change of the catalog goes through here: one at a time for a name, storage first, then memory (C1, C3, C4).

Once storage has been asked, a change runs to its end even when its caller goes away, so that memory
and storage do not part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from services.catalogd.catalog import Catalog
from services.catalogd.manifest import Manifest
from services.catalogd.registration import stamped
from services.runtime.names import same_name

log = logging.getLogger(__name__)

Rule = Callable[[Manifest | None], Manifest | None]
"""From the present state of a dataset, None when there is none, to the next; None removes it."""


class Archive(Protocol):
    """Where manifests are kept. Each call returns when storage has acknowledged it."""

    async def reach(self, version: int) -> None:
        """Makes sure that a later start begins behind this version."""

    async def put(self, manifest: Manifest) -> None:
        """Stores or replaces a manifest."""

    async def remove(self, name: str) -> None:
        """Removes the manifest of a dataset."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did; `after` is `before` itself when nothing changed, and None after a removal."""

    before: Manifest | None
    after: Manifest | None
    version: int

    @property
    def changed(self) -> bool:
        """Whether anything changed."""
        return self.after is not self.before

    @property
    def shown(self) -> Manifest:
        """The state to show: the new one, or the last one of what was removed."""
        shown = self.after or self.before
        assert shown is not None
        return shown


class Changes:
    """Runs changes. Changes of different names run side by side."""

    def __init__(self, catalog: Catalog, archive: Archive) -> None:
        self._catalog = catalog
        self._archive = archive
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[Change]] = set()

    async def change(self, name: str, rule: Rule) -> Change:
        """Applies a rule to the dataset of this name; two storage writes when something changes.

        Raises what the rule raises, and what storage does; then readers see nothing of it.
        """
        lock = self._locks.setdefault(same_name(name), asyncio.Lock())
        await lock.acquire()
        running = asyncio.create_task(self._run(name, rule))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: lock.release())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            running.add_done_callback(_log_failure)
            raise

    async def change_existing(self, name: str, rule: Callable[[Manifest], Manifest | None]) -> Change:
        """The same for a dataset there is. Raises DatasetNotFound where there is none."""
        return await self.change(name, lambda before: rule(before or self._catalog.get(name)))

    async def _run(self, name: str, rule: Rule) -> Change:
        before = self._catalog.find(name)
        after = rule(before)
        if after is before:
            return Change(before, after, self._catalog.version)
        version = self._catalog.begin()
        try:
            after = await self._store(before, after, version)
        except BaseException:
            self._catalog.abandon(version)
            raise
        self._catalog.publish(version, before, after)
        return Change(before, after, version)

    async def _store(self, before: Manifest | None, after: Manifest | None, version: int) -> Manifest | None:
        # The version first: after a restart it must be known even if nothing else shows it.
        await self._archive.reach(version)
        if after is not None:
            after = stamped(before, after, version)
            await self._archive.put(after)
        elif before is not None:
            await self._archive.remove(before.name)
        return after

    async def close(self) -> None:
        """Waits for changes that are under way."""
        await asyncio.gather(*self._running, return_exceptions=True)


def _log_failure(running: asyncio.Task[Change]) -> None:
    error = None if running.cancelled() else running.exception()
    if error is not None:
        log.warning("a change of the catalog failed after its caller had gone: %s", error)
