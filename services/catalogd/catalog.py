"""The datasets and the catalog version, in memory. Storage has everything first (C3, C4).

The version that readers are told is the newest one below which nothing is still under way: whoever
has seen version 7 has seen all that happened up to 7.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping

from services.catalogd.errors import DatasetNotFound
from services.catalogd.manifest import Manifest
from services.catalogd.manifestfile import manifest_key
from services.runtime.names import same_name


class Catalog:
    """Manifests by name. Every call takes a few us, but for the error of `get`.

    Changed by one thread; read by any.
    """

    def __init__(
        self, manifests: Iterable[Manifest] = (), *, version: int = 0, problems: Mapping[str, str] | None = None
    ) -> None:
        """`version` is the first one answered; `problems` has a sentence for each object key left out."""
        self._problems = dict(problems or {})
        self._manifests = {same_name(manifest.name): manifest for manifest in manifests}
        self._names = sorted(manifest.name for manifest in self._manifests.values())
        self._newest = version
        self._under_way: set[int] = set()

    @classmethod
    def rehydrated(cls, manifests: Iterable[Manifest], *, version: int, problems: Mapping[str, str]) -> Catalog:
        """The catalog after a restart, from what storage holds and the last version that may have been taken.

        A restart counts as a change: storage may hold one that nobody was told of. Of two datasets
        whose names differ in case only the one that changed later stays.
        """
        kept: dict[str, Manifest] = {}
        left_out = dict(problems)
        for manifest in sorted(manifests, key=lambda manifest: manifest.version, reverse=True):
            other = kept.setdefault(same_name(manifest.name), manifest)
            if other is not manifest:
                key = manifest_key(manifest.name)
                left_out[key] = f"{key}: the dataset {other.name!r} has this name but for case"
        newest = max([version, *(manifest.version for manifest in kept.values())])
        return cls(kept.values(), version=newest + 1 if newest else 0, problems=left_out)

    @property
    def version(self) -> int:
        """The version readers are told."""
        return min(self._under_way) - 1 if self._under_way else self._newest

    @property
    def problems(self) -> list[str]:
        """What could not be read at start and was not replaced since, each in a sentence."""
        return list(self._problems.values())

    def find(self, name: str) -> Manifest | None:
        """The dataset of this name without regard to case, or None."""
        return self._manifests.get(same_name(name))

    def get(self, name: str) -> Manifest:
        """The dataset of this name without regard to case.

        Raises DatasetNotFound with the nearest name; finding that takes 2 ms per 1,000 datasets.
        """
        found = self.find(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(same_name(name), list(self._manifests), n=1)
        nearest = self.find(near[0]) if near else None
        if nearest is None:
            raise DatasetNotFound(f"there is no dataset {name!r}", name=name)
        message = f"there is no dataset {name!r}; did you mean {nearest.name!r}?"
        raise DatasetNotFound(message, name=name, nearest=nearest.name)

    def names(self) -> list[str]:
        """The names of all datasets, in order."""
        return list(self._names)

    def page(self, after: str, limit: int) -> list[Manifest]:
        """The first datasets behind the name `after`, in the order of their names."""
        first = bisect_right(self._names, after)
        return [self._manifests[same_name(name)] for name in self._names[first : first + limit]]

    def begin(self) -> int:
        """Takes the next version for a change, which then ends with `publish` or `abandon`."""
        self._newest += 1
        self._under_way.add(self._newest)
        return self._newest

    def publish(self, version: int, before: Manifest | None, after: Manifest | None) -> None:
        """Shows a change that storage has: a new dataset, a new state, or None for a removed one."""
        self._under_way.discard(version)
        if before is not None:
            del self._manifests[same_name(before.name)]
            self._names.remove(before.name)
        if after is not None:
            self._manifests[same_name(after.name)] = after
            insort(self._names, after.name)
            self._problems.pop(manifest_key(after.name), None)

    def abandon(self, version: int) -> None:
        """Ends a change that failed. Its version stays taken: storage may have it all the same."""
        self._under_way.discard(version)
