"""HTTP to one model server: bounded in time, tries and size, and every failure a clear UPSTREAM_FAILED."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from services.embedd.config import ModelConfig
from services.embedd.errors import UpstreamFailed
from services.runtime.auth import is_loopback

log = logging.getLogger(__name__)
# It would write a line for every call.
logging.getLogger("httpx").setLevel(logging.WARNING)

MAX_ANSWER_BYTES = 32 << 20
"""More than any model needs for the texts of one call."""
FIRST_PAUSE_SECONDS = 0.2
_CONNECT_SECONDS = 5.0
_JITTER = random.Random(random.SystemRandom().getrandbits(128))

# What a server answers when it is a text of the call that it cannot take.
_TEXT_STATUSES = frozenset({400, 413, 422, 500})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes
    retry_after: float
    """Seconds the server asks to wait; 0 when it asks nothing."""


class Upstream:
    """One model at one server."""

    def __init__(
        self,
        model_id: str,
        config: ModelConfig,
        environ: Mapping[str, str],
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """`environ` holds the key; without it every call is refused. `first_pause` is in seconds and doubles."""
        self._id = model_id
        self._config = config
        self._first_pause = first_pause
        self._key_missing = False
        self._base = config.url.rstrip("/")
        parts = urlsplit(config.url)
        timeout = httpx.Timeout(
            config.timeout_seconds, connect=min(config.timeout_seconds, _CONNECT_SECONDS), pool=None
        )
        self._client = httpx.AsyncClient(
            headers=self._headers(environ),
            timeout=timeout,
            limits=httpx.Limits(max_connections=config.calls, max_keepalive_connections=config.calls),
            follow_redirects=False,
            # A proxy of the environment may lead out of the house, never to this machine. Certificates
            # take 20 ms to read.
            trust_env=not is_loopback(parts.hostname or ""),
            verify=parts.scheme == "https",
        )

    def _headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "lakehouse"}
        if not self._config.key_env:
            return headers
        key = environ.get(self._config.key_env, "").strip()
        if key and key.isascii() and key.isprintable():
            return headers | {"authorization": f"Bearer {key}"}
        self._key_missing = True
        log.warning("model %s: %s holds no key; its calls are refused", self._id, self._config.key_env)
        return headers

    async def post(self, path: str, body: Mapping[str, Any], deadline: float, *, patient: bool = True) -> Answer:
        """Sends JSON and returns the answer, whatever its status.

        A 429, a 5xx or a broken connection is tried again, if `patient` and while there is time before
        `deadline` (of the loop's clock). Raises UpstreamFailed when nothing usable came.
        """
        if self._key_missing:
            raise self.failure(f"the environment variable {self._config.key_env} holds no key")
        content = orjson.dumps(body)
        attempts = self._config.attempts if patient else 1
        attempt = 1
        while True:
            outcome = await self._try(path, content)
            retry_after = 0.0
            if isinstance(outcome, Answer):
                if outcome.status != httpx.codes.TOO_MANY_REQUESTS and outcome.status < 500:
                    return outcome
                retry_after = outcome.retry_after
            pause = max(retry_after, self._first_pause * 2 ** (attempt - 1) * _JITTER.uniform(0.5, 1))
            if attempt == attempts or asyncio.get_running_loop().time() + pause >= deadline:
                break
            await asyncio.sleep(pause)
            attempt += 1
        if isinstance(outcome, UpstreamFailed):
            raise outcome
        return outcome

    async def _try(self, path: str, content: bytes) -> Answer | UpstreamFailed:
        """One attempt. Returns what may be tried again, raises what may not."""
        try:
            return await self._send(path, content)
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            raise self.failure(f"the server kept silent for {self._config.timeout_seconds:g} s") from None
        except httpx.TransportError as error:
            log.warning("model %s: %s: %s", self._id, type(error).__name__, error)
            return self.failure("the server cannot be reached")

    async def _send(self, path: str, content: bytes) -> Answer:
        async with self._client.stream("POST", self._base + path, content=content) as response:
            status = response.status_code
            if response.headers.get("content-encoding", "identity") != "identity":
                raise self.failure("the answer is compressed, which nobody asked for", status)
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise self.failure(f"the answer has more than {MAX_ANSWER_BYTES} bytes", status)
            return Answer(status, bytes(body), _seconds(response.headers.get("retry-after", "")))

    def failure(
        self, problem: str, status: int | None = None, *, one_text: bool = False, **more: object
    ) -> UpstreamFailed:
        """The error of this model: no address, no key and nothing the server wrote is in it."""
        metadata: dict[str, Any] = {"provider": self._config.provider, "model": self._id, **more}
        if status is not None:
            metadata["status"] = status
        error = UpstreamFailed(f"model {self._id!r} ({self._config.provider}): {problem}", **metadata)
        error.one_text = one_text
        return error

    def status_failure(self, status: int) -> UpstreamFailed:
        """The error for an answer that is not a success."""
        if 300 <= status < 400:
            return self.failure(f"the server answered {status}; redirects are not followed", status)
        if status in (401, 403):
            where = f" in {self._config.key_env}" if self._config.key_env else ", of which none is set"
            return self.failure(f"the server answered {status}; it refuses the key{where}", status)
        if status == httpx.codes.NOT_FOUND:
            name = self._config.model
            return self.failure(f"the server answered 404; has it a model {name!r}, and is its url right?", status)
        return self.failure(f"the server answered {status}", status, one_text=status in _TEXT_STATUSES)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


def _seconds(text: str) -> float:
    # The other form, a date, is rare, and would need both clocks to agree.
    return float(text) if text.isascii() and text.isdigit() else 0.0
