"""What changes an index as a whole: other parameters, other graphs, another index out of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from services.vectord.files.manifest import Description, Manifest
from services.vectord.operations.watch import Watch
from services.vectord.segments.snapshot import Snapshot
from services.vectord.tree.changes import Changes, following
from services.vectord.tree.core import Core
from services.vectord.tree.upkeep import Upkeep
from services.vectord.tuning.store import Tuning
from services.vectord.tuning.trial import Tuned

UNFINISHED = "unfinished"
"""In the manifest of an index that is still being made: a start removes it."""

REPLACES = "replaces"
"""In the manifest of an index that took the place of another: the directory that goes."""

_TUNED = "tuned"


class Reshaping:
    """Its methods belong to Index. Safe from any number of threads; they block."""

    def __init__(self, core: Core) -> None:
        """Nothing is read or written yet but the journal of trials."""
        self._core = core
        self._upkeep = Upkeep(core)
        self.tuning = Tuning(core.directory.path)
        """What was measured on it."""

    @property
    def tuned(self) -> Tuned:
        """The promotions that count."""
        document = self._core.directory.manifest.extra.get(_TUNED)
        return Tuned() if document is None else Tuned.of(document)

    def promote(self, description: Description, tuned: Tuned) -> None:
        """Replaces description and promotions in one durable step; graphs that are there stay. Raises OSError."""
        self._core.directory.change(lambda present: _with(replace(present, description=description), tuned))
        self._core.description = description

    def rebuild(self, description: Description, *, tuned: Tuned | None = None, watch: Watch | None = None) -> None:
        """Links all that is sealed anew as the description says, which holds from that moment on; see Upkeep."""
        self._upkeep.rebuild(description, lambda present: _with(present, tuned), watch or Watch())

    def fill(self, snapshot: Snapshot, *, watch: Watch | None = None) -> None:
        """Takes the items of another index; see Upkeep."""
        self._upkeep.fill(snapshot, watch or Watch())

    def following(self) -> AbstractContextManager[Changes]:
        """Tells what is written while the block runs."""
        return following(self._core)

    def finish(self, *, replaces: str = "") -> None:
        """Ends the making of an index that was created unfinished: from now on a start opens it. Raises OSError.

        `replaces` is the directory of the index whose place it takes: from now on a start removes that.
        """
        self._core.directory.change(lambda present: _finished(present, replaces))

    def heritage(self) -> dict[str, Any]:
        """What goes with the index when it moves, for the manifest: what was promoted."""
        extra = self._core.directory.manifest.extra
        return {key: extra[key] for key in (_TUNED,) if key in extra}


def _with(present: Manifest, tuned: Tuned | None) -> Manifest:
    return present if tuned is None else replace(present, extra={**present.extra, _TUNED: tuned.document()})


def _finished(present: Manifest, replaces: str) -> Manifest:
    extra = {key: value for key, value in present.extra.items() if key != UNFINISHED}
    return replace(present, extra={**extra, REPLACES: replaces} if replaces else extra)
