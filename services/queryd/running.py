"""One statement while it is answered: what it reads, how it is stopped, what becomes of its session."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from services.queryd import sql
from services.queryd.config import QueryConfig
from services.queryd.database import Database, Session
from services.queryd.errors import OutOfMemory
from services.queryd.faults import DataFault, translate
from services.queryd.forms import ARROW, JSON, Form
from services.queryd.render import arrow_parts, json_answer
from services.queryd.views import View, unreadable
from services.runtime.errors import Cancelled

REMEMBERED_PLANS = 512
ARROW_BATCH_ROWS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a statement is run over these very files in one form."""

    text: str
    """The statement, wrapped where values have to be converted."""
    columns: tuple[tuple[str, str], ...]
    """Names and types of the columns as the statement has them."""


PlanKey = tuple[str, str, tuple[tuple[str, str], ...]]


class Plans:
    """The plans made last. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[PlanKey, Plan] = OrderedDict()

    def get(self, key: PlanKey) -> Plan | None:
        """The plan for this key, if it is remembered."""
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
            return plan

    def put(self, key: PlanKey, plan: Plan) -> None:
        """Remembers a plan in the place of the one that was longest not asked for."""
        with self._lock:
            self._plans[key] = plan
            if len(self._plans) > REMEMBERED_PLANS:
                self._plans.popitem(last=False)


class Running:
    """A statement that passed the gate, over views whose files are in place.

    `json` and `next_part` block; `interrupt` and `close` may be called from any thread, at any time, also again.
    """

    def __init__(
        self, *, text: str, views: tuple[View, ...], database: Database, plans: Plans, config: QueryConfig
    ) -> None:
        """Takes no session before there is work to do."""
        self._text = text
        self._views = views
        self._database = database
        self._plans = plans
        self._config = config
        self._working = threading.Lock()
        self._state = threading.Lock()
        self._session: Session | None = None
        self._parts: Iterator[bytes] | None = None
        self._stopped = False

    def json(self) -> bytes:
        """The whole answer as JSON. Errors as the contract has them; Cancelled once interrupted."""
        with self._work() as session:
            plan = self._plan(session, JSON)
            session.cursor.execute(plan.text)
            answer = json_answer(
                plan.columns,
                session.cursor.fetchmany,
                row_limit=self._config.row_limit,
                max_bytes=self._config.max_json_bytes,
            )
            self._release()
            return answer

    def next_part(self) -> bytes | None:
        """The next messages of the answer as an Arrow stream, None at its end. Errors as for `json`."""
        with self._work() as session:
            if self._parts is None:
                plan = self._plan(session, ARROW)
                self._parts = arrow_parts(session.cursor.execute(plan.text).to_arrow_reader(ARROW_BATCH_ROWS))
            part = next(self._parts, None)
            if part is None:
                self._release()
            return part

    def interrupt(self) -> None:
        """Asks what runs to end; nothing runs after this. Never blocks.

        An interrupt that falls between two steps of the work is lost; the caller repeats it until the work ends.
        """
        with self._state:
            self._stopped = True
            if self._session is not None:
                self._session.interrupt()

    def close(self) -> None:
        """Ends it and gives the session back, at once or as soon as work that runs has ended."""
        self.interrupt()
        if self._working.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._working.release()

    @contextmanager
    def _work(self) -> Iterator[Session]:
        with self._working:
            try:
                yield self._acquire()
            except (duckdb.Error, OSError) as error:
                self._fail()
                raise self._translated(error) from None
            except MemoryError:
                self._fail()
                raise OutOfMemory("the answer needs more memory than there is: ask for less") from None
            except BaseException:
                self._fail()
                raise
            finally:
                if self._stopped:
                    self._release()

    def _acquire(self) -> Session:
        with self._state:
            if self._stopped:
                raise Cancelled("the statement was interrupted")
            if self._session is None:
                self._session = self._database.acquire()
            return self._session

    def _fail(self) -> None:
        with self._state:
            self._stopped = True

    def _release(self) -> None:
        with self._state:
            session, self._session = self._session, None
            self._parts = None
        if session is not None:
            self._database.release(session, reuse=not self._stopped)

    def _plan(self, session: Session, form: Form) -> Plan:
        session.show(self._views)
        key = (self._text, form.name, tuple((view.name, view.digest) for view in self._views))
        plan = self._plans.get(key)
        if plan is None:
            plan = _made(self._text, session, form)
            self._plans.put(key, plan)
        return plan

    def _translated(self, error: Exception) -> Exception:
        found = translate(error)
        if not isinstance(found, DataFault):
            return found
        for view in self._views:
            if found.sha256 in view.files:
                return unreadable(view.dataset, found.message)
        return unreadable("", found.message)


def _made(text: str, session: Session, form: Form) -> Plan:
    bound = session.bind(text)
    conversions = [(name, form.conversions(type_)) for name, type_ in bound]
    converted = any(types for _, types in conversions)
    return Plan(
        text=sql.convert(text, conversions) if converted else text,
        columns=tuple((name, str(type_)) for name, type_ in bound),
    )
