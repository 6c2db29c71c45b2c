"""One keep-alive HTTP/1.1 connection, lean enough not to be what a load test measures."""

from __future__ import annotations

import asyncio
import json
from typing import Any

LOST = 0
"""The status of a call whose connection broke."""


class Connection:
    """Posts JSON, one call at a time; connects when needed, and again after the other side has hung up."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._host, self._port = host, port
        self._head = f"host: {host}:{port}\r\ncontent-type: application/json\r\n"
        self._head += f"authorization: Bearer {token}\r\n" if token else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Returns status and body; LOST and nothing when the connection cannot be made or breaks."""
        try:
            reader, writer = self._streams or await self._connect()
            writer.write(f"POST {path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(head.split(" ", 2)[1])
            length = head.partition("\r\ncontent-length:")[2].partition("\r\n")[0]
            answer = await reader.readexactly(int(length)) if length else await _chunked(reader)
            if "\r\nconnection: close" in head:
                self.close()
            return status, answer
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
            self.close()
            return LOST, b""

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    def close(self) -> None:
        """Hangs up."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def encoded(body: dict[str, Any]) -> bytes:
    """A body as bytes."""
    return json.dumps(body).encode()
