"""What the agent began and what came of it, durably: a crash neither forgets a trial nor allows one too many."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from services.runtime.durable import Log
from services.vectord.segments.building import Parameters
from services.vectord.tuning.rules import Action, Begun, Known, Try

STEPS = 100
"""How many steps are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of the trial with this number; the reason when it failed."""

    number: int
    at_ns: int
    trial_id: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """A promotion by the agent."""

    at_ns: int
    index: str
    trial_id: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing the agent did, as it is shown."""

    at_ns: int
    index: str
    action: Action
    trial_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What is told of the agent."""

    enabled: bool
    trials_per_hour: int
    trials_last_hour: int
    next_trial_ns: int
    steps: list[Step]


Entry = Begun | Done | Promoted
_KINDS: dict[str, type[Entry]] = {"begun": Begun, "done": Done, "promoted": Promoted}


class AgentJournal:
    """Safe from any number of threads."""

    def __init__(self, path: Path) -> None:
        """Reads what is there."""
        self._log = Log(path)
        self._lock = threading.Lock()
        self._entries: list[Entry] = [_decode(record.payload) for record in self._log.records()]

    def begun(self) -> list[Begun]:
        """Every trial that was begun, the oldest first."""
        return [entry for entry in self._entries if isinstance(entry, Begun)]

    def begin(self, known: Known, decision: Try, at_ns: int) -> Begun:
        """Notes, durably, that a trial begins. Raises OSError: it must not begin then."""
        with self._lock:
            begun = Begun(
                number=len(self._entries),
                at_ns=at_ns,
                key=known.key,
                index=known.name,
                action=decision.action,
                parameters=decision.parameters,
                of=known.count,
                detail=decision.detail,
            )
            self._append("begun", begun)
            return begun

    def note(self, entry: Done | Promoted) -> None:
        """Notes what came of it. Raises OSError."""
        with self._lock:
            self._append("done" if isinstance(entry, Done) else "promoted", entry)

    def _append(self, kind: str, entry: Entry) -> None:
        self._log.append(orjson.dumps({"kind": kind, **asdict(entry)}))
        self._entries.append(entry)

    def steps(self) -> list[Step]:
        """What the agent did, latest first; at most 100."""
        return steps(self._entries)[:STEPS]

    def close(self) -> None:
        """Closes the file; everything is on disk already."""
        self._log.close()


def _decode(payload: bytes) -> Entry:
    document: dict[str, Any] = orjson.loads(payload)
    kind = _KINDS[document.pop("kind")]
    if kind is Begun:
        document["parameters"] = Parameters(**document["parameters"])
    return kind(**document)


def steps(entries: Sequence[Entry]) -> list[Step]:
    """Entries as steps, latest first: a trial that began and what came of it are one step."""
    ends = {entry.number: entry for entry in entries if isinstance(entry, Done)}
    shown: list[Step] = []
    for entry in reversed(entries):
        if isinstance(entry, Promoted):
            shown.append(
                Step(
                    at_ns=entry.at_ns,
                    index=entry.index,
                    action="promoted",
                    trial_id=entry.trial_id,
                    detail=entry.detail,
                )
            )
        elif isinstance(entry, Begun):
            shown.append(step(entry, ends.get(entry.number)))
    return shown


def step(begun: Begun, done: Done | None = None) -> Step:
    """A trial as a step."""
    given = begun.parameters
    detail = f"m {given.m}, ef_construction {given.ef_construction}, ef_search {given.ef_search}: {begun.detail}"
    if done is not None and done.failure:
        return Step(at_ns=begun.at_ns, index=begun.index, action="failed", detail=f"{detail}; {done.failure}")
    trial_id = done.trial_id if done is not None else ""
    return Step(at_ns=begun.at_ns, index=begun.index, action=begun.action, trial_id=trial_id, detail=detail)
