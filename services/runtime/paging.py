"""Opaque page tokens for List methods."""

from __future__ import annotations

import base64

from services.runtime.errors import InvalidArgument


def encode_token(key: str) -> str:
    """Hides the key after which the next page begins."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """Returns the key inside a token, or "" for the first page; InvalidArgument for anything else."""
    padded = token + "=" * (-len(token) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        message = "is not a token of this list: leave it empty for the first page, then pass next_page_token"
        raise InvalidArgument.of("page_token", message) from error


def page_size(requested: int, default: int, limit: int) -> int:
    """The number of rows a page gets: the default for 0, never more than the limit."""
    return min(requested or default, limit)
