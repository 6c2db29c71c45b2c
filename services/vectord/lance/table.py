"""The Lance table of an index, from its writer's side: one commit at a time, durable before it is told (V6).

    table.lance/   data, deletions, indexes and versions, as Lance lays them out
    table.lock     held by the one engine that writes

Lance renames its files into place but does not sync them; that is done here, before the manifest of the
index names the new version. A version that no manifest names is undone when the table is opened.
"""

from __future__ import annotations

import logging
import os
import shutil
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from services.runtime.durable import sync_directory
from services.vectord.files.manifest import DamagedManifest, Description
from services.vectord.lance import addresses
from services.vectord.lance.addresses import Addresses
from services.vectord.lance.library import library, session
from services.vectord.lance.lock import TableLock
from services.vectord.lance.view import Approximation, View, lance_metric
from services.vectord.segments.building import Stopped
from services.vectord.segments.metric import Floats
from services.vectord.segments.storage import is_half
from services.vectord.tree.items import Norms

log = logging.getLogger(__name__)

FOLDER = "table.lance"
_ID_INDEX = "id_idx"
_VECTOR_INDEX = "vector_"  # and the version it was made for: Lance knows one index of a name
_ROWS_OF_A_FRAGMENT = 1 << 18
_SMALL_FRAGMENTS = 16
_SAMPLE_RATE = 64
_PARTS = 8  # of an index; those that were added to the first become one then
_QUANTISED = 8


class Table:
    """One thread writes at a time; the views it gives out are for everyone."""

    def __init__(self, path: Path, description: Description, *, cache_bytes: int) -> None:
        """Takes the lock; use `create` or `open` then. Raises IndexLocked."""
        self._lock = TableLock(path)
        self._path = path / FOLDER
        self._dimension = description.dimension
        self._metric = description.metric
        self._number = pa.float16() if is_half(description.storage_type) else pa.float32()
        self._session = session(cache_bytes)
        self._synced: set[str] = set()
        self.stale = False
        """Whether there are files of earlier versions."""
        # As long as a search holds one of a version, the files of that stay.
        self._datasets: weakref.WeakSet[Any] = weakref.WeakSet()

    def create(self) -> View:
        """Makes an empty table, durably; what an interrupted creation left goes."""
        shutil.rmtree(self._path, ignore_errors=True)
        schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("vector", pa.list_(self._number, self._dimension), nullable=False),
                pa.field("norm", pa.float64(), nullable=False),
                pa.field("metadata", pa.binary(), nullable=False),
            ]
        )
        library().write_dataset(schema.empty_table(), self._path, mode="create", session=self._session)
        self._sync()
        return self._view(self._dataset(), None)

    def open(self, version: int, approximation: Approximation | None) -> View:
        """Opens a version and undoes what was committed after it. Raises DamagedManifest when it cannot be read."""
        try:
            dataset = self._restored(version)
            self._sync()
            self.stale = True
            return self._view(dataset, approximation)
        except (OSError, ValueError) as error:
            self.close()
            raise DamagedManifest(f"its Lance table cannot be read: {_first_line(error)}") from error

    def commit(
        self,
        view: View,
        gone: Addresses,
        *,
        ids: Sequence[str],
        vectors: Floats,
        norms: Norms,
        metadata: Sequence[bytes],
    ) -> View:
        """Removes rows and adds others in one version, which is on disk when this returns. Raises OSError."""
        dataset = self._base(view)
        updated, removed = [], []
        for number, offsets in addresses.split(gone).items():
            left = dataset.get_fragment(number).delete_rows(offsets.tolist())
            if left is None:
                removed.append(number)
            else:
                updated.append(left)
        added = []
        if len(ids):
            rows = pa.table([ids, _lists(vectors, self._number), norms, metadata], schema=view.dataset.schema)
            added = library().fragment.write_fragments(rows, dataset, mode="append")
        operation = library().LanceOperation.Update(
            updated_fragments=updated, removed_fragment_ids=removed, new_fragments=added
        )
        dataset = library().LanceDataset.commit(dataset, operation, read_version=dataset.version)
        return self._committed(dataset, view)

    def _committed(self, dataset: Any, before: View) -> View:
        self._sync()
        self.stale = True
        view = self._view(dataset, before.approximation)
        view.take_bounds(before)
        return view

    def compact(self, view: View) -> View:
        """Joins small fragments and takes deleted rows out; afterwards rows have other addresses."""
        dataset = self._base(view)
        dataset.optimize.compact_files(
            target_rows_per_fragment=_ROWS_OF_A_FRAGMENT, max_bytes_per_file=1 << 30, batch_size=1024, num_threads=1
        )
        return self._committed(dataset, view)

    def extend_indexes(self, view: View) -> View:
        """Takes rows that came since into the indexes, without training anew."""
        dataset = self._base(view)
        if _ID_INDEX not in _indexed(dataset):
            dataset.create_scalar_index("id", "BTREE", name=_ID_INDEX)
        parts = max(len(index.segments) for index in dataset.describe_indices())
        dataset.optimize.optimize_indices(num_indices_to_merge=parts - 1 if parts > _PARTS else 0)
        return self._committed(dataset, view)

    def train(self, view: View, *, partitions: int, stop: Callable[[], bool]) -> Any:
        """Builds a vector index over all rows, aside from everything; `install` makes it count.

        Raises Stopped. Costs some 6 s for 100,000 rows of 768. Until it is installed, do not `clean`.
        """

        def look(_: object) -> None:
            if stop():
                raise Stopped

        # One bit for each number, and exact distances for the best: small, and built in seconds.
        kind = "IVF_RQ" if self._dimension % _QUANTISED == 0 else "IVF_FLAT"
        # On a handle of its own: while this runs, Lance lets nobody else use it.
        return self._dataset(view.version).create_index_uncommitted(
            "vector",
            kind,
            name=f"{_VECTOR_INDEX}{view.version}",
            metric=lance_metric(self._metric),
            num_partitions=partitions,
            sample_rate=_SAMPLE_RATE,
            fragment_ids=[piece.number for piece in view.pieces],
            progress_callback=look,
        )

    def install(self, trained: Any, view: View) -> View:
        """Searches by a new index from now on; rows that came since it was begun are compared one by one."""
        dataset = self._base(view)
        for name in _indexed(dataset):
            if name.startswith(_VECTOR_INDEX):
                dataset.drop_index(name)
        dataset = dataset.commit_existing_index_segments(trained.name, "vector", [trained])
        return self._committed(dataset, view)

    def clean(self, view: View) -> None:
        """Removes the files of all versions but this one, unless somebody reads another still."""
        if self.stale and all(other.version == view.version for other in self._datasets):
            self._dataset(view.version).cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
            self.stale = False

    def close(self) -> None:
        """Lets another engine write."""
        self._lock.release()

    def _dataset(self, version: int | None = None) -> Any:
        return library().LanceDataset(self._path, version=version, session=self._session)

    def _base(self, view: View) -> Any:
        """What a commit goes on from."""
        return self._restored(view.version)

    def _restored(self, version: int) -> Any:
        dataset = self._dataset(version)
        if dataset.latest_version != version:
            # A commit that no manifest names: a kill or a full disk came between, and the log has it all.
            dataset.restore()
        return dataset

    def _view(self, dataset: Any, approximation: Approximation | None) -> View:
        self._datasets.add(dataset)
        return View(dataset, dimension=self._dimension, metric=self._metric, approximation=approximation)

    def _sync(self) -> None:
        """Brings to disk what Lance wrote; files never change once they are there."""
        present: set[str] = set()
        for folder, _, names in os.walk(self._path):
            fresh = False
            for name in names:
                file = os.path.join(folder, name)
                present.add(file)
                if file not in self._synced:
                    _sync_file(file)
                    fresh = True
            if fresh:
                sync_directory(Path(folder))
        sync_directory(self._path)
        self._synced = present


