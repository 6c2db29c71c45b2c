"""Local copies of immutable data files, within a budget of disk (Q3, Q6).

A file is named by the SHA-256 of its content and is only ever whole or absent. Nothing here is
state: every file can be fetched again, so files are renamed into place without a sync, and those
found at start-up are checked once before they are first read.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.queryd.arrival import Arrival, DamagedFile, is_intact
from services.queryd.errors import CacheBusy, CacheTooSmall
from services.queryd.views import DataFile, data_path, unreadable
from services.runtime.errors import ServiceError
from services.runtime.threads import Threads

log = logging.getLogger(__name__)

Fetch = Callable[[DataFile], AsyncGenerator[bytes, None]]
"""Opens a stream of an object's bytes; raises ServiceError."""

ATTEMPTS = 2


@dataclass(slots=True, kw_only=True)
class CacheStats:
    """What the cache holds and how well it does."""

    files: int = 0
    size: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(slots=True, kw_only=True)
class _Entry:
    """A file that is here, or on its way."""

    size: int
    users: int = 0
    arrival: asyncio.Task[None] | None = None
    """None until somebody needs the file; done without an error when it is whole."""


class FileCache:
    """The directory of data files. For one event loop; the work on bytes is done in threads of its own."""

    def __init__(self, directory: Path, *, budget: int, downloads: int, fetch: Fetch) -> None:
        """Takes over what an earlier run left in `directory`. O(files there)."""
        self.budget = budget
        self._directory = directory
        self._fetch = fetch
        self._threads = Threads("queryd-files", 2)
        self._slots = asyncio.Semaphore(downloads)
        # Least recently used first.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._stats = CacheStats()
        self._used = 0
        self._adopt()

    def _adopt(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        found = [(path.stat(), path) for path in self._directory.iterdir()]
        for stat, path in sorted(found, key=lambda item: item[0].st_mtime):
            if path == data_path(self._directory, path.stem) and len(path.stem) == 64:
                self._entries[path.stem] = _Entry(size=stat.st_size)
                self._used += stat.st_size
            else:
                path.unlink()
        self._make_room(0)

    @property
    def stats(self) -> CacheStats:
        """A copy of the present figures."""
        here = [entry for entry in self._entries.values() if _whole(entry) or entry.arrival is None]
        counted = self._stats
        return CacheStats(
            files=len(here),
            size=sum(entry.size for entry in here),
            hits=counted.hits,
            misses=counted.misses,
            evictions=counted.evictions,
        )

    @asynccontextmanager
    async def lease(self, files: Sequence[DataFile]) -> AsyncIterator[None]:
        """Brings the files here and keeps them until the block ends. About 5 us for a file that is here.

        DatasetUnreadable when one cannot be had, CacheTooSmall when they can never fit together,
        CacheBusy when they do not fit beside what other statements read now.
        """
        needed = {file.sha256: file for file in files}
        self._reserve(needed)
        try:
            for sha256, file in needed.items():
                await self._arrived(self._entries[sha256], file)
            yield
        finally:
            for sha256 in needed:
                self._let_go(sha256)

    def _reserve(self, needed: dict[str, DataFile]) -> None:
        """Counts the caller as a user of every file and starts what has to be fetched; all or nothing."""
        total = sum(file.size for file in needed.values())
        if total > self.budget:
            raise CacheTooSmall(
                f"the statement reads {total:,} bytes of data files, and the cache may hold {self.budget:,}: "
                "raise the setting query.cache_bytes",
                needed=total,
                limit=self.budget,
            )
        for sha256, file in needed.items():
            self._forget_misfit(sha256, file.size)
        missing = [sha256 for sha256 in needed if sha256 not in self._entries]
        held = [sha256 for sha256 in needed if sha256 in self._entries]
        for sha256 in held:
            self._entries[sha256].users += 1
        try:
            self._make_room(sum(needed[sha256].size for sha256 in missing))
        except CacheBusy:
            for sha256 in held:
                self._entries[sha256].users -= 1
            raise
        for sha256 in missing:
            self._entries[sha256] = _Entry(size=needed[sha256].size, users=1)
            self._used += needed[sha256].size
        for sha256, file in needed.items():
            self._entries.move_to_end(sha256)
            self._start(self._entries[sha256], file)

    def _forget_misfit(self, sha256: str, size: int) -> None:
        entry = self._entries.get(sha256)
        if entry is not None and entry.arrival is None and entry.size != size:
            self._remove(sha256)

    def _make_room(self, size: int) -> None:
        """Removes files that nobody uses, the least recently used first, until `size` more bytes fit."""
        idle = [(sha256, entry) for sha256, entry in self._entries.items() if not entry.users]
        if self._used + size - sum(entry.size for _, entry in idle) > self.budget:
            raise CacheBusy("the cache is full of files that running statements read: try again", limit=self.budget)
        for sha256, _ in idle:
            if self._used + size <= self.budget:
                return
            self._stats.evictions += 1
            self._remove(sha256)

    def _start(self, entry: _Entry, file: DataFile) -> None:
        path = data_path(self._directory, file.sha256)
        if _whole(entry) and _size(path) == entry.size:
            self._stats.hits += 1
            return
        if entry.arrival is None or entry.arrival.done():
            self._stats.misses += 1
            # A context of its own: the file outlives the call that first asked for it, and its deadline.
            entry.arrival = asyncio.create_task(self._arrive(path, file), context=contextvars.Context())

    async def _arrived(self, entry: _Entry, file: DataFile) -> None:
        arrival = entry.arrival
        assert arrival is not None
        if not arrival.done():
            await asyncio.wait({arrival})
        if arrival.cancelled():
            raise unreadable(file.dataset, "the daemon is stopping")
        error = arrival.exception()
        if isinstance(error, ServiceError):
            raise unreadable(file.dataset, error.message)
        if isinstance(error, DamagedFile):
            raise unreadable(file.dataset, str(error))
        if isinstance(error, OSError):
            raise unreadable(file.dataset, f"the local cache cannot be written: {error.strerror}")
        arrival.result()

    def _let_go(self, sha256: str) -> None:
        entry = self._entries[sha256]
        entry.users -= 1
        if entry.users or _whole(entry):
            return
        # Nobody waits for it any more, or it cannot be had.
        if entry.arrival is not None:
            entry.arrival.cancel()
            entry.arrival = None
        if _size(data_path(self._directory, sha256)) != entry.size:
            self._remove(sha256)

    def _remove(self, sha256: str) -> None:
        self._used -= self._entries.pop(sha256).size
        data_path(self._directory, sha256).unlink(missing_ok=True)

    async def _arrive(self, path: Path, file: DataFile) -> None:
        async with self._slots:
            if await self._threads.run(is_intact, path, file):
                return
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    await self._download(path, file)
                    return
                except DamagedFile:
                    if attempt == ATTEMPTS:
                        raise
                    log.warning("%s arrived damaged; fetching it again", file.key)

    async def _download(self, path: Path, file: DataFile) -> None:
        arrival = Arrival(path, file)
        try:
            async with aclosing(self._fetch(file)) as pieces:
                async for piece in pieces:
                    await self._threads.run(arrival.add, piece)
            await self._threads.run(arrival.place)
        except BaseException:
            entry = self._entries.get(file.sha256)
            if arrival.discard() and entry is not None and entry.arrival is None:
                # It came to its place while the last who waited let go, and was counted as here.
                self._remove(file.sha256)
            raise

    async def close(self) -> None:
        """Stops what is still on its way."""
        arrivals = [entry.arrival for entry in self._entries.values() if entry.arrival is not None]
        for arrival in arrivals:
            arrival.cancel()
        if arrivals:
            await asyncio.wait(arrivals)
        self._threads.close()


def _whole(entry: _Entry) -> bool:
    arrival = entry.arrival
    return arrival is not None and arrival.done() and not arrival.cancelled() and arrival.exception() is None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
