"""What the servers speak: Ollama's two ways to embed, and OpenAI's one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import httpx
import numpy as np

from services.embedd.answers import BadAnswer, matrix_of, member, parse
from services.embedd.config import ModelConfig
from services.embedd.parallel import in_parallel
from services.embedd.providers import Matrix
from services.embedd.upstream import Answer, Upstream
from services.runtime.threads import Threads

_INLINE_BYTES = 65_536


class Server(Protocol):
    """A model at a server, one call at a time."""

    async def embed(self, texts: Sequence[str], deadline: float, *, patient: bool = True) -> Matrix:
        """One finite vector for each text, as the server made it. Raises UpstreamFailed."""
        ...


class OpenAIServer:
    """Speaks to anything compatible with OpenAI: POST <url>/embeddings."""

    def __init__(self, upstream: Upstream, model: str, threads: Threads) -> None:
        self._upstream = upstream
        self._model = model
        self._threads = threads

    async def embed(self, texts: Sequence[str], deadline: float, *, patient: bool = True) -> Matrix:
        """One call for all texts."""
        body = {"model": self._model, "input": list(texts)}
        answer = await self._upstream.post("/embeddings", body, deadline, patient=patient)
        return await read(self._upstream, answer, self._threads, lambda value: openai_matrix(value, len(texts)))


class OllamaServer:
    """Speaks to Ollama: POST <url>/api/embed, or text by text to /api/embeddings where a server is older."""

    def __init__(self, upstream: Upstream, config: ModelConfig, threads: Threads) -> None:
        self._upstream = upstream
        self._model = config.model
        self._calls = config.calls
        self._threads = threads
        self._old = False

    async def embed(self, texts: Sequence[str], deadline: float, *, patient: bool = True) -> Matrix:
        """One call for all texts, where the server has that."""
        if self._old:
            return await self._one_by_one(texts, deadline, patient)
        body = {"model": self._model, "input": list(texts)}
        answer = await self._upstream.post("/api/embed", body, deadline, patient=patient)
        if _has_no_such_route(answer):
            rows = await self._one_by_one(texts, deadline, patient)
            # Only now: a server that has neither is not an old one.
            self._old = True
            return rows
        return await read(
            self._upstream, answer, self._threads, lambda value: matrix_of(member(value, "embeddings"), len(texts))
        )

    async def _one_by_one(self, texts: Sequence[str], deadline: float, patient: bool) -> Matrix:
        async def one(text: str) -> Matrix:
            body = {"model": self._model, "prompt": text}
            answer = await self._upstream.post("/api/embeddings", body, deadline, patient=patient)
            return await read(
                self._upstream, answer, self._threads, lambda value: matrix_of([member(value, "embedding")], 1)
            )

        rows = await in_parallel(texts, self._calls, one)
        if len({row.shape[1] for row in rows}) > 1:
            raise self._upstream.failure("the server answered with vectors of several dimensions", 200)
        return np.concatenate(rows)


def openai_matrix(value: Any, count: int) -> Matrix:
    """The vectors of an OpenAI answer, in the order of the texts. Raises BadAnswer."""
    data = member(value, "data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise BadAnswer("has no list of vectors")
    if len(data) != count:
        raise BadAnswer(f"has {len(data)} vectors for {count} texts")
    places = [item.get("index", place) for place, item in enumerate(data)]
    if any(type(place) is not int for place in places) or sorted(places) != list(range(count)):
        raise BadAnswer("does not say which vector belongs to which text")
    vectors = [None] * count
    for place, item in zip(places, data, strict=True):
        vectors[place] = member(item, "embedding")
    return matrix_of(vectors, count)


async def read(upstream: Upstream, answer: Answer, threads: Threads, matrix: Callable[[Any], Matrix]) -> Matrix:
    """The vectors of an answer. Raises UpstreamFailed for any status but 200 and for what cannot be read."""
    if answer.status != httpx.codes.OK:
        raise upstream.status_failure(answer.status)

    def work() -> Matrix:
        return matrix(parse(answer.body))

    try:
        return work() if len(answer.body) <= _INLINE_BYTES else await threads.run(work)
    except BadAnswer as bad:
        raise upstream.failure(f"the answer {bad}", answer.status, one_text=bad.one_text) from None


def _has_no_such_route(answer: Answer) -> bool:
    """Whether a server lacks the method. One that lacks the model answers 404 too, but with JSON that says so."""
    if answer.status not in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        return False
    try:
        value = parse(answer.body)
    except BadAnswer:
        return True
    return not (isinstance(value, Mapping) and "error" in value)