def unindexed(view: View) -> int:
    """Rows that one of the table's indexes does not hold yet; all of them while there is no index of ids.

    Asked several times a second, so the answer is kept with the view.
    """
    if view.unindexed is None:
        view.unindexed = _unindexed(view)
    return view.unindexed


def _unindexed(view: View) -> int:
    indexed = _indexed(view.dataset)
    covered = [indexed.get(_ID_INDEX, set()), *(one for name, one in indexed.items() if name != _ID_INDEX)]
    return max(sum(piece.rows - piece.deleted for piece in view.pieces if piece.number not in one) for one in covered)


def is_scattered(view: View) -> bool:
    """Whether fragments are worth joining: many small ones, or much that was deleted."""
    small = sum(piece.rows < _ROWS_OF_A_FRAGMENT // 2 for piece in view.pieces)
    dead = sum(piece.deleted for piece in view.pieces)
    return small > _SMALL_FRAGMENTS or dead > view.count // 4 + 1024


def _indexed(dataset: Any) -> dict[str, set[int]]:
    """The fragments that each index holds; it may consist of several parts."""
    return {
        str(index.name): {int(number) for segment in index.segments for number in segment.fragment_ids}
        for index in dataset.describe_indices()
    }


def _lists(vectors: Floats, number: pa.DataType) -> Any:
    flat = pa.array(vectors.astype(number.to_pandas_dtype(), copy=False).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _sync_file(file: str) -> None:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:  # a temporary file of Lance
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(", /")[0]
