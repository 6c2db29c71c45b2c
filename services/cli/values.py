"""Values of a SQL answer as text for people, as CSV fields, and as JSON in the forms of the REST interface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_NAMES: dict[str, str] = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "date32[day]": "DATE",
    "time64[us]": "TIME",
    "time64[ns]": "TIME_NS",
    "timestamp[us]": "TIMESTAMP",
    "timestamp[s]": "TIMESTAMP_S",
    "timestamp[ms]": "TIMESTAMP_MS",
    "timestamp[ns]": "TIMESTAMP_NS",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    "month_day_nano_interval": "INTERVAL",
    "null": "NULL",
}
Row = tuple[Any, ...]


def type_name(kind: pa.DataType) -> str:
    """The SQL name of a column's type, as `POST /v1/sql` shows it."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{type_name(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{field.name} {type_name(field.type)}' for field in kind)})"
    if pa.types.is_map(kind):
        return f"MAP({type_name(kind.key_type)}, {type_name(kind.item_type)})"
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    return _NAMES.get(str(kind), str(kind).upper())


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are set flush right."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """The rows of a batch as plain values: numbers, booleans, None, text, and lists and dicts of those."""
    columns = [_plain_column(column) for column in batch.columns]
    return list(zip(*columns, strict=True)) if columns else []


def _plain_column(column: pa.Array[Any]) -> Sequence[Any]:
    if pa.types.is_temporal(column.type) and not pa.types.is_interval(column.type):
        # Through Arrow, because Python's own types end at year 9999 and at microseconds.
        return [_trimmed(text) for text in pc.cast(column, pa.string()).to_pylist()]
    if pa.types.is_float32(column.type):
        # The shortest decimal form that means the same FLOAT: 0.1, not 0.10000000149011612.
        return [None if text is None else float(text) for text in pc.cast(column, pa.string()).to_pylist()]
    values: list[Any] = column.to_pylist()
    if is_number(column.type) and not pa.types.is_decimal(column.type):
        return values
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, pa.MonthDayNano):
        return _interval(value.months, value.days, value.nanoseconds)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02X}" for byte in value)
    if isinstance(value, datetime | date | time | timedelta | Decimal | tuple):
        return _trimmed(str(value))
    return value


def _interval(months: int, days: int, nanoseconds: int) -> str:
    """An interval in DuckDB's words: `1 year 2 months 3 days 04:05:06`."""
    years, months = int(months / 12), int(math.fmod(months, 12))
    counted = ((years, "year"), (months, "month"), (days, "day"))
    parts = [f"{count} {unit}{'' if abs(count) == 1 else 's'}" for count, unit in counted if count]
    if nanoseconds or not parts:
        seconds, fraction = divmod(abs(nanoseconds) // 1000, 1_000_000)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"
        parts.append(("-" if nanoseconds < 0 else "") + str(_trimmed(clock)))
    return " ".join(parts)


def _trimmed(text: str | None) -> str | None:
    """Drops fractions of a second that are zero, and writes UTC as SQL does."""
    if text is None or ":" not in text:
        return text
    zone = "+00" if text.endswith(("Z", "+00:00")) else ""
    moment = text.removesuffix("Z").removesuffix("+00:00")
    return (moment.rstrip("0").rstrip(".") if "." in moment else moment) + zone


def as_json(value: Any) -> Any:
    """A plain value as JSON has it: no NaN and no infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return value


def as_text(value: Any) -> str:
    """A plain value as one field of text; nothing for NULL."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(as_text(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {as_text(item)}' for key, item in value.items())}}}"
    return str(value)
