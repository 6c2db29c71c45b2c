"""The words of one corpus: BM25 over its texts, in a directory of its own (tantivy).

Derived from the dataset: whatever is lost or damaged is made again. `state.json` says of which index it
is the words, and whether it has all of them; it does not while a pass is writing.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
import tantivy

from services.runtime.durable import atomic_write, make_directory

log = logging.getLogger(__name__)

_FORMAT = 1
_HEAP_BYTES = 32 << 20
_MOST_TERMS = 256
_WORDS = "words"
_ANALYZER = (
    tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    .filter(tantivy.Filter.lowercase())
    .filter(tantivy.Filter.stemmer("English"))
    .build()
)


class LexicalIndex:
    """Adds, removes and finds. Every method may read or write the disk; safe to use from several threads."""

    def __init__(self, path: Path, identity: str) -> None:
        """Opens the words of the index with this identity, or begins anew where there are none to believe."""
        self._path = path
        self._identity = identity
        self._lock = threading.Lock()
        self._writer: tantivy.IndexWriter | None = None
        self.complete = self._state() == {"format": _FORMAT, "identity": identity, "complete": True}
        try:
            self._open()
        except (ValueError, OSError) as error:
            log.warning("the words of a corpus are made anew: %s", error)
            self.complete = False
        if not self.complete:
            shutil.rmtree(path, ignore_errors=True)
            self._open()

    def put(self, texts: Iterable[tuple[str, str]]) -> None:
        """Adds texts by id, or replaces them. 5 us each, and 25 us in tantivy's own thread; found after `finish`."""
        with self._lock:
            writer = self._writing()
            for item_id, text in texts:
                writer.delete_documents_by_term("id", item_id)
                document = tantivy.Document()
                document.add_text("id", item_id)
                document.add_text("text", text)
                writer.add_document(document)

    def remove(self, ids: Iterable[str]) -> None:
        """Removes texts; found no more after `finish`."""
        with self._lock:
            writer = self._writing()
            for item_id in ids:
                writer.delete_documents_by_term("id", item_id)

    def finish(self, *, complete: bool) -> None:
        """Makes everything put and removed found, and says whether that is all there is. Synced to disk."""
        with self._lock:
            if self._writer is not None:
                self._writer.commit()
                self._writer.wait_merging_threads()
                self._writer = None
                self._index.reload()
            self.complete = complete
            self._save(complete)

    def search(
        self, text: str, count: int, *, offset: int = 0, ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """Ids and BM25 scores of the best texts, from place `offset` on; among `ids` only where they are given."""
        words = list(dict.fromkeys(_ANALYZER.analyze(text)))[:_MOST_TERMS]
        terms = [tantivy.Query.term_query(self._schema, "text", word, "freq") for word in words]
        if not terms or ids == []:
            return []
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        if ids is not None:
            among = tantivy.Query.const_score_query(tantivy.Query.term_set_query(self._schema, "id", list(ids)), 0.0)
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, among)])
        searcher = self._index.searcher()
        found = searcher.search(query, count, count=False, offset=offset).hits
        return [(searcher.doc(address)["id"][0], float(score)) for score, address in found]

    def __len__(self) -> int:
        return int(self._index.searcher().num_docs)

    def close(self) -> None:
        """Gives the writer up; what was not finished is lost, and the state on disk says so."""
        with self._lock:
            if self._writer is not None:
                self._writer.rollback()
                self._writer.wait_merging_threads()
                self._writer = None

    def _open(self) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
        builder.add_text_field("text", stored=False, tokenizer_name=_WORDS, index_option="freq")
        self._schema = builder.build()
        self._index = tantivy.Index(self._schema, path=str(make_directory(self._path / "words")))
        self._index.register_tokenizer(_WORDS, _ANALYZER)

    def _writing(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._save(False)
            self._writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        return self._writer

    def _state(self) -> object:
        try:
            return orjson.loads((self._path / "state.json").read_bytes())
        except (OSError, ValueError):
            return None  # never written, or not readable: either way, nothing of it is believed

    def _save(self, complete: bool) -> None:
        state = {"format": _FORMAT, "identity": self._identity, "complete": complete}
        atomic_write(self._path / "state.json", orjson.dumps(state))
