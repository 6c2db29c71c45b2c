"""Metadata fields as columns, decoded from serialised Structs when a filter first asks for one."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from google.protobuf.struct_pb2 import Struct, Value

from services.vectord.segments.metric import Mask

NULL, BOOL, NUMBER, TEXT, OBJECT = range(5)
MAX_COLUMNS = 64
"""Columns kept per segment; filters on invented fields must not fill the memory."""

_NO_CODE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The values of one field in the first `count` items. A list gives one entry for each element.

    All arrays have one element per entry, ordered by item. `texts` gives the code of each text; it
    may know more texts than this column holds. Some 21 bytes an entry, and each text once.
    """

    count: int
    rows: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.int8]
    numbers: npt.NDArray[np.float64]
    codes: npt.NDArray[np.int32]
    present: npt.NDArray[np.int32]
    """Items where the field is there and not null."""
    texts: Mapping[str, int]
    single: bool
    """Whether every item has one entry, so that entries and items are the same."""

    def mask(self, entries: Mask, count: int) -> Mask:
        """The items, among the first `count`, to which at least one of the chosen entries belongs."""
        if self.single and count <= self.count:
            return entries[:count]
        chosen = np.zeros(max(count, self.count), dtype=np.bool_)
        chosen[self.rows[entries]] = True
        return chosen[:count]

    def there(self, count: int) -> Mask:
        """The items, among the first `count`, that have the field and not null in it."""
        chosen = np.zeros(max(count, self.count), dtype=np.bool_)
        chosen[self.present] = True
        return chosen[:count]


class Texts(Protocol):
    """Serialised Structs by position."""

    def __getitem__(self, row: int, /) -> bytes:
        """One of them."""
        ...


class Fields:
    """The columns of a list of metadata that may grow at its end.

    Safe from any number of threads. Decoding costs about 4 us an item, once for each field.
    """

    def __init__(self, metadata: Texts) -> None:
        """Takes serialised Structs; the list may be appended to, never changed."""
        self._metadata = metadata
        self._columns: dict[str, Column] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many columns are kept."""
        return len(self._columns)

    def columns(self, names: Iterable[str], count: int) -> dict[str, Column]:
        """The columns of some fields, each covering at least the first `count` items."""
        with self._lock:
            wanted = {name: self._columns.get(name, _EMPTY) for name in names}
            short = {name: column for name, column in wanted.items() if column.count < count}
            if short:
                wanted |= self._extended(short, count)
                self._keep(wanted)
            return wanted

    def _extended(self, columns: Mapping[str, Column], count: int) -> dict[str, Column]:
        builders = {name: _Builder(column) for name, column in columns.items()}
        for row in range(min(column.count for column in columns.values()), count):
            values = Struct.FromString(self._metadata[row]).fields
            for name, builder in builders.items():
                if row >= builder.start:
                    builder.add(row, _at(values, name))
        return {name: builder.column(count) for name, builder in builders.items()}

    def _keep(self, columns: Mapping[str, Column]) -> None:
        for name, column in columns.items():
            self._columns.pop(name, None)
            self._columns[name] = column
        while len(self._columns) > MAX_COLUMNS:
            del self._columns[next(iter(self._columns))]


class _Builder:
    def __init__(self, column: Column) -> None:
        self.start = column.count
        self._column = column
        self._texts = dict(column.texts) if column is _EMPTY else column.texts
        self._rows = array("i")
        self._kinds = array("b")
        self._numbers = array("d")
        self._codes = array("i")
        self._present = array("i")

    def add(self, row: int, value: Value | None) -> None:
        if value is None:
            return
        if value.WhichOneof("kind") != "null_value":
            self._present.append(row)
        for element in _elements(value):
            kind, number, code = self._entry(element)
            self._rows.append(row)
            self._kinds.append(kind)
            self._numbers.append(number)
            self._codes.append(code)

    def _entry(self, value: Value) -> tuple[int, float, int]:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return TEXT, np.nan, self._code(value.string_value)
        if kind == "number_value":
            return NUMBER, value.number_value, _NO_CODE
        if kind == "bool_value":
            return BOOL, float(value.bool_value), _NO_CODE
        return (OBJECT if kind == "struct_value" else NULL), np.nan, _NO_CODE

    def _code(self, text: str) -> int:
        # The codes grow in place: older columns share them and never hold a code that they do not know.
        texts = self._texts
        assert isinstance(texts, dict)
        return int(texts.setdefault(text, len(texts)))

    def column(self, count: int) -> Column:
        old = self._column
        rows = np.append(old.rows, np.array(self._rows, dtype=np.int32))
        return Column(
            count=count,
            rows=rows,
            kinds=np.append(old.kinds, np.array(self._kinds, dtype=np.int8)),
            numbers=np.append(old.numbers, np.array(self._numbers, dtype=np.float64)),
            codes=np.append(old.codes, np.array(self._codes, dtype=np.int32)),
            present=np.append(old.present, np.array(self._present, dtype=np.int32)),
            texts=self._texts,
            # Rows ascend: as many as items, and none twice, is one for each.
            single=len(rows) == count and bool((np.diff(rows) == 1).all()),
        )


def _at(values: Mapping[str, Value], name: str) -> Value | None:
    """The value of a field: under its whole name, else the first dot reaches into an object."""
    if name in values:
        return values[name]
    head, dot, rest = name.partition(".")
    if not dot or head not in values or values[head].WhichOneof("kind") != "struct_value":
        return None
    return _at(values[head].struct_value.fields, rest)


def _elements(value: Value) -> Iterator[Value]:
    if value.WhichOneof("kind") == "list_value":
        yield from value.list_value.values
    else:
        yield value


_EMPTY = Column(
    count=0,
    rows=np.empty(0, dtype=np.int32),
    kinds=np.empty(0, dtype=np.int8),
    numbers=np.empty(0, dtype=np.float64),
    codes=np.empty(0, dtype=np.int32),
    present=np.empty(0, dtype=np.int32),
    texts={},
    single=False,
)
