"""Which text each item of a corpus was embedded from, so that the same text is not embedded again (M11).

A hash for each item, in a log of matrixd's own: in the index it would show in every hit. The order of
writes keeps it true over a crash: a hash is forgotten before its item changes and noted after the new
one is in. So at worst a hash is missing, and its text is embedded once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import orjson

from services.runtime.durable import Log, atomic_write, frame, remove_file

_PER_RECORD = 10_000


class Ledger:
    """The hashes of one corpus. About 120 bytes of memory an item; every method may write to disk.

    Safe to use from several threads for different ids.
    """

    def __init__(self, path: Path, identity: str) -> None:
        """Opens or creates the log at `path`; hashes of an index with another identity are dropped."""
        self._path = path
        self._identity = identity
        self._hashes: dict[str, str] = {}
        self._log = Log(path)
        self._records = 0
        if not self._load():
            self._begin_anew()

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, item_id: str) -> str | None:
        """The hash of the text that an item's vector was made from; None when that is not known."""
        return self._hashes.get(item_id)

    def forget(self, ids: Iterable[str]) -> None:
        """Forgets hashes. On disk when it returns; nothing is written for ids that are not known."""
        known = [item_id for item_id in ids if item_id in self._hashes]
        if known:
            self._append(dict.fromkeys(known))
            for item_id in known:
                self._hashes.pop(item_id, None)

    def note(self, hashes: Mapping[str, str]) -> None:
        """Notes hashes. On disk when it returns; nothing is written for what is known already."""
        news = {item_id: value for item_id, value in hashes.items() if self._hashes.get(item_id) != value}
        if news:
            self._append(news)
            self._hashes.update(news)

    def keep(self, ids: Collection[str]) -> None:
        """Drops all hashes but those of some ids, and rewrites the log where half of it or more is of no use."""
        before = len(self._hashes)
        self._hashes = {item_id: value for item_id, value in self._hashes.items() if item_id in ids}
        if len(self._hashes) < before or self._records > 2 * len(self._hashes):
            self._log.close()
            atomic_write(self._path, b"".join(self._framed()))
            self._log = Log(self._path)
            self._records = len(self._hashes)

    def close(self) -> None:
        """Closes the log; everything is on disk already."""
        self._log.close()

    def _append(self, hashes: Mapping[str, str | None]) -> None:
        self._log.append(orjson.dumps(hashes))
        self._records += len(hashes)

    def _load(self) -> bool:
        """Reads the log; returns whether it can be believed."""
        if any(not damage.torn_tail for damage in self._log.damage):
            return False  # what is missing may be that a hash was forgotten
        records = self._log.records()
        first = next(records, None)
        if first is None or first.payload != self._header():
            return False
        for record in records:
            hashes: dict[str, str | None] = orjson.loads(record.payload)
            self._records += len(hashes)
            for item_id, value in hashes.items():
                if value is None:
                    self._hashes.pop(item_id, None)
                else:
                    self._hashes[item_id] = value
        return True

    def _begin_anew(self) -> None:
        self._log.close()
        remove_file(self._path)
        self._log = Log(self._path)
        self._log.append(self._header())

    def _framed(self) -> Iterable[bytes]:
        yield frame(1, self._header())
        items = list(self._hashes.items())
        for sequence, start in enumerate(range(0, len(items), _PER_RECORD), 2):
            yield frame(sequence, orjson.dumps(dict(items[start : start + _PER_RECORD])))

    def _header(self) -> bytes:
        return orjson.dumps({"identity": self._identity})
