"""Who has which name: indexes, aliases, and indexes that are still being made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from services.runtime.errors import InvalidArgument
from services.runtime.names import check_name, same_name
from services.vectord.errors import (
    BackendHasNoGraphs,
    IndexExists,
    IndexHasAlias,
    IndexNotFound,
    IndexOpening,
    NothingToRollBack,
)
from services.vectord.files.manifest import Description
from services.vectord.files.shelf import Shelf
from services.vectord.tree.aliases import Alias, Aliases
from services.vectord.tree.engine import Engine
from services.vectord.tree.gate import Gate
from services.vectord.tree.index import Index

LEAST_LINKS = 2


class Names:
    """Its methods belong to Indexes. Safe from any number of threads."""

    def __init__(self, data: Path, shelf: Shelf) -> None:
        """Reads the aliases."""
        self.aliases = Aliases(data / "aliases")
        self._shelf = shelf
        self._lock = threading.Lock()
        self._indexes: dict[str, Engine] = {}
        self._promised: set[str] = set()
        self._leaving: set[str] = set()
        self._gate = Gate()

    def get(self, name: str) -> Engine:
        """The index of that name or alias, without regard to case; raises IndexNotFound, IndexOpening."""
        index = self._indexes.get(same_name(name))
        if index is None:
            alias = self.aliases.find(name)
            return self._named(name if alias is None else alias.index)
        return index

    @property
    def scratch(self) -> Path:
        """A directory for files that nobody needs after a restart."""
        return self._shelf.scratch

    def graphs(self, name: str) -> Index:
        """The same, for what only an index with graphs has. Raises BackendHasNoGraphs, too."""
        index = self.get(name)
        if not isinstance(index, Index) or not index.has_graphs:
            backend = index.description.backend
            raise BackendHasNoGraphs(
                f"the index {name!r} lives in {backend}, without graphs", name=name, backend=backend
            )
        return index

    def movable(self, name: str) -> Index:
        """The same, for what is to be moved to another back end."""
        index = self.get(name)
        assert isinstance(index, Index), "every back end there is derives from Index"
        return index

    def _named(self, name: str) -> Engine:
        index = self._indexes.get(same_name(name))
        if index is None:
            if self._is_waiting(name):
                raise IndexOpening(f"the index {name!r} waits for its segments from storage", name=name)
            raise IndexNotFound(f"no index is named {name!r}", name=name)
        return index

    def _is_waiting(self, name: str) -> bool:
        return any(same_name(one.name) == same_name(name) for one in list(self._shelf.waiting.values()))

    def writing(self, name: str) -> AbstractContextManager[Engine]:
        """The index to write to while the block runs: no alias moves away from it before the write is done."""
        return self._gate.entered(lambda: self.get(name))

    def _check_free(self, name: str, *, alias: bool = False) -> None:
        other = self._indexes.get(same_name(name))
        taken = None if other is None else other.description.name
        if not alias and taken is None and (standing := self.aliases.find(name)) is not None:
            taken = standing.name
        if taken is not None or self._is_waiting(name) or same_name(name) in self._promised:
            raise IndexExists(
                f"an index or alias is named {taken or name!r} already", name=name, existing=taken or name
            )

    def check_free(self, dest: str, alias: str) -> None:
        """Raises IndexExists, or InvalidArgument when an index cannot have this name beside that alias."""
        with self._lock:
            self._check_free(check_name(dest, "dest"))
            if alias:
                self._check_free(check_name(alias, "alias"), alias=True)
        if same_name(dest) == same_name(alias):
            raise InvalidArgument.of("alias", "must differ from dest")

    def set_alias(self, name: str, index: str) -> tuple[Alias, bool]:
        """Makes an alias, or points it elsewhere, in one step; returns it and whether it is new.

        Raises IndexNotFound, IndexExists when an index has the name.
        """
        name = check_name(name)
        with self._lock:
            self._check_free(name, alias=True)
            if same_name(index) in self._leaving:
                raise IndexNotFound(f"the index {index!r} is being deleted", name=index)
            return self._point(name, self._named(index).description.name)

    def _point(self, name: str, index: str) -> tuple[Alias, bool]:
        present, now = self.aliases.find(name), time.time_ns()
        alias = Alias(name=name, index=index, updated_ns=now) if present is None else present.to(index, now)
        if alias is not present:
            self.aliases.put(alias)
        return alias, present is None

    def roll_back_alias(self, name: str) -> Alias:
        """Points an alias at the index before. Raises AliasNotFound, NothingToRollBack."""
        with self._lock:
            alias = self.aliases.get(name).back(time.time_ns())
            key = same_name(alias.index)
            if key not in self._indexes or key in self._leaving:
                message = f"the index {alias.index!r}, for which the alias {alias.name!r} stood before, is gone"
                raise NothingToRollBack(message, name=alias.name, index=alias.index)
            self.aliases.put(alias)
            return alias

    def delete_alias(self, name: str) -> Alias:
        """Forgets an alias. Raises AliasNotFound."""
        with self._lock:
            return self.aliases.remove(name)

    def _check_leaving(self, name: str) -> Engine:
        """The index to be deleted. Raises IndexNotFound, IndexHasAlias; only with the lock held."""
        index = self._named(name)
        standing = self.aliases.of(name)
        if standing:
            message = f"the alias {standing[0]!r} stands for the index {name!r}: delete it first, or point it elsewhere"
            raise IndexHasAlias(message, name=name, alias=standing[0])
        return index

    def begin(self, description: Description, alias: str) -> Index:
        """Makes an empty index that nobody sees before `publish`, and keeps its name and the alias for it.

        Raises IndexExists, InvalidArgument. `discard` takes it away; a start of the daemon does, too.
        """
        self.check_free(description.name, alias)
        description = checked(description)
        self._shelf.check_bucket(description.bucket)
        with self._lock:
            self._check_free(description.name)
            names = {same_name(name) for name in (description.name, alias) if name}
            self._promised |= names
        try:
            return self._shelf.begin(description)
        except BaseException:
            self._forgive(description.name, alias)
            raise

    def publish(
        self, index: Index, alias: str, source: Engine, last: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Shows an index that was begun, and points the alias at it, while nobody writes to its source.

        Within that moment `last` is entered. Raises what it raises, OSError.
        """
        name = index.description.name
        with self._gate.closed(source), self._lock, last():
            index.finish()
            self._indexes[same_name(name)] = index
            try:
                if alias:
                    self._point(alias, name)
            except BaseException:
                del self._indexes[same_name(name)]
                raise
        self._forgive(name, alias)

    def begin_successor(self, source: Index, backend: str) -> Index:
        """Makes an empty index that nobody sees before `exchange`. `discard` takes it away; a start does, too."""
        return self._shelf.begin_successor(source, backend)

    def exchange(self, source: Index, dest: Index, last: Callable[[], AbstractContextManager[None]]) -> None:
        """Puts an index that was begun in the place of another, which goes; nobody writes to it meanwhile.

        Within that moment `last` is entered. Raises what it raises, OSError; then nothing has changed.
        """
        key = same_name(source.description.name)
        with self._gate.closed(source):
            with self._lock, last():
                if key in self._leaving or self._indexes.get(key) is not source:
                    raise IndexNotFound(f"the index {key!r} is being deleted", name=key)
                dest.finish(replaces=source.path.name)
                source.successor = dest
                self._indexes[key] = dest
            source.retire()
        self._shelf.remove(source.path)
        self._shelf.clear(source.path)

    def discard(self, index: Index, alias: str) -> None:
        """Takes an index away that was begun and not published."""
        index.retire()
        self._shelf.remove(index.path)
        self._shelf.clear(index.path)
        self._forgive(index.description.name, alias)

    def _forgive(self, *names: str) -> None:
        with self._lock:
            self._promised -= {same_name(name) for name in names}


def checked(description: Description) -> Description:
    """A description of an index to be created now. Raises InvalidArgument."""
    check_description(description)
    return replace(description, name=check_name(description.name), created_ns=time.time_ns())


def check_description(description: Description) -> None:
    """Raises InvalidArgument for a graph that cannot be built."""
    if description.parameters.m < LEAST_LINKS:
        raise InvalidArgument.of("parameters.m", f"a graph needs at least {LEAST_LINKS} links for each node")
