"""What is written to an index while somebody copies it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.vectord.tree.core import Core
from services.vectord.tree.journal import Operation


class Changes:
    """The ids that writes touched since `before`; an id says that something changed, not what."""

    def __init__(self, core: Core) -> None:
        """Use `following`."""
        self._core = core
        self._ids: dict[str, None] = {}
        with core.writer:
            self.before = core.snapshot
            core.followers.append(self._note)

    def _note(self, operation: Operation) -> None:
        self._ids.update(dict.fromkeys(operation.ids))

    def take(self) -> list[str]:
        """The ids touched since the last time."""
        with self._core.writer:
            return self._taken()

    @contextmanager
    def held(self) -> Iterator[list[str]]:
        """The same, with all writers waiting while the block runs; so it should take milliseconds."""
        with self._core.writer:
            yield self._taken()

    def _taken(self) -> list[str]:
        ids, self._ids = list(self._ids), {}
        return ids


@contextmanager
def following(core: Core) -> Iterator[Changes]:
    """Follows an index while the block runs. Costs memory for each id touched and not taken yet."""
    changes = Changes(core)
    try:
        yield changes
    finally:
        with core.writer:
            core.followers.remove(changes._note)
