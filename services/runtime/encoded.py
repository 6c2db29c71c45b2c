"""Messages that stand for others with the same bytes (contracts: `encoded.proto`)."""

from __future__ import annotations

from typing import TypeVar, cast

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def standing_for(message_class: type[M], encoded: Message) -> M:
    """The encoded form as the message it stands for: an answer needs nothing of it but its bytes."""
    return cast("M", encoded)
