"""Where the directories of all indexes stand: opened side by side, brought back from storage, taken away.

indexes/<name>-<incarnation>/   one index; a name used again gets a new incarnation
trash/<name>-<incarnation>/     an index on its way out, until nothing of it is in storage either
scratch/                        files on their way in
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from services.runtime.durable import atomic_write, make_directory, sync_directory
from services.runtime.errors import FailedPrecondition, ServiceError
from services.vectord.config import VectorConfig
from services.vectord.errors import NewerVersion
from services.vectord.files import manifest, vault
from services.vectord.files.manifest import DamagedManifest, Description
from services.vectord.files.vault import Vault
from services.vectord.tree.backends import BACKENDS
from services.vectord.tree.engine import Engine
from services.vectord.tree.index import Index
from services.vectord.tree.reshaping import REPLACES, UNFINISHED
from services.vectord.tuning.store import FOLDER

log = logging.getLogger(__name__)


class Shelf:
    """Makes, opens and removes the directories of indexes. Safe from any number of threads."""

    def __init__(self, data: Path, config: VectorConfig, storage: Vault | None) -> None:
        """Makes the directories; without `storage` an index is on this disk alone."""
        self._config = config
        self._storage = storage
        self._places = make_directory(data / "indexes")
        self._trash = make_directory(data / "trash")
        self.scratch = data / "scratch"
        """For files on their way in; empty at start."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        make_directory(self.scratch)
        self._tidying = threading.Lock()
        self._looked = storage is None
        self.waiting: dict[Path, Description] = {}
        """Indexes whose segments are not here and cannot be had from storage yet."""

    def open_all(self) -> list[Engine]:
        """Every index that can be opened; what is damaged is reported and left alone."""
        paths = []
        self._remove_replaced()
        for path in sorted(self._places.iterdir()):
            if _unfinished(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                paths.append(path)
        return self._open(paths)

    def _remove_replaced(self) -> None:
        """Takes away what a move left when it was interrupted after its last step."""
        for path in list(self._places.iterdir()):
            try:
                extra = manifest.read(path / vault.MANIFEST).extra
            except DamagedManifest:  # told when it is opened
                continue
            replaced = self._places / str(extra.get(REPLACES, ""))
            if UNFINISHED not in extra and replaced != self._places and replaced.is_dir():
                self.remove(replaced)

    def _open(self, paths: Iterable[Path]) -> list[Engine]:
        # Two pools: an index waits for its segments, so they must not wait for it.
        threads = self._config.load_threads
        with ThreadPoolExecutor(threads, "vectord-open") as pool, ThreadPoolExecutor(threads, "vectord-load") as loads:
            opened = pool.map(lambda path: self._open_one(path, loads), paths)
            return [engine for engine in opened if engine is not None]

    def _open_one(self, path: Path, loads: ThreadPoolExecutor) -> Engine | None:
        try:
            present = manifest.read(path / vault.MANIFEST)
            if UNFINISHED in present.extra:
                shutil.rmtree(path, ignore_errors=True)
                return None
            described = present.description
            engine = BACKENDS[described.backend].open(path, self._config, self._storage, loads)
        except (DamagedManifest, NewerVersion, KeyError, FailedPrecondition) as error:
            log.error("the index in %s is left out: %s", path.name, error)
        except ServiceError as error:
            log.error("the index in %s has to wait: %s", path.name, error)
            self.waiting[path] = described
        except Exception:
            # One that cannot be opened must not keep the others from being served; its files stay.
            log.exception("the index in %s is left out", path.name)
        else:
            return engine
        return None

    def check_bucket(self, bucket: str) -> None:
        """Raises NotFound (BUCKET_NOT_FOUND), and Unavailable when storage cannot be asked about it."""
        # The first bucket is always there, so that indexes can be made while storage is away.
        if self._storage is not None and bucket != "primary":
            self._storage.check_bucket(bucket)

    def create(self, description: Description) -> Engine:
        """Makes an empty index that survives from now on."""
        make = BACKENDS[description.backend].create
        return make(self._new_path(description.name), description, self._config, self._storage)

    def begin(self, description: Description) -> Index:
        """Makes an empty index that is removed when the daemon starts, unless it is finished before."""
        path = self._new_path(description.name)
        return Index.create(path, description, self._config, self._storage, {UNFINISHED: True})

    def begin_successor(self, source: Index, backend: str) -> Index:
        """The same for an index that is to take the place of another, on another back end."""
        path = self._new_path(source.description.name)
        extra = {UNFINISHED: True, **source.heritage()}
        begin, reopen = BACKENDS[backend].begin, BACKENDS[backend].open
        begin(path, replace(source.description, backend=backend), self._config, self._storage, extra).close()
        for file in (source.path / FOLDER).rglob("*"):
            if file.is_file():
                target = path / file.relative_to(source.path)
                make_directory(target.parent)
                atomic_write(target, file.read_bytes())
        opened = reopen(path, self._config, self._storage, None)
        assert isinstance(opened, Index)
        return opened

    def adopt(self, description: Description, build: Callable[[Path], None]) -> Engine:
        """Makes an index of what `build` puts into a directory: whole, or not at all."""
        built = self.scratch / f"build-{secrets.token_hex(8)}"
        path = self._new_path(description.name)
        try:
            build(built)
            built.rename(path)
            sync_directory(self._places)
        finally:
            shutil.rmtree(built, ignore_errors=True)
        return BACKENDS[description.backend].open(path, self._config, self._storage, None)

    def _new_path(self, name: str) -> Path:
        return self._places / vault.new_directory(name, secrets.token_hex(4))

    def remove(self, path: Path) -> None:
        """Takes the directory of a retired index away: gone for good when this returns, its files soon after."""
        path.rename(self._trash / path.name)
        sync_directory(self._places)

    def clear(self, path: Path) -> None:
        """Deletes what is left of a removed index, here and in storage; what cannot be deleted now is later."""
        gone = self._trash / path.name
        for file in gone.glob("*"):
            if file.name != vault.MANIFEST:
                # Whoever tidies at the same time may be faster.
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)
        try:
            if self._storage is not None:
                vault.purge(gone, self._storage)
        except ServiceError as error:
            log.warning("what was stored of %s will be deleted later: %s", gone.name, error)
            return
        except DamagedManifest as error:
            log.error("what was stored of %s cannot be found: %s", gone.name, error)
        shutil.rmtree(gone, ignore_errors=True)

    @property
    def untidy(self) -> bool:
        """Whether something waits for storage: what is to be deleted, restored or fetched."""
        return not self._looked or bool(self.waiting) or any(self._trash.iterdir())

    def tidy(self, register: Callable[[list[Engine]], None]) -> None:
        """Deletes what was left of removed indexes, and opens and registers those that come back from storage.

        Raises ServiceError when storage cannot be reached; then it is to be called again.
        """
        with self._tidying:
            for path in list(self._trash.iterdir()):
                self.clear(path)
            if self.waiting:
                register(self._open(list(self.waiting)))
            if not self._looked and self._storage is not None:
                register(self._open(self._restored(self._storage)))
                self._looked = True

    def _restored(self, storage: Vault) -> list[Path]:
        """Directories made anew for indexes of which only storage knows."""
        here = {path.name.rpartition("-")[2] for place in (self._places, self._trash) for path in place.iterdir()}
        names = {directory_of(path) for path in self._places.iterdir()}
        made = []
        for incarnation, (bucket, key) in vault.restorable(storage).items():
            if incarnation in here:
                continue
            try:
                found = vault.restore(storage, bucket, key, scratch=self.scratch)
            except DamagedManifest as error:
                log.error("the index in %s of the bucket %s cannot be restored: %s", key, bucket, error)
                continue
            path = self._places / vault.new_directory(found.description.name, incarnation)
            if directory_of(path) in names:
                log.error("%s in the bucket %s is not restored: its name is taken", key, bucket)
                continue
            make_directory(path)
            manifest.write(path / vault.MANIFEST, found)
            log.warning("the index %s comes back from storage, as it was stored last", found.description.name)
            names.add(directory_of(path))
            made.append(path)
        return made


def directory_of(path: Path) -> str:
    """The part of a directory's name that stands for the index's name."""
    return path.name.rpartition("-")[0]


def _unfinished(path: Path) -> bool:
    """Whether the creation of an index was interrupted: no manifest, and nothing was ever written."""
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    return all(file.suffix == ".log" and file.stat().st_size == 0 for file in files)
