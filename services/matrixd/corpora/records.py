"""What matrixd remembers of each corpus it makes: how, and which rows are in it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.matrixd.corpora.corpora import CorpusInfo
from services.matrixd.corpora.ledger import Ledger
from services.matrixd.corpora.plan import BuildRequest
from services.matrixd.corpora.recipe import decode_recipe
from services.runtime.durable import atomic_write, make_directory, remove_file, sweep_temporaries
from services.runtime.names import same_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One corpus. `rows` is the state of the dataset that is wholly in it; empty until a pass came to its end."""

    corpus: str
    identity: str
    recipe: BuildRequest
    rows: str = ""


class Records:
    """Keeps records and ledgers in a directory of its own. Every write is on disk when it returns.

    All of it can be deleted while matrixd does not run: the next refresh then embeds everything once more.
    """

    def __init__(self, directory: Path) -> None:
        """Creates the directory and reads every record; one that cannot be read is reported and counts as lost."""
        self._directory = make_directory(directory)
        sweep_temporaries(directory)
        self._records: dict[str, Record] = {}
        for path in sorted(directory.glob("*.json")):
            try:
                values = orjson.loads(path.read_bytes())
                record = Record(**{**values, "recipe": decode_recipe(values["recipe"])})
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                log.warning("the record %s of a corpus is skipped: %s", path.name, error)
            else:
                self._records[same_name(record.corpus)] = record

    def get(self, info: CorpusInfo) -> Record | None:
        """The record of a corpus; None where there is none, or only one of an index that had its name before."""
        record = self._records.get(same_name(info.name))
        return record if record is not None and record.identity == info.identity else None

    def save(self, record: Record) -> None:
        """Writes a record. One disk write and two syncs."""
        atomic_write(self._path(record.corpus, "json"), orjson.dumps(record))
        self._records[same_name(record.corpus)] = record

    def ledger(self, info: CorpusInfo) -> Ledger:
        """Opens the ledger of a corpus. 1 s for a million items."""
        return Ledger(self._path(info.name, "log"), info.identity)

    def names(self) -> list[str]:
        """The corpora there are records of."""
        return [record.corpus for record in self._records.values()]

    def remove(self, corpora: Iterable[str]) -> None:
        """Removes the records of corpora that are no longer there."""
        for corpus in list(corpora):
            remove_file(self._path(corpus, "json"))
            remove_file(self._path(corpus, "log"))
            self._records.pop(same_name(corpus), None)

    def _path(self, corpus: str, kind: str) -> Path:
        name = hashlib.sha256(same_name(corpus).encode()).hexdigest()[:32]
        return self._directory / f"{name}.{kind}"
