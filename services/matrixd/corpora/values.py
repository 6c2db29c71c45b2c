"""Values of a row as text to embed and as metadata to keep."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, time
from typing import Any

_EXACT = 2**53


def as_metadata(value: Any) -> Any:
    """A value that JSON can hold without loss: text, number, boolean, null, list or object.

    Integers beyond 2^53, which JSON numbers would round, decimals and moments become text; NaN and
    infinity, which JSON does not have, become null; bytes become base64.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): as_metadata(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_metadata(item) for item in value]
    return str(value)


def as_text(value: Any) -> str:
    """A value as a person would write it; empty for null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value)
    plain = as_metadata(value)
    return plain if isinstance(plain, str) else str(value)
