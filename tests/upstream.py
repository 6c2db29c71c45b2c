"""A small model server for tests: speaks the embedding protocols of Ollama and of OpenAI, and fails when told to."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import orjson

OLLAMA, OLLAMA_OLD, OPENAI = "/api/embed", "/api/embeddings", "/v1/embeddings"


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def texts(self) -> list[str]:
        """The texts to embed."""
        given = self.body.get("input", self.body.get("prompt"))
        return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True)
class Reply:
    """What the server answers to one request instead of its own answer."""

    status: int = 200
    body: bytes | None = None
    """None keeps the answer as it is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    """Closes the connection in the middle of the answer."""


def vector_of(text: str, dimension: int) -> list[float]:
    """The server's vector of a text: not of length 1, and another one for another text."""
    digest = hashlib.sha256(text.encode()).digest() * (dimension // 32 + 1)
    return [byte / 16 - 7 for byte in digest[:dimension]]


class FakeUpstream:
    """One server on a free port of this machine. `async with FakeUpstream() as upstream:`."""

    def __init__(self, dimension: int = 4) -> None:
        self.dimension = dimension
        self.routes = {OLLAMA, OLLAMA_OLD, OPENAI}
        """What it has; anything else is 404, with a text as Ollama's router writes it."""
        self.models = {"embedder"}
        """Models it has; another one is 404, with JSON."""
        self.key = ""
        """The bearer token it wants; none when empty."""
        self.refused: set[str] = set()
        """Texts that make a whole request 400."""
        self.broken: set[str] = set()
        """Texts whose vector has a null in it."""
        self.replies: deque[Reply] = deque()
        """Taken one by one, a request each, before anything else is looked at."""
        self.may_answer = asyncio.Event()
        """Cleared, it holds back every answer."""
        self.may_answer.set()
        self.requests: list[Request] = []
        self.asked: asyncio.Queue[Request] = asyncio.Queue()
        """Requests as they come in."""
        self.at_once = 0
        """Requests that wait for their answer now."""
        self.most_at_once = 0
        self.gone = asyncio.Event()
        """Set when a client has closed its connection without having its answer."""
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its address, without a path."""
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> FakeUpstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Closes the port and every connection."""
        assert self._server is not None, "not started"
        self._server.close()
        self.may_answer.set()
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    async def next_request(self) -> Request:
        """The next request that comes in, within five seconds."""
        return await asyncio.wait_for(self.asked.get(), 5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "runs in a task"
        self._connections[task] = writer
        try:
            while True:
                request = await _read(reader)
                await self._answer(request, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            del self._connections[task]
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.asked.put_nowait(request)
        reply = self.replies.popleft() if self.replies else Reply()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._wait_until_allowed(reader)
        finally:
            self.at_once -= 1
        status, body = self._respond(request)
        status = status if reply.status == 200 else reply.status
        body = body if reply.body is None else reply.body
        headers = {"content-type": "application/json", "content-length": str(len(body)), **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} .\r\n{head}\r\n".encode() + (body[: len(body) // 2] if reply.drop else body))
        await writer.drain()
        if reply.drop:
            raise ConnectionError

    async def _wait_until_allowed(self, reader: asyncio.StreamReader) -> None:
        """Until `may_answer` is set, or the client has gone: it sends nothing while it waits."""
        allowed = asyncio.ensure_future(self.may_answer.wait())
        gone = asyncio.ensure_future(reader.read(1))
        if self.may_answer.is_set():
            gone.cancel()
        await asyncio.wait({allowed, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done() and not gone.cancelled():
            self.gone.set()
            allowed.cancel()
            raise ConnectionError
        gone.cancel()
        await asyncio.wait({gone})

    def _respond(self, request: Request) -> tuple[int, bytes]:
        if request.path not in self.routes:
            return 404, b"404 page not found"
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return 401, orjson.dumps({"error": f"no access with {request.headers.get('authorization')}"})
        if request.body["model"] not in self.models:
            return 404, orjson.dumps({"error": f"model {request.body['model']!r} not found, try pulling it first"})
        if self.refused & set(request.texts):
            return 400, orjson.dumps({"error": "the input length exceeds the context length"})
        return 200, orjson.dumps(self._vectors(request.path, request.body["model"], request.texts))

    def _vectors(self, path: str, model: str, texts: Sequence[str]) -> dict[str, Any]:
        vectors: list[list[float | None]] = [[*vector_of(text, self.dimension)] for text in texts]
        for text, vector in zip(texts, vectors, strict=True):
            if text in self.broken:
                vector[0] = None
        if path == OLLAMA:
            return {"model": model, "embeddings": vectors}
        if path == OLLAMA_OLD:
            return {"embedding": vectors[0]}
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        # Any order is allowed; `index` says which is which.
        return {"object": "list", "model": model, "data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(first.split(" ")[1], headers, orjson.loads(body) if body else None)
