"""Frames between queryd and its worker process: two lengths, a JSON header, and bytes."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from typing import Any

import orjson

Header = dict[str, Any]
Frame = tuple[Header, bytes]

_LENGTHS = struct.Struct("<II")


def frame(header: Header) -> bytes:
    """A frame without payload."""
    return _head(header, 0)


def _head(header: Header, payload_size: int) -> bytes:
    data = orjson.dumps(header)
    return _LENGTHS.pack(len(data), payload_size) + data


class Sender:
    """Sends a worker's frames from any thread, each in one piece."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, header: Header, payload: bytes = b"") -> None:
        """Sends a frame; blocks until queryd has room for it, and ends the process when queryd is gone."""
        head = _head(header, len(payload))
        try:
            with self._lock:
                self._connection.sendall(head)
                if payload:
                    self._connection.sendall(payload)
        except ConnectionError:
            os._exit(0)


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None when the other side is gone."""
    try:
        header_size, payload_size = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
        return orjson.loads(await reader.readexactly(header_size)), await reader.readexactly(payload_size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive(connection: socket.socket) -> Frame | None:
    """The next frame, or None when the other side is gone; blocks."""
    lengths = _exactly(connection, _LENGTHS.size)
    if lengths is None:
        return None
    header_size, payload_size = _LENGTHS.unpack(lengths)
    header, payload = _exactly(connection, header_size), _exactly(connection, payload_size)
    return None if header is None or payload is None else (orjson.loads(header), payload)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            piece = connection.recv(size - len(data))
        except ConnectionError:
            return None
        if not piece:
            return None
        data += piece
    return bytes(data)
