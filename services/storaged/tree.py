"""The directories of one bucket: which object files there are, in the order of their keys.

Listing reads one directory after the other, never the whole tree. The sorted names of directories
listed lately are kept until something changes in them, so that going through a directory of many
objects page by page reads it once. Safe from any number of threads.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from services.runtime.durable import make_directory
from services.runtime.errors import InvalidArgument
from services.runtime.names import check_key
from services.storaged.paths import directory_path, is_object, object_path, sort_text

_KEPT_NAMES = 250_000


class Tree:
    """The files below `root`, one for each object."""

    def __init__(self, root: Path) -> None:
        """Takes a directory, which is made when it is missing."""
        self._root = os.fspath(make_directory(root))
        self._lock = threading.Lock()
        self._kept: dict[str, list[str]] = {}
        self._kept_names = 0
        self._changes = 0

    def path(self, key: str) -> str:
        """The file of an object, whether it is there or not. Raises InvalidArgument for a bad key (S3)."""
        return f"{self._root}/{object_path(check_key(key))}"

    def walk(self, prefix: str = "", after: str = "") -> Iterator[tuple[str, str]]:
        """Yields (key, path) of the objects whose key begins with `prefix` and lies behind `after`.

        In the order of the keys' bytes. O(names in the directories on the way).
        """
        parent, slash, _ = prefix.rpartition("/")
        if slash and not _is_key(parent):
            return
        start = f"{self._root}/{directory_path(parent)}" if slash else self._root
        levels = [self._level(start, parent + slash, prefix, after)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
            elif is_object(found[1]):
                yield found
            else:
                levels.append(self._level(found[1], found[0], prefix, after))

    def _level(self, directory: str, base: str, prefix: str, after: str) -> Iterator[tuple[str, str]]:
        # Yields what may hold wanted keys: (how those begin, path). A directory that the wanted
        # range begins inside of sorts just before the place bisect finds, hence the step back.
        names = self._names(directory)
        target = max(prefix, after)
        first = bisect_left(names, target[len(base) :], key=sort_text) - 1 if target.startswith(base) else 0
        for name in islice(names, max(first, 0), None):
            begin = base + sort_text(name)
            if begin.startswith(prefix):
                wanted = begin > after or (after.startswith(begin) and not is_object(name))
            else:
                wanted = prefix.startswith(begin) and not is_object(name)
                if begin > prefix:
                    return
            if wanted:
                yield begin, f"{directory}/{name}"

    def _names(self, directory: str) -> list[str]:
        names = self._kept.get(directory)
        if names is not None:
            return names
        changes = self._changes
        try:
            names = sorted(os.listdir(directory), key=sort_text)
        except (FileNotFoundError, NotADirectoryError):
            return []
        with self._lock:
            if changes == self._changes and directory not in self._kept:
                self._kept[directory] = names
                self._kept_names += len(names)
                while self._kept_names > _KEPT_NAMES:
                    self._drop(next(iter(self._kept)))
        return names

    def _drop(self, directory: str) -> None:
        self._kept_names -= len(self._kept.pop(directory, ()))

    def changed(self, directory: str) -> None:
        """Must be told after a name came to a directory or left it."""
        with self._lock:
            self._changes += 1
            self._drop(directory)

    def make(self, directory: str) -> None:
        """Makes the directory of an object that is about to come, durably."""
        if os.path.isdir(directory):
            return
        make_directory(Path(directory))
        for parent in self._parents(directory):
            self.changed(parent)

    def prune(self, directory: str) -> str:
        """Removes a directory that became empty, and its parents likewise; returns the first that stays."""
        for parent in self._parents(directory):
            try:
                os.rmdir(directory)
            except OSError:  # it is not empty, or gone already
                break
            self.changed(directory)
            self.changed(parent)
            directory = parent
        return directory

    def _parents(self, directory: str) -> Iterator[str]:
        while directory != self._root:
            directory = os.path.dirname(directory)
            yield directory


def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except InvalidArgument:
        return False
    return True
