"""How large an object may be (S4), and how many may be on their way in at once (S5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.runtime.errors import InvalidArgument
from services.storaged.errors import ObjectTooLarge, TooManyUploads

CONTENT_TYPE_BYTES = 255


class Caps:
    """The largest size by key prefix; the longest prefix wins."""

    def __init__(self, default: int, by_prefix: Mapping[str, int]) -> None:
        self._by_prefix = sorted({"": default, **by_prefix}.items(), key=lambda item: len(item[0]), reverse=True)

    def limit(self, key: str) -> int:
        """The most bytes an object of this key may have."""
        return next(limit for prefix, limit in self._by_prefix if key.startswith(prefix))


def check_size(key: str, size: int, limit: int) -> None:
    """Raises ObjectTooLarge, with both figures, when `size` bytes are over the limit."""
    if size > limit:
        message = f"the object {key!r} would be larger than {limit} bytes, the most that is allowed there"
        raise ObjectTooLarge(message, key=key, limit=limit)


def check_content_type(text: str) -> None:
    """Raises InvalidArgument when a media type could not travel in a header of 255 bytes."""
    if len(text) > CONTENT_TYPE_BYTES or not (text.isascii() and text.isprintable()):
        raise InvalidArgument.of("content_type", f"must be at most {CONTENT_TYPE_BYTES} printable ASCII characters")


class UploadSlots:
    """Counts uploads: clients are turned away at once, daemons wait within their deadline."""

    def __init__(self, clients: int, daemons: int) -> None:
        self._clients = asyncio.Semaphore(clients)
        self._daemons = asyncio.Semaphore(daemons)
        self._most = clients

    @asynccontextmanager
    async def hold(self, *, internal: bool) -> AsyncIterator[None]:
        """Holds a place for one upload. Raises TooManyUploads when a client finds none."""
        if not internal and self._clients.locked():
            raise TooManyUploads(f"{self._most} uploads are running; try again soon", limit=self._most)
        async with self._daemons if internal else self._clients:
            yield
