"""What was measured on one index, kept beside its files and gone with them.

tuning/trials.log           a journal of every trial
tuning/evals/<name>.eval    an eval set each
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from services.runtime.durable import Log, Record, atomic_write, frame, make_directory, remove_file, scan
from services.runtime.names import check_name, directory_name, same_name
from services.vectord.errors import EvalSetExists, EvalSetNotFound, IndexNotFound, TrialNotFound
from services.vectord.tuning import evals, trial
from services.vectord.tuning.evals import EvalSet
from services.vectord.tuning.trial import Trial

log = logging.getLogger(__name__)

FOLDER = "tuning"
_JOURNAL = "trials.log"
_SUFFIX = ".eval"


class Tuning:
    """The trials and eval sets of one index. Safe from any number of threads."""

    def __init__(self, index_path: Path) -> None:
        """Reads the journal of the index in that directory; writes nothing before there is something to keep."""
        self._path = index_path / FOLDER
        self._lock = threading.Lock()
        self._log: Log | None = None
        self._closed = False
        self._trials: list[Trial] = []
        if (self._path / _JOURNAL).exists():
            self._trials = [trial.decode(record.payload) for record in self._journal().records()]

    def _journal(self) -> Log:
        if self._log is None:
            self._log = Log(self._path / _JOURNAL)
        return self._log

    def trials(self) -> list[Trial]:
        """Every trial, the oldest first."""
        return list(self._trials)

    def trial(self, trial_id: str) -> Trial:
        """One trial; raises TrialNotFound."""
        for one in self._trials:
            if one.id == trial_id:
                return one
        raise TrialNotFound(f"the index has no trial {trial_id!r}", trial_id=trial_id)

    def page(self, size: int, before: str) -> tuple[list[Trial], bool]:
        """The `size` newest trials, newest first, of those older than the one with id `before`; whether more follow."""
        older = [one for one in reversed(self._trials) if not before or one.id < before]
        return older[:size], len(older) > size

    def keep(self, ended: Trial) -> Trial:
        """Writes a trial down, durably, under the next id; ids sort by age. Raises OSError."""
        with self._lock:
            if self._closed:
                raise IndexNotFound("the index was deleted")
            last = int(self._trials[-1].id) if self._trials else 0
            kept = replace(ended, id=f"{last + 1:08d}")
            self._journal().append(trial.encode(kept))
            self._trials.append(kept)
            return kept

    def eval_sets(self) -> list[EvalSet]:
        """Every eval set, in the order of the names; one that cannot be read is reported and left out."""
        found = [_read(path) for path in (self._path / "evals").glob(f"*{_SUFFIX}")]
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def find(self, name: str) -> EvalSet | None:
        """The eval set of that name, without regard to case."""
        path = self._place(name)
        return _read(path) if path.exists() else None

    def eval_set(self, name: str) -> EvalSet:
        """The same; raises EvalSetNotFound."""
        found = self.find(name)
        if found is None:
            raise EvalSetNotFound(f"the index has no eval set {name!r}", eval_set=name)
        return found

    def create(self, questions: EvalSet) -> None:
        """Keeps an eval set. Raises EvalSetExists, InvalidArgument for its name, OSError."""
        with self._lock:
            if self._place(check_name(questions.name, "eval_set")).exists():
                message = f"the index has an eval set {questions.name!r} already: delete it, or choose another name"
                raise EvalSetExists(message, eval_set=questions.name)
            self._write(questions)

    def replace(self, questions: EvalSet) -> None:
        """Keeps an eval set in the place of one of the same name. Raises OSError."""
        with self._lock:
            self._write(questions)

    def _write(self, questions: EvalSet) -> None:
        if self._closed:
            raise IndexNotFound("the index was deleted")
        make_directory(self._path / "evals")
        atomic_write(self._place(questions.name), frame(1, evals.encode(questions)))

    def delete(self, name: str) -> EvalSet:
        """Forgets an eval set; trials made with it stay. Raises EvalSetNotFound, OSError."""
        with self._lock:
            found = self.eval_set(name)
            remove_file(self._place(name))
            return found

    def _place(self, name: str) -> Path:
        return self._path / "evals" / f"{directory_name(same_name(name))}{_SUFFIX}"

    def close(self) -> None:
        """Takes no more trials; every one so far is on disk already."""
        with self._lock:
            self._closed = True
            if self._log is not None:
                self._log.close()


def _read(path: Path) -> EvalSet | None:
    record = next(iter(scan(path)), None)
    if isinstance(record, Record):
        return evals.decode(record.payload)
    log.error("the eval set in %s cannot be read and is left out", path.name)
    return None
