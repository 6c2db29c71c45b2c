"""Other names for indexes: one small file, replaced as a whole, read by every search without a lock."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from services.runtime.durable import Record, atomic_write, frame, scan, sync_directory
from services.runtime.names import same_name
from services.vectord.errors import AliasNotFound, NothingToRollBack

log = logging.getLogger(__name__)

VERSION = 1
HISTORY = 50
"""How many earlier indexes an alias remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name, the index it stands for, and those it stood for before, latest first."""

    name: str
    index: str
    previous: tuple[str, ...] = ()
    updated_ns: int

    def to(self, index: str, now_ns: int) -> Alias:
        """The alias standing for another index; for the same one, itself."""
        if same_name(index) == same_name(self.index):
            return self
        return replace(self, index=index, previous=(self.index, *self.previous)[:HISTORY], updated_ns=now_ns)

    def back(self, now_ns: int) -> Alias:
        """The alias as it was before; raises NothingToRollBack."""
        if not self.previous:
            raise NothingToRollBack(f"the alias {self.name!r} never stood for another index", name=self.name)
        return replace(self, index=self.previous[0], previous=self.previous[1:], updated_ns=now_ns)


class Aliases:
    """The aliases there are. One thread changes them at a time, any number may read meanwhile."""

    def __init__(self, path: Path) -> None:
        """Reads the file; one that is damaged is set aside, and there are no aliases then."""
        self._path = path
        self._table = _read(path)

    def find(self, name: str) -> Alias | None:
        """The alias of that name, without regard to case."""
        return self._table.get(same_name(name))

    def get(self, name: str) -> Alias:
        """The same; raises AliasNotFound."""
        alias = self.find(name)
        if alias is None:
            raise AliasNotFound(f"no alias is named {name!r}", name=name)
        return alias

    def all(self) -> list[Alias]:
        """Every alias, in the order of the names."""
        return sorted(self._table.values(), key=lambda alias: alias.name)

    def of(self, index: str) -> list[str]:
        """The aliases that stand for an index, in the order of their names."""
        wanted = same_name(index)
        return [alias.name for alias in self.all() if same_name(alias.index) == wanted]

    def put(self, alias: Alias) -> None:
        """Makes this the alias of its name: on disk first, then in one step for every reader. Raises OSError."""
        self._commit({**self._table, same_name(alias.name): alias})

    def remove(self, name: str) -> Alias:
        """Forgets an alias. Raises AliasNotFound, OSError."""
        alias = self.get(name)
        self._commit({key: other for key, other in self._table.items() if key != same_name(name)})
        return alias

    def _commit(self, table: Mapping[str, Alias]) -> None:
        document = {"version": VERSION, "aliases": [asdict(alias) for alias in table.values()]}
        atomic_write(self._path, frame(1, orjson.dumps(document)))
        self._table = table


def _read(path: Path) -> Mapping[str, Alias]:
    if not path.exists():
        return {}
    record = next(iter(scan(path)), None)
    if isinstance(record, Record):
        document = orjson.loads(record.payload)
        if document["version"] == VERSION:
            aliases = [Alias(**{**one, "previous": tuple(one["previous"])}) for one in document["aliases"]]
            return {same_name(alias.name): alias for alias in aliases}
    aside = path.with_name(path.name + ".damaged")
    path.rename(aside)
    sync_directory(path.parent)
    log.error("the aliases cannot be read, so there are none; their file is kept as %s", aside.name)
    return {}
