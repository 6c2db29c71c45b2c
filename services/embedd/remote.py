"""A model at a model server as a provider: batched, checked, scaled, its dimension remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from services.embedd.answers import BadAnswer, scaled
from services.embedd.batching import LINGER_SECONDS, Batcher, Outcome
from services.embedd.config import ModelConfig
from services.embedd.errors import UpstreamFailed
from services.embedd.parallel import in_parallel
from services.embedd.providers import Matrix, Model, Vector, check_answer_size, slices
from services.embedd.servers import OllamaServer, OpenAIServer, Server
from services.embedd.upstream import Upstream
from services.runtime.threads import Threads

CALL_CHARACTERS = 262_144
"""Most characters in one call, unless a single text has more."""
_ENOUGH_FAILURES = 4


class RemoteProvider:
    """Computes the vectors of one model at its server."""

    def __init__(
        self, model_id: str, config: ModelConfig, upstream: Upstream, threads: Threads, linger: float = LINGER_SECONDS
    ) -> None:
        """`threads` read big answers; `linger` is how long a text alone waits for others, in seconds."""
        self._config = config
        self._upstream = upstream
        self._server: Server
        if config.provider == "ollama":
            self._server = OllamaServer(upstream, config, threads)
        else:
            self._server = OpenAIServer(upstream, config.model, threads)
        self._slots = asyncio.Semaphore(config.calls)
        self._batcher = Batcher(self._send_shared, most=config.batch_texts, calls=config.calls, linger=linger)
        self._model = Model(
            id=model_id, provider=config.provider, dimension=config.dimension, normalized=config.normalized
        )

    @property
    def model(self) -> Model:
        """The model it computes; its dimension is 0 until the first answer, where none is configured."""
        return self._model

    def embed_now(self, texts: Sequence[str]) -> Matrix | None:
        """Never: a server is always waited for."""
        return None

    def embed_one_now(self, text: str) -> Vector | None:
        """Never."""
        return None

    async def load(self) -> None:
        """Nothing: a server that is down must not keep the daemon from starting."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._upstream.close()

    async def embed(self, texts: Sequence[str], deadline: float) -> Matrix:
        """The vectors. One text shares a call with others; many are cut into several calls at once.

        Raises UpstreamFailed, and TooLarge as soon as an unknown dimension turns out too big for the answer.
        """
        if len(texts) == 1:
            return (await self._batcher.embed(texts[0], deadline))[np.newaxis]
        pieces = [texts[start:stop] for start, stop in slices(texts, self._config.batch_texts, CALL_CHARACTERS)]
        first: list[Matrix] = []
        if not self._model.dimension:
            first = [await self._call(pieces.pop(0), deadline)]
            check_answer_size(len(texts), self._model.dimension)
        rest = await in_parallel(pieces, self._config.calls, lambda piece: self._call(piece, deadline))
        return np.concatenate(first + rest)

    async def _send_shared(self, texts: Sequence[str], deadline: float, patient: bool = True) -> Sequence[Outcome]:
        """One outcome for each text of several callers: halves a call until the text to blame is alone.

        Where several in a row end in 500 it is the server that fails, and the rest is not tried.
        """
        try:
            return list(await self._call(texts, deadline, patient=patient))
        except UpstreamFailed as error:
            if not error.one_text or len(texts) == 1:
                return [error] * len(texts)
        middle = len(texts) // 2
        # What the first call met was tried often enough.
        left = await self._send_shared(texts[:middle], deadline, patient=False)
        if len(left) >= _ENOUGH_FAILURES and all(_is_server_error(outcome) for outcome in left):
            return [*left, *[left[0]] * (len(texts) - middle)]
        return [*left, *await self._send_shared(texts[middle:], deadline, patient=False)]

    async def _call(self, texts: Sequence[str], deadline: float, *, patient: bool = True) -> Matrix:
        async with self._slots:
            rows = await self._server.embed(texts, deadline, patient=patient)
        self._learn(rows.shape[1])
        if not self._model.normalized:
            return rows
        try:
            return scaled(rows)
        except BadAnswer as bad:
            raise self._upstream.failure(f"the answer {bad}", 200, one_text=bad.one_text) from None

    def _learn(self, dimension: int) -> None:
        """Remembers the dimension of the first answer; refuses another one."""
        expected = self._model.dimension
        if not expected:
            self._model = self._model._replace(dimension=dimension)
        elif dimension != expected:
            said = "configured" if self._config.dimension else "its first answer had"
            problem = f"the answer has vectors of {dimension} components, {said} {expected}"
            raise self._upstream.failure(problem, 200, dimension=dimension, expected=expected)


def _is_server_error(outcome: Outcome) -> bool:
    return isinstance(outcome, UpstreamFailed) and outcome.metadata.get("status") == "500"
